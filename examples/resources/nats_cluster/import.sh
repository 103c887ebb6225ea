terraform import 'nats_cluster.this["east"]' acme/east
