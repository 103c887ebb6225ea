variable "root_key" {
  description = "The one key to keep: `openssl rand -base64 32`. Everything else is derived from it; it is in no state and no plan."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "hosts" {
  description = "Every host, by node name. On one machine each has a loopback address of its own, so that all use the same ports."
  type = map(object({
    cluster   = string
    address   = string
    state_dir = string
    store_dir = string
  }))
}

variable "agent_binary" {
  description = "Path of `nats-agent`, for the enrolment that a real host gets from its user data or its package."
  type        = string
}
