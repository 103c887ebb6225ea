# Three sites of three hosts. `terraform apply -var-file=hosts.tfvars`, with the root key in TF_VAR_root_key and
# `nats_server` in a file of its own: see README.md.
sites = {
  east = {
    east-1 = { address = "10.10.1.11", cluster_address = "10.20.1.11", zone = "a" }
    east-2 = { address = "10.10.1.12", cluster_address = "10.20.1.12", zone = "b" }
    east-3 = { address = "10.10.1.13", cluster_address = "10.20.1.13", zone = "c" }
  }
  west = {
    west-1 = { address = "10.10.2.11", cluster_address = "10.20.2.11", zone = "a" }
    west-2 = { address = "10.10.2.12", cluster_address = "10.20.2.12", zone = "b" }
    west-3 = { address = "10.10.2.13", cluster_address = "10.20.2.13", zone = "c" }
  }
  north = {
    north-1 = { address = "10.10.3.11", cluster_address = "10.20.3.11", zone = "a" }
    north-2 = { address = "10.10.3.12", cluster_address = "10.20.3.12", zone = "b" }
    north-3 = { address = "10.10.3.13", cluster_address = "10.20.3.13", zone = "c" }
  }
}

package = {
  url    = "https://packages.example.com/nats-agent_0.1.0_amd64.deb"
  sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}

client_networks   = ["10.0.0.0/8"]
operator_networks = ["10.9.1.0/24"]
metrics_networks  = ["10.9.0.0/24"]
