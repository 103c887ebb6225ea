variable "root_key" {
  description = "The one key to keep: `openssl rand -base64 32`."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "region" {
  description = "Where the cluster runs."
  type        = string
  default     = "eu-central-1"
}

variable "vpc_id" {
  description = "The network of the cluster."
  type        = string
}

variable "subnets" {
  description = "One subnet in each of three availability zones; the runner of terraform reaches them. An instance that is to be replaced gets a `generation` one higher."
  type        = list(object({ id = string, zone = string, cidr = string, generation = optional(number, 1) }))

  validation {
    condition     = length(var.subnets) == 3
    error_message = "Three subnets, one for each host."
  }
}

variable "image_id" {
  description = "A Debian or Ubuntu image with cloud-init."
  type        = string
}

variable "package" {
  description = "The agent's package, by URL and SHA-256."
  type        = object({ url = string, sha256 = string })
}

variable "nats_server" {
  description = "nats-server for these hosts, by URL and SHA-256: a `.tar.gz` for Linux from https://github.com/nats-io/nats-server/releases, with the line of it in that release's SHA256SUMS. Version without `v`."
  type        = object({ version = string, url = string, sha256 = string })
}

variable "client_networks" {
  description = "Networks that clients connect from."
  type        = list(string)
}

variable "operator_networks" {
  description = "Networks that terraform runs in: beside the hosts only they reach the agents."
  type        = list(string)
}
