resource "nats_account" "orders" {
  system = nats_gateway.global.id
  name   = "orders"
  jetstream = {
    max_storage   = "50GB"
    max_memory    = "1GB"
    max_streams   = 1000
    max_consumers = 10000
  }
  limits = { connections = 5000, payload = "256KB" }
}
