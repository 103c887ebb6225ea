//! `GRPCController`: how Terraform ends a provider. Without it every stop costs two seconds and a kill.

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::proto::plugin::Empty;
use crate::proto::plugin::grpc_controller_server::GrpcController;

/// Ends the server.
pub(super) struct Controller {
    pub(super) stopping: CancellationToken,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.stopping.cancel();
        Ok(Response::new(Empty {}))
    }
}
