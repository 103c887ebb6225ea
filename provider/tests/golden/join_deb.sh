#!/bin/sh
# Has this host join a NATS authority: nats-agent is installed, gets its enrolment, and is started.
# Run it as root; it may be repeated. It holds a one-time token, which is dead once the host is claimed.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

host='east-1'
listen='[::]:8442'
enrollment='nats-enrollment-v1.e30'
package_url='https://packages.example.com/nats-agent_0.1.0_amd64.deb'
package_sha256='abababababababababababababababababababababababababababababababab'
package_file='nats-agent.deb'

fail() {
  printf 'nats-agent: host %s does not join: %s\n' "$host" "$*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail 'this must run as root'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/$package_file

download() {
  if command -v curl >/dev/null 2>&1; then
    curl --fail --silent --show-error --location --proto '=http,https' --proto-redir '=http,https' --max-redirs 5 \
      --connect-timeout 20 --max-time 600 --max-filesize 268435456 --output "$package" "$package_url"
  elif command -v wget >/dev/null 2>&1; then
    wget --no-verbose --tries=1 --timeout=60 --max-redirect=5 --output-document="$package" "$package_url"
  else
    fail 'there is neither curl nor wget to download the package with'
  fi
}

# The network may still be coming up.
attempt=1
until download; do
  [ "$attempt" -lt 10 ] || fail "the package cannot be downloaded from $package_url"
  attempt=$((attempt + 1))
  sleep 6
done

found=$(sha256sum <"$package")
found=${found%% *}
[ "$found" = "$package_sha256" ] ||
  fail "the package from $package_url has SHA-256 $found, wanted is $package_sha256; it was not installed"

install_deb() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold install --yes --no-install-recommends "$package"
}

case $package_file in
*.deb)
  # apt reads packages as a user of its own.
  chmod 755 "$work"
  chmod 644 "$package"
  install_deb || { apt-get update && install_deb; } || fail 'apt-get did not install the package'
  ;;
*.rpm)
  dnf install --assumeyes "$package" || fail 'dnf did not install the package'
  ;;
esac

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
