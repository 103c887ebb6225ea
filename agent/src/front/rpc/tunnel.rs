//! Tunnel: requests to the local nats-server, as whom the caller's role allows.
//!
//! An operator logs in as any user. An account's key holder logs in as users of that account, which keys of that account
//! signed. A reader logs in as nobody: its requests go out under the agent's own system user, and only those that ask
//! servers about themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use host_state::SectionKind;
use host_state::document::{ClaimsSection, ClusterSection};
use identity::{AccountName, Jwt, Role, Trust, decode_account, user_issuer};
use nats_agent_api::order::{Caller, TunnelLogin, TunnelRequest, TunnelResponse};
use nats_agent_api::server::ServiceError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::service_error;
use crate::front::tunnel::{self, Login, Target, TunnelError};
use crate::roles::{Applier, ClaimState, LocalServer};

pub(super) async fn tunnel(
    applier: &dyn Applier,
    caller: Caller,
    mut requests: mpsc::Receiver<TunnelRequest>,
    responses: mpsc::Sender<TunnelResponse>,
) -> Result<(), ServiceError> {
    let login = match requests.recv().await {
        Some(TunnelRequest::Open(login)) => login,
        Some(TunnelRequest::Signature(_) | TunnelRequest::Call(_)) => {
            return Err(ServiceError::Invalid("a tunnel begins with a login".to_owned()));
        }
        None => return Ok(()),
    };
    let login = admitted(applier, &caller.role, login).await?;
    let target = target(applier).await?;
    tracing::debug!(role = %caller.role, serial = caller.serial, "a tunnel opens");
    tunnel::serve(&target, login, ReceiverStream::new(requests), responses).await.map_err(tunnel_error)
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
    let host_ca_pem = trust(applier)?.host_ca_bundle();
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

fn trust(applier: &dyn Applier) -> Result<Trust, ServiceError> {
    match &*applier.claim_state().borrow() {
        ClaimState::Claimed(claimed) => Ok(claimed.trust.clone()),
        ClaimState::Closed | ClaimState::Open(_) | ClaimState::Unreadable { .. } => {
            Err(ServiceError::NotClaimed("this host is not claimed".to_owned()))
        }
    }
}

/// The login that a role may have, which is never more than its own.
async fn admitted(applier: &dyn Applier, role: &Role, login: TunnelLogin) -> Result<Login, ServiceError> {
    match (role, login) {
        (Role::Operator | Role::Reader, TunnelLogin::Monitor) => {
            let server = applier.system_login().await.map_err(service_error)?;
            let LocalServer { user_jwt, user_key, .. } = server;
            Ok(Login::Monitor { user_jwt, user_key })
        }
        (Role::Operator, TunnelLogin::User { jwt }) => Ok(Login::Caller { user_jwt: jwt }),
        (Role::Account(account), TunnelLogin::User { jwt }) => {
            of_account(applier, account, &jwt).await?;
            Ok(Login::Caller { user_jwt: jwt })
        }
        (Role::Reader, TunnelLogin::User { .. })
        | (Role::Account(_), TunnelLogin::Monitor)
        | (Role::Peer, TunnelLogin::User { .. } | TunnelLogin::Monitor) => {
            Err(ServiceError::Denied(format!("role `{role}` may not log in like that")))
        }
    }
}

/// Whether the user is of this account, by the newest claims and by a key of it that they name.
async fn of_account(applier: &dyn Applier, account: &AccountName, jwt: &str) -> Result<(), ServiceError> {
    let denied =
        |why: String| ServiceError::Denied(format!("role `account:{account}` may not log in: {why}"));
    let jwt: Jwt = jwt.parse().map_err(|error| denied(host_state::chain(&error)))?;
    let issuer = user_issuer(&jwt).map_err(|error| denied(host_state::chain(&error)))?;
    let sections = applier.sections().await.map_err(service_error)?;
    let claims = sections.iter().find(|section| section.header.section == SectionKind::Claims);
    let claims: Option<ClaimsSection> = claims
        .map(|section| section.body().map_err(|error| ServiceError::Failed(host_state::chain(&error))))
        .transpose()?;
    let entry = claims.and_then(|claims| claims.accounts.get(issuer.account.as_str()).cloned());
    let entry = entry.filter(|entry| !entry.tombstone && entry.name == account.as_str());
    let Some(entry) = entry else { return Err(denied("the user is of another account".to_owned())) };
    let known = entry.jwt.parse().map_err(|error| ServiceError::Failed(host_state::chain(&error)))?;
    let known = decode_account(&known, &trust(applier)?)
        .map_err(|error| ServiceError::Failed(host_state::chain(&error)))?
        .claims;
    let mut keys = known.signing_keys.values().chain(known.scopes.values().map(|scope| &scope.key));
    if keys.any(|key| *key == issuer.key) {
        return Ok(());
    }
    Err(denied(format!("the key `{}` that signed the user is none of the account's any more", issuer.key)))
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
