variable "root_key" {
  description = "The one key to keep: `openssl rand -base64 32`. Everything else is derived from it; it is in no state and no plan."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "sites" {
  description = "Hosts of any cloud or rack, by site and name. Clients and other sites reach `address`, the hosts of the same site `cluster_address`. A machine that is set up anew gets a `generation` one higher."
  type = map(map(object({
    address         = string
    cluster_address = string
    zone            = string # what fails together: a rack, an availability zone
    generation      = optional(number, 1)
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

variable "nats_server" {
  description = "nats-server for these hosts, by URL and SHA-256: a `.tar.gz` for Linux from https://github.com/nats-io/nats-server/releases, with the line of it in that release's SHA256SUMS. Version without `v`."
  type        = object({ version = string, url = string, sha256 = string })
}

variable "client_networks" {
  description = "Networks that clients connect from."
  type        = list(string)
}

variable "operator_networks" {
  description = "Networks that terraform and operators work from: beside the hosts only they reach the agents. Without any, everybody may try, and needs a key."
  type        = list(string)
  default     = []
}

variable "metrics_networks" {
  description = "Networks that scrape metrics."
  type        = list(string)
  default     = []
}
