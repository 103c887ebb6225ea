#!/bin/sh
# Has this host join a NATS authority: nats-agent is installed, gets its enrolment, and is started.
# Run it as root; it may be repeated. It holds a one-time token, which is dead once the host is claimed.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

