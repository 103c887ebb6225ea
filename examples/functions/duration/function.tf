output "settle_seconds" {
  value = provider::nats::duration("1h30m") # 5400
}
