terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60"
    }
    nats = {
      source  = "supercluster/nats"
      version = ">= 0.1.0"
    }
  }
}
