data "nats_supercluster" "global" {
  system = nats_gateway.global.id
}

check "supercluster" {
  assert {
    condition     = data.nats_supercluster.global.healthy
    error_message = join("; ", data.nats_supercluster.global.problems)
  }
}
