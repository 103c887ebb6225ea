# A production supercluster on hosts of any cloud: one cluster for each site, a cluster network apart, hosts that join by
# user data.
#
# 1. terraform apply -target=terraform_data.user_data    writes user-data/HOST.yaml, or HOST.sh for hosts without cloud-init
# 2. boot the hosts with it
# 3. terraform apply                                     claims them within the hour and builds the system

locals {
  hosts = merge(values(var.sites)...)
}

provider "nats" {
  agents   = [for host in local.hosts : "${host.address}:8442"]
  root_key = var.root_key
}

resource "nats_authority" "acme" {
  name = "acme"
}

# What each host needs to join. It never changes by itself; a machine that is set up anew gets a `generation` one higher in
# `sites`, which is that of its node too.
resource "nats_host_enrollment" "host" {
  for_each   = local.hosts
  authority  = nats_authority.acme.trust
  name       = each.key
  generation = each.value.generation
  package    = var.package
}

# Written anew with what the texts are made of.
resource "terraform_data" "user_data" {
  for_each         = local.hosts
  triggers_replace = [nats_host_enrollment.host[each.key].id, var.package]

  provisioner "local-exec" {
    command = "umask 077 && mkdir -p user-data && printf '%s' \"$USER_DATA\" > \"user-data/$HOST.yaml\" && printf '%s' \"$SCRIPT\" > \"user-data/$HOST.sh\""
    environment = {
      HOST      = each.key
      USER_DATA = nats_host_enrollment.host[each.key].user_data
      SCRIPT    = nats_host_enrollment.host[each.key].script
    }
  }
}

resource "nats_cluster" "site" {
  for_each  = var.sites
  authority = nats_authority.acme.trust
  name      = each.key
  nodes = {
    for name, host in each.value : name => {
      agent           = "${host.address}:8442"
      address         = host.address
      cluster_address = host.cluster_address
      generation      = host.generation
      tags            = ["zone:${host.zone}"]
    }
  }
  server = var.nats_server # each host downloads it; the package has none
  jetstream = {
    max_memory  = "16GB"
    max_storage = "200GB"
    store_dir   = "/data/jetstream" # a disk of its own
    unique_tag  = "zone:"           # a stream's replicas are in different zones
  }
  firewall = {
    clients    = var.client_networks
    management = var.operator_networks
    metrics    = var.metrics_networks
  }
  gateway = true
  rollout = { max_unavailable = 1, settle = "10s" }
}

resource "nats_gateway" "global" {
  name           = "global"
  clusters       = { for name, cluster in nats_cluster.site : name => cluster.members }
  reject_unknown = true
}

resource "nats_account" "orders" {
  system    = nats_gateway.global.id
  name      = "orders"
  jetstream = { max_storage = "50GB", max_memory = "1GB", max_streams = 1000, max_consumers = 10000 }
}

resource "nats_user" "service" {
  account   = nats_account.orders.id
  name      = "service"
  publish   = { allow = ["orders.>", "$JS.API.>", "$JS.ACK.>"] }
  subscribe = { allow = ["orders.>", "_INBOX.>"] }
}

# One stream in each site, so that orders are taken while the others are away.
resource "nats_stream" "orders" {
  for_each  = var.sites
  account   = nats_account.orders.id
  name      = "ORDERS-${each.key}"
  subjects  = ["orders.${each.key}.>"]
  replicas  = 3
  max_bytes = "10GB"
  placement = { cluster = nats_cluster.site[each.key].name }
}
