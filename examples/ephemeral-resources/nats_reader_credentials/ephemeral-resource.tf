ephemeral "nats_reader_credentials" "ci" {
  system  = nats_gateway.global.id
  expires = "720h"
}

# For a provisioner here; as well for a write-only argument of the pipeline's secret store.
resource "terraform_data" "reader" {
  provisioner "local-exec" {
    command     = "umask 077 && printf '%s' \"$PEM\" > reader.pem"
    environment = { PEM = ephemeral.nats_reader_credentials.ci.reader_credentials }
  }
}
