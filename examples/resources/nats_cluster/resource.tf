resource "nats_cluster" "this" {
  for_each = toset(["east", "west", "north"])

  authority = nats_authority.acme.trust
  name      = each.key
  nodes = {
    for host, address in local.hosts : host => {
      agent   = "${address}:8442"
      address = address
      tags    = ["az:${host}"]
    } if startswith(host, "${each.key}-")
  }
  server = { version = "2.15.1" }
  jetstream = {
    max_memory  = "16GB"
    max_storage = "200GB"
    store_dir   = "/data/jetstream"
    unique_tag  = "az:"
  }
  limits  = { max_payload = "1MB" }
  rollout = { max_unavailable = 1, settle = "10s" }
  gateway = true # staged until its nats_gateway releases it
}
