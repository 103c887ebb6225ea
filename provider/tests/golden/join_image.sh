#!/bin/sh
# Has this host join a NATS authority: nats-agent is installed, gets its enrolment, and is started.
# Run it as root; it may be repeated. It holds a one-time token, which is dead once the host is claimed.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

host='east-1'
listen='[::]:8442'
enrollment='nats-enrollment-v1.e30'

fail() {
  printf 'nats-agent: host %s does not join: %s\n' "$host" "$*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail 'this must run as root'

command -v nats-agent >/dev/null 2>&1 ||
  fail 'nats-agent is not installed; give nats_host_enrollment a package, or use an image that has it'

# Puts standard input in place as $1 with mode $2, whole or not at all.
put() {
  umask 077
  cat >"$1.new"
  chown 0:0 "$1.new"
  chmod "$2" "$1.new"
  mv -f "$1.new" "$1"
}

mkdir -p -m 755 /etc/nats-agent
printf '%s\n' "$enrollment" | put /etc/nats-agent/enrollment 600
settings=/etc/nats-agent/agent.env
{
  [ ! -e "$settings" ] || grep -v '^NATS_AGENT_LISTEN=' "$settings" || :
  printf 'NATS_AGENT_LISTEN=%s\n' "$listen"
} | put "$settings" 644

units='nats-agent-firewall.service nats-agent-applier.service nats-agent.service'
systemctl daemon-reload
# shellcheck disable=SC2086 # several words
systemctl enable $units || fail 'its units cannot be enabled'
systemctl restart nats-agent-applier.service nats-agent.service ||
  fail 'it does not start; see: journalctl -u nats-agent -u nats-agent-applier'
printf 'nats-agent: host %s listens on %s and waits to be claimed\n' "$host" "$listen"
