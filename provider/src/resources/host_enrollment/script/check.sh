fail() {
  printf 'nats-agent: host %s does not join: %s\n' "$host" "$*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || fail 'this must run as root'
