//! The `nats_stream` resource.
