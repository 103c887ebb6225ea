resource "nats_gateway" "global" {
  name           = "global"
  clusters       = { for name, cluster in nats_cluster.this : name => cluster.members }
  reject_unknown = true
}
