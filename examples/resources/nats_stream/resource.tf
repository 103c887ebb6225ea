resource "nats_stream" "orders" {
  account          = nats_account.orders.id
  name             = "ORDERS"
  subjects         = ["orders.>"]
  replicas         = 3
  max_bytes        = "10GB"
  max_age          = "720h"
  duplicate_window = "2m"
  placement        = { cluster = nats_cluster.this["east"].name }
}
