data "nats_preflight" "global" {
  system = nats_gateway.global.id
}

check "hosts_are_fit" {
  assert {
    condition     = data.nats_preflight.global.fit
    error_message = join("; ", data.nats_preflight.global.problems)
  }
}

# Write latency and what else is worth a look, by host.
output "warnings" {
  value = { for host in data.nats_preflight.global.hosts : host.name => [
    for check in host.checks : "${check.name}: ${check.value}" if check.verdict != "pass"
  ] }
}
