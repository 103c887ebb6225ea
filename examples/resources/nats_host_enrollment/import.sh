terraform import 'nats_host_enrollment.host["east-1"]' acme/east-1/1

# Where the configuration has `listen` or `package`. `fleet_ca` is the generation that the texts were made with, where it was
# not the first:
terraform import 'nats_host_enrollment.host["east-1"]' '{
  "id": "acme/east-1/1",
  "fleet_ca": 2,
  "package": {
    "url": "https://packages.example.com/nats-agent_0.1.0_amd64.deb",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  }
}'
