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
  description = "One subnet in each of three availability zones; the runner of terraform reaches them."
  type        = list(object({ id = string, zone = string, cidr = string }))

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

variable "client_networks" {
  description = "Networks that clients connect from."
  type        = list(string)
}

variable "operator_networks" {
  description = "Networks that terraform runs in."
  type        = list(string)
}
