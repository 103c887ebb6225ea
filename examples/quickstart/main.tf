# Three clusters of three servers, joined by gateways, with an account, a user and a stream in each cluster:
# one `terraform apply` from nine agents that belong to nobody yet.

locals {
  clusters = toset([for host in var.hosts : host.cluster])
  nodes    = { for name in local.clusters : name => { for host, it in var.hosts : host => it if it.cluster == name } }
}

provider "nats" {
  agents   = [for host in var.hosts : "${host.address}:8442"]
  root_key = var.root_key
}

# The authority: operator, certificate authorities and account keys, all derived from the root key.
resource "nats_authority" "acme" {
  name = "acme"
}

# Enrolment: each agent learns which authority may claim it, and a one-time token. The token is in no state.
# Real hosts get the same text from their user data.
ephemeral "nats_host_enrollment" "host" {
  for_each  = var.hosts
  authority = nats_authority.acme.trust
  name      = each.key
}

resource "terraform_data" "enrolled" {
  for_each = var.hosts
  input    = each.value.state_dir

  provisioner "local-exec" {
    command = "printf '%s' \"$ENROLLMENT\" | \"$AGENT\" enroll --state-dir \"$STATE_DIR\" --enrollment -"
    environment = {
      AGENT      = var.agent_binary
      STATE_DIR  = each.value.state_dir
      ENROLLMENT = ephemeral.nats_host_enrollment.host[each.key].text
    }
  }
}

resource "nats_cluster" "this" {
  for_each   = local.clusters
  depends_on = [terraform_data.enrolled]

  authority = nats_authority.acme.trust
  name      = each.key
  profile   = "development" # one machine: no disk, firewall or zone rules
  nodes = {
    for host, it in local.nodes[each.key] : host => {
      agent     = "${it.address}:8442"
      address   = it.address
      store_dir = it.store_dir
      tags      = ["region:${each.key}"]
    }
  }
  jetstream = {
    max_memory  = "256MB"
    max_storage = "1GB"
    store_dir   = "/data/jetstream" # each node above names its own
    sync        = "2m"              # loopback demonstration; leave it out for "always"
  }
  gateway             = true
  deletion_protection = false
}

resource "nats_gateway" "global" {
  name                = "global"
  clusters            = { for name, cluster in nats_cluster.this : name => cluster.members }
  reject_unknown      = true
  deletion_protection = false
}

resource "nats_account" "orders" {
  system              = nats_gateway.global.id
  name                = "orders"
  jetstream           = { max_storage = "1GB", max_memory = "64MB", max_streams = 100, max_consumers = 1000 }
  deletion_protection = false
}

resource "nats_user" "service" {
  account   = nats_account.orders.id
  name      = "service"
  publish   = { allow = ["orders.>", "$JS.API.>", "$JS.ACK.>"] }
  subscribe = { allow = ["orders.>", "_INBOX.>"] }
}

resource "nats_stream" "orders" {
  for_each = local.clusters

  account             = nats_account.orders.id
  name                = "ORDERS-${each.key}"
  subjects            = ["orders.${each.key}.>"]
  replicas            = 3
  max_bytes           = "64MB"
  placement           = { cluster = nats_cluster.this[each.key].name }
  deletion_protection = false
}

data "nats_supercluster" "global" {
  system     = nats_gateway.global.id
  depends_on = [nats_stream.orders]
}
