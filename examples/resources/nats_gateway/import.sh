terraform import nats_gateway.global acme/global
