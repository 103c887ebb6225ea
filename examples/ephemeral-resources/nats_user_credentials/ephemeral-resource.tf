ephemeral "nats_user_credentials" "service" {
  account = nats_account.orders.id
  user    = nats_user.service.name
  expires = "720h"
}

# For a provisioner here; as well for a write-only argument of a secret store.
resource "terraform_data" "credentials" {
  triggers_replace = nats_user.service.generation

  provisioner "local-exec" {
    command     = "umask 077 && printf '%s' \"$CREDENTIALS\" > service.creds"
    environment = { CREDENTIALS = ephemeral.nats_user_credentials.service.credentials }
  }
}
