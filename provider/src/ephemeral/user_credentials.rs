//! The `nats_user_credentials` ephemeral resource.
