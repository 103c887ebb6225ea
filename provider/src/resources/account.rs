//! The `nats_account` resource.
