# One cluster of three servers without a gateway: the smallest JetStream that survives a lost server.

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

variable "nodes" {
  description = "Hosts by node name, each with an enrolled agent on port 8442."
  type        = map(object({ address = string, store_dir = string }))
}

provider "nats" {
  agents   = [for node in var.nodes : "${node.address}:8442"]
  root_key = var.root_key
}

resource "nats_authority" "acme" {
  name = "acme"
}

resource "nats_cluster" "east" {
  authority = nats_authority.acme.trust
  name      = "east"
  profile   = "development"
  nodes = {
    for name, node in var.nodes : name => {
      agent     = "${node.address}:8442"
      address   = node.address
      store_dir = node.store_dir
    }
  }
  jetstream           = { max_memory = "64MB", max_storage = "512MB", store_dir = "/data/jetstream" }
  deletion_protection = false
}

resource "nats_account" "orders" {
  system              = nats_cluster.east.id
  name                = "orders"
  jetstream           = { max_storage = "256MB", max_memory = "16MB" }
  deletion_protection = false
}

resource "nats_stream" "orders" {
  account             = nats_account.orders.id
  name                = "ORDERS"
  subjects            = ["orders.>"]
  replicas            = 3
  deletion_protection = false
}
