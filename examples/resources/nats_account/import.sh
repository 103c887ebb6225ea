terraform import nats_account.orders acme/orders
