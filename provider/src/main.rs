//! The provider's process: serve Terraform, then end.

use std::process::ExitCode;

use terraform_provider_nats::provider::NatsProvider;

#[tokio::main]
async fn main() -> ExitCode {
    tfplug::serve(NatsProvider::new()).await
}
