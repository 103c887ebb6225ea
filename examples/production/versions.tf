terraform {
  required_version = ">= 1.11"
  required_providers {
    nats = {
      source  = "supercluster/nats"
      version = ">= 0.1.0"
    }
  }
}
