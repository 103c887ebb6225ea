//! The standard health service, which the launcher pings under the name `plugin`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health as HealthService;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

/// Serving as long as it answers.
pub(super) struct Health {
    pub(super) stopping: CancellationToken,
}

/// Source: go-plugin v1.6.0 grpc_server.go. The empty name asks for the server as a whole.
fn is_ours(service: &str) -> bool {
    matches!(service, "" | "plugin")
}

#[tonic::async_trait]
impl HealthService for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if is_ours(&request.get_ref().service) {
            Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
        } else {
            Err(Status::not_found("no such service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = if is_ours(&request.get_ref().service) {
            ServingStatus::Serving
        } else {
            ServingStatus::ServiceUnknown
        };
        let now = stream::iter([Ok(HealthCheckResponse { status: status.into() })]);
        let then = stream::pending().take_until(self.stopping.clone().cancelled_owned());
        Ok(Response::new(Box::pin(now.chain(then))))
    }
}
