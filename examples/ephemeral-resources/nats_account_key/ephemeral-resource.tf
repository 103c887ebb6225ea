ephemeral "nats_account_key" "orders" {
  account = nats_account.orders.id
  expires = "720h"
}

# For a provisioner here; as well for a write-only argument of the team's secret store.
resource "terraform_data" "account_key" {
  triggers_replace = nats_account.orders.generation

  provisioner "local-exec" {
    command     = "umask 077 && printf '%s' \"$KEY\" > orders.key"
    environment = { KEY = ephemeral.nats_account_key.orders.account_key }
  }
}
