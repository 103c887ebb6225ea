# One production cluster on EC2, in one apply: instances join by user data, and the cluster waits for them.

locals {
  # Addresses are chosen here, so that the cluster can be planned before there is an instance.
  hosts = {
    for index, subnet in var.subnets : "east-${index + 1}" => {
      subnet     = subnet.id
      zone       = subnet.zone
      address    = cidrhost(subnet.cidr, 20)
      generation = subnet.generation
    }
  }
  # Ports of nats-server and its agent, and who reaches them. The agents' own firewall says the same again.
  ports = {
    client  = { port = 4222, from = var.client_networks }
    cluster = { port = 5222, from = [for subnet in var.subnets : subnet.cidr] }
    agent   = { port = 8442, from = concat(var.operator_networks, [for subnet in var.subnets : subnet.cidr]) }
  }
}

provider "aws" {
  region = var.region
}

provider "nats" {
  agents   = [for host in local.hosts : "${host.address}:8442"]
  root_key = var.root_key
}

resource "nats_authority" "acme" {
  name = "acme"
}

resource "nats_host_enrollment" "host" {
  for_each   = local.hosts
  authority  = nats_authority.acme.trust
  name       = each.key
  generation = each.value.generation
  package    = var.package

  lifecycle {
    ignore_changes = [package] # a newer package is installed by the package manager, not by a new machine
  }
}

resource "aws_security_group" "nats" {
  name        = "nats"
  description = "nats-server and its agent"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "nats" {
  for_each = merge([
    for name, it in local.ports : { for cidr in toset(it.from) : "${name} from ${cidr}" => { port = it.port, cidr = cidr } }
  ]...)
  security_group_id = aws_security_group.nats.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}

# Packages, time and names.
resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.nats.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_instance" "host" {
  for_each               = local.hosts
  ami                    = var.image_id
  instance_type          = "m6id.xlarge" # with a local SSD; streams are replicated over the zones
  subnet_id              = each.value.subnet
  private_ip             = each.value.address
  vpc_security_group_ids = [aws_security_group.nats.id]

  # The text never changes by itself. A raised `generation` is another text, and so another instance.
  user_data                   = nats_host_enrollment.host[each.key].user_data
  user_data_replace_on_change = true

  metadata_options {
    http_tokens = "required" # user data is a secret until the host is claimed
  }

  lifecycle {
    ignore_changes = [ami] # a newer image is for the next machine
  }

  tags = { Name = each.key }
}

resource "nats_cluster" "east" {
  depends_on = [aws_instance.host, aws_vpc_security_group_ingress_rule.nats]

  authority = nats_authority.acme.trust
  name      = "east"
  nodes = {
    for name, host in local.hosts : name => {
      agent      = "${host.address}:8442"
      address    = host.address
      generation = host.generation
      tags       = ["az:${host.zone}"]
    }
  }
  server = var.nats_server # each instance downloads it; the package has none
  jetstream = {
    max_memory  = "4GB"
    max_storage = "100GB"
    store_dir   = "/data/jetstream" # mounted by the image
    unique_tag  = "az:"
  }
  firewall = {
    clients    = var.client_networks
    management = var.operator_networks
  }
}

resource "nats_account" "orders" {
  system    = nats_cluster.east.id
  name      = "orders"
  jetstream = { max_storage = "50GB" }
}

resource "nats_stream" "orders" {
  account   = nats_account.orders.id
  name      = "ORDERS"
  subjects  = ["orders.>"]
  replicas  = 3
  max_bytes = "10GB"
}
