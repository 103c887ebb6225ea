//! `GRPCBroker`: opened by the launcher at once; Terraform brokers no further connections.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::plugin::ConnInfo;
use crate::proto::plugin::grpc_broker_server::GrpcBroker;

/// Sends nothing until the server ends or the client hangs up.
pub(super) struct Broker {
    pub(super) stopping: CancellationToken,
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let mut offers = request.into_inner();
        let hung_up = async move { while let Some(Ok(_)) = offers.next().await {} };
        let silence =
            stream::pending().take_until(hung_up).take_until(self.stopping.clone().cancelled_owned());
        Ok(Response::new(Box::pin(silence)))
    }
}
