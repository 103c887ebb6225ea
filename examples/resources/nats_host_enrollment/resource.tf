resource "nats_host_enrollment" "host" {
  for_each  = local.hosts
  authority = nats_authority.acme.trust
  name      = each.key

  package = { # leave it out where the image has the package
    url    = "https://packages.example.com/nats-agent_0.1.0_amd64.deb"
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  }
}

# Goes into the user data of any cloud, as it is. Here it is written out for an installer that has none.
resource "terraform_data" "user_data" {
  for_each = local.hosts
  input    = nats_host_enrollment.host[each.key].user_data
}
