//! Generated messages and services. Nothing outside `convert`, `rpc`, `serve` and `testing` uses them.

/// The provider protocol.
#[expect(clippy::allow_attributes, unreachable_pub, unused_qualifications, reason = "generated")]
pub(crate) mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// The launcher's own services.
#[expect(clippy::allow_attributes, unreachable_pub, unused_qualifications, reason = "generated")]
pub(crate) mod plugin {
    tonic::include_proto!("plugin");
}

/// The standard health service.
#[expect(clippy::allow_attributes, unreachable_pub, unused_qualifications, reason = "generated")]
pub(crate) mod health {
    tonic::include_proto!("grpc.health.v1");
}
