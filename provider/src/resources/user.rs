//! The `nats_user` resource.
