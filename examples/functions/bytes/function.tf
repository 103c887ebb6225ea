output "store_bytes" {
  value = provider::nats::bytes("200GB") # 214748364800
}
