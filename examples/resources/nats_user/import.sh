terraform import nats_user.service acme/orders/service
