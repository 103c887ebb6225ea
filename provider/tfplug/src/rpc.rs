//! One file for each call of the protocol: decode, call the provider, check, encode.
//!
//! Each file has `run`, and `failed`, which makes the answer when `run` could not: after an unreadable
//! request, a broken rule, or a panic of the provider, which becomes a diagnostic here.

mod answer;
pub(crate) mod apply_resource_change;
pub(crate) mod call_function;
pub(crate) mod close_ephemeral_resource;
pub(crate) mod configure_provider;
pub(crate) mod get_functions;
pub(crate) mod get_metadata;
pub(crate) mod get_provider_schema;
pub(crate) mod import_resource_state;
pub(crate) mod move_resource_state;
pub(crate) mod open_ephemeral_resource;
pub(crate) mod plan_resource_change;
pub(crate) mod read_data_source;
pub(crate) mod read_resource;
pub(crate) mod renew_ephemeral_resource;
pub(crate) mod stop_provider;
pub(crate) mod upgrade_resource_state;
pub(crate) mod validate_data_resource_config;
pub(crate) mod validate_ephemeral_resource_config;
pub(crate) mod validate_provider_config;
pub(crate) mod validate_resource_config;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tonic::{Request, Response, Status};

use crate::Diagnostics;
use crate::convert::bug;
use crate::engine::Engine;
use crate::proto::tfplugin6 as wire;

/// The provider service.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) engine: Arc<Engine>,
}

/// The diagnostics of a call that panicked.
fn panicked(rpc: &str) -> Diagnostics {
    bug("it panicked", &[format!("while answering {rpc}; the log (TF_LOG_PROVIDER=error) says where")]).into()
}

/// Runs one call to its end, whatever the provider does.
macro_rules! guarded {
    ($engine:expr, $module:ident, $request:expr) => {{
        tracing::trace!(rpc = stringify!($module), "call");
        match AssertUnwindSafe($module::run($engine, $request)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(diagnostics)) => $module::failed($request, diagnostics),
            Err(_) => $module::failed($request, panicked(stringify!($module))),
        }
    }};
}

/// The service trait, every call by its module; and the same calls in-process, for the test harness.
macro_rules! calls {
    ($($module:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl wire::provider_server::Provider for Service {
            $(
                async fn $module(
                    &self,
                    request: Request<wire::$module::Request>,
                ) -> Result<Response<wire::$module::Response>, Status> {
                    let request = request.into_inner();
                    Ok(Response::new(guarded!(&self.engine, $module, &request)))
                }
            )+
        }

        impl Service {
            $(
                pub(crate) async fn $module(&self, request: wire::$module::Request) -> wire::$module::Response {
                    guarded!(&self.engine, $module, &request)
                }
            )+
        }
    };
}

calls!(
    get_metadata,
    get_provider_schema,
    validate_provider_config,
    validate_resource_config,
    validate_data_resource_config,
    validate_ephemeral_resource_config,
    upgrade_resource_state,
    configure_provider,
    read_resource,
    plan_resource_change,
    apply_resource_change,
    import_resource_state,
    move_resource_state,
    read_data_source,
    open_ephemeral_resource,
    renew_ephemeral_resource,
    close_ephemeral_resource,
    get_functions,
    call_function,
    stop_provider,
);
