terraform {
  required_version = ">= 1.11"
  required_providers {
    nats = {
      source  = "supercluster/nats"
      version = ">= 0.1.0"
    }
  }
}

variable "root_key" {
  description = "The one key to keep: `openssl rand -base64 32`."
  type        = string
  ephemeral   = true
  sensitive   = true
}

locals {
  hosts = {
    east-1  = "10.20.1.11", east-2 = "10.20.1.12", east-3 = "10.20.1.13"
    west-1  = "10.20.2.11", west-2 = "10.20.2.12", west-3 = "10.20.2.13"
    north-1 = "10.20.3.11", north-2 = "10.20.3.12", north-3 = "10.20.3.13"
  }
}

provider "nats" {
  agents   = [for address in local.hosts : "${address}:8442"]
  root_key = var.root_key
}
