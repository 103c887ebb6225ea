resource "nats_authority" "acme" {
  name = "acme"

  # Raise one to rotate that key; the generation before stays trusted.
  generations = {
    operator_signing = 1
  }
}
