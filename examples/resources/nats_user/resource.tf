resource "nats_user" "service" {
  account   = nats_account.orders.id
  name      = "service"
  publish   = { allow = ["orders.>", "$JS.API.>", "$JS.ACK.>"] }
  subscribe = { allow = ["orders.>", "_INBOX.>"] }
}
