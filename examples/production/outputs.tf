output "servers" {
  description = "What clients connect to, by site."
  value       = { for site, hosts in var.sites : site => [for host in hosts : "nats://${host.address}:4222"] }
}
