variable "root_key" {
  description = "The one key to keep: `openssl rand -base64 32`. Everything else is derived from it; it is in no state and no plan."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "sites" {
  description = "Hosts of any cloud or rack, by site and name. Clients and other sites reach `address`, the hosts of the same site `cluster_address`."
  type = map(map(object({
    address         = string
    cluster_address = string
    zone            = string # what fails together: a rack, an availability zone
  })))

  validation {
    condition     = alltrue([for hosts in values(var.sites) : length(hosts) >= 3])
    error_message = "Each site has at least three hosts."
  }
}

variable "package" {
  description = "The agent's package for these hosts, by URL and SHA-256; null where the image has it."
  type        = object({ url = string, sha256 = string })
  default     = null
}

variable "client_networks" {
  description = "Networks that clients connect from."
  type        = list(string)
}

variable "metrics_networks" {
  description = "Networks that scrape metrics."
  type        = list(string)
  default     = []
}
