//! Tunnel: requests to the local nats-server under a user whose key stays with the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use host_state::SectionKind;
use host_state::document::ClusterSection;
use nats_agent_api::order::{Caller, TunnelRequest, TunnelResponse};
use nats_agent_api::server::ServiceError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::service_error;
use crate::front::tunnel::{self, Target, TunnelError};
use crate::roles::{Applier, ClaimState};

pub(super) async fn tunnel(
    applier: &dyn Applier,
    caller: Caller,
    mut requests: mpsc::Receiver<TunnelRequest>,
    responses: mpsc::Sender<TunnelResponse>,
) -> Result<(), ServiceError> {
    let user_jwt = match requests.recv().await {
        Some(TunnelRequest::Open { user_jwt }) => user_jwt,
        Some(TunnelRequest::Signature(_) | TunnelRequest::Call(_)) => {
            return Err(ServiceError::Invalid("a tunnel begins with the user's JWT".to_owned()));
        }
        None => return Ok(()),
    };
    let target = target(applier).await?;
    tracing::debug!(role = %caller.role, serial = caller.serial, "a tunnel opens");
    tunnel::serve(&target, user_jwt, ReceiverStream::new(requests), responses).await.map_err(tunnel_error)
}

/// Where the local nats-server is, by the newest cluster section and the authority that claimed this host.
async fn target(applier: &dyn Applier) -> Result<Target, ServiceError> {
    let sections = applier.sections().await.map_err(service_error)?;
    let cluster = sections.iter().find(|section| section.header.section == SectionKind::Cluster);
    let Some(cluster) = cluster else {
        return Err(ServiceError::Failed(
            "this host runs no nats-server yet: it has no cluster section".to_owned(),
        ));
    };
    let cluster: ClusterSection =
        cluster.body().map_err(|error| ServiceError::Failed(host_state::chain(&error)))?;
    let host_ca_pem = match &*applier.claim_state().borrow() {
        ClaimState::Claimed(claimed) => claimed.trust.host_ca_bundle(),
        ClaimState::Closed | ClaimState::Open(_) | ClaimState::Unreadable { .. } => {
            return Err(ServiceError::NotClaimed("this host is not claimed".to_owned()));
        }
    };
    let listener = &cluster.config.client;
    let named = cluster.tls.addresses.first().copied();
    Ok(Target {
        client: SocketAddr::new(dialled(listener.address), listener.port),
        address: if listener.address.is_unspecified() {
            named.unwrap_or(listener.address)
        } else {
            listener.address
        },
        host_ca_pem,
    })
}

/// A server that listens on every address is dialled on loopback.
fn dialled(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        given => given,
    }
}

/// The one place where a tunnel's errors become the API's.
fn tunnel_error(error: TunnelError) -> ServiceError {
    let text = host_state::chain(&error);
    match error {
        TunnelError::AuthorizationViolation => ServiceError::Denied(text),
        TunnelError::OutOfTurn(_) => ServiceError::Invalid(text),
        TunnelError::Timeout
        | TunnelError::Unreachable { .. }
        | TunnelError::Tls(_)
        | TunnelError::Lost(_) => ServiceError::Failed(text),
    }
}
