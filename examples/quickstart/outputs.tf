output "servers" {
  description = "Every server, as the supercluster itself reports it."
  value       = { for server in data.nats_supercluster.global.servers : server.name => "${server.cluster} ${server.version}" }
}

output "healthy" {
  description = "Deep health: meta group, stream replicas, routes and gateways, not only `/healthz`."
  value       = data.nats_supercluster.global.healthy
}
