//! Generated messages and services. Nothing outside `convert`, `rpc` and `serve` uses them.

/// The provider protocol.
pub(crate) mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// The launcher's own services.
pub(crate) mod plugin {
    tonic::include_proto!("plugin");
}

/// The standard health service.
pub(crate) mod health {
    tonic::include_proto!("grpc.health.v1");
}
