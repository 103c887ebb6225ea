terraform import nats_authority.acme acme
