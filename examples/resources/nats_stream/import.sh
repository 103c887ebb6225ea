terraform import nats_stream.orders acme/orders/ORDERS
