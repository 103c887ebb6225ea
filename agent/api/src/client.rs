//! The caller's side of a claimed agent: one connection, each call typed, each failure named.

mod apply;
mod connect;
mod error;
mod tunnel;
mod verify;

use std::time::Duration;

use host_state::preflight::Preflight;
use host_state::{Plan, SignedSection};
use identity::{ClientIdentity, HostName};
use tonic::transport::Channel;

use crate::convert;
use crate::order::{
    ApplyOrder, LeaseAnswer, LeaseOrder, Observation, ProbeOrder, ProbeResult, TrialOrder, TunnelLogin,
};
use crate::wire;
use crate::wire::agent_client::AgentClient as Wire;

pub use apply::ApplyStream;
pub use error::{CallError, ConnectError};
pub use tunnel::{OpenError, Reply, RequestError, Tunnel};

pub(crate) use connect::{Dial, connect_once, dial};

/// Pauses before what a broken connection cut off is tried again: a dial that the agent ended before it spoke, a call.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

/// Which agent is meant. Whatever is expected, its certificate must come from the authority's host CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The host's name, in its certificate; absent where any host of the authority will do.
    pub host: Option<HostName>,
    /// Pin of the host's leaf key: SHA-256 of its public key info, 64 lower-case hex digits. When it is known no other
    /// key is accepted, and a certificate of this very key is accepted although it has expired.
    pub pin: Option<String>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From dialling to a connection that speaks.
    pub connect: Duration,
    /// One call, but Apply and Tunnel, whose length nobody knows.
    pub call: Duration,
}

impl Default for Timeouts {
    /// 10 seconds to connect, 60 for a call.
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(10), call: Duration::from_secs(60) }
    }
}

/// A connection to one claimed agent. Cheap to clone; calls run side by side. A connection that broke is dialled
/// again by the next call, with the same checks.
#[derive(Debug, Clone)]
pub struct AgentClient {
    wire: Wire<Channel>,
    address: String,
    timeouts: Timeouts,
}

impl AgentClient {
    /// Dials `address` (`host:port`) and returns once the agent has taken our certificate.
    ///
    /// `host_ca` is the PEM of the authority's host CAs.
    ///
    /// # Errors
    /// [`ConnectError`], which says whether waiting may help ([`ConnectError::is_temporary`]).
    pub async fn connect(
        address: &str,
        identity: &ClientIdentity,
        host_ca: &str,
        expected: Expected,
        timeouts: Timeouts,
    ) -> Result<AgentClient, ConnectError> {
        let channel = connect::channel(address, identity, host_ca, expected, timeouts).await?;
        let wire = Wire::new(channel)
            .max_decoding_message_size(crate::MAX_DOWN_BYTES)
            .max_encoding_message_size(crate::MAX_UP_BYTES);
        Ok(AgentClient { wire, address: address.to_owned(), timeouts })
    }

    /// `host:port` as dialled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The host as it is, after a fresh sweep.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn observe(&self) -> Result<Observation, CallError> {
        self.observe_with(0).await
    }

    /// As [`AgentClient::observe`], with the hash of record `audit_seq` of the host's audit log; 0 asks for none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn observe_with(&self, audit_seq: u64) -> Result<Observation, CallError> {
        let response = self
            .call("Observe", wire::ObserveRequest { audit_seq }, |mut wire, request| async move {
                wire.observe(request).await
            })
            .await?;
        self.read("Observe", convert::observation_from_wire(response))
    }

    /// What an apply of these sections would do.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn preview(&self, sections: Vec<SignedSection>) -> Result<Plan, CallError> {
        let request = wire::PreviewRequest { sections: convert::sections_to_wire(sections) };
        let wire::PreviewResponse { plan_json } = self
            .call("Preview", request, |mut wire, request| async move { wire.preview(request).await })
            .await?;
        self.read("Preview", convert::answer("the plan", &plan_json))
    }

    /// Whether the host is fit for its cluster section, each check by itself. Changes nothing.
    ///
    /// # Errors
    /// [`CallError`]; also of a host without a cluster section.
    pub async fn preflight(&self) -> Result<Preflight, CallError> {
        let wire::PreflightResponse { preflight_json } = self
            .call("Preflight", wire::PreflightRequest {}, |mut wire, request| async move {
                wire.preflight(request).await
            })
            .await?;
        self.read("Preflight", convert::answer("the checks", &preflight_json))
    }

    /// Has the agent take sections in. The agent goes on when the stream is dropped.
    ///
    /// # Errors
    /// [`CallError`]; most refusals come out of the stream.
    pub async fn apply(&self, order: ApplyOrder) -> Result<ApplyStream, CallError> {
        let mut wire = self.wire.clone();
        let events = wire.apply(convert::apply_to_wire(order)).await;
        let events = events.map_err(|status| CallError::from_status(&self.address, "Apply", status))?;
        Ok(ApplyStream::new(self.address.clone(), events.into_inner()))
    }

    /// Makes a trial permanent. Only counts over a connection opened after the trial began.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn confirm(&self, order: TrialOrder) -> Result<(), CallError> {
        let TrialOrder { trial_id, signature } = order;
        let request = wire::ConfirmRequest { trial_id, signature };
        let wire::ConfirmResponse {} = self
            .call("Confirm", request, |mut wire, request| async move { wire.confirm(request).await })
            .await?;
        Ok(())
    }

    /// Ends a trial at once.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn cancel(&self, order: TrialOrder) -> Result<(), CallError> {
        let TrialOrder { trial_id, signature } = order;
        let request = wire::CancelRequest { trial_id, signature };
        let wire::CancelResponse {} = self
            .call("Cancel", request, |mut wire, request| async move { wire.cancel(request).await })
            .await?;
        Ok(())
    }

    /// Gets, keeps or gives back the lease.
    ///
    /// # Errors
    /// [`CallError`]; that somebody else holds it is no error but `granted: false`.
    pub async fn lease(&self, order: LeaseOrder) -> Result<LeaseAnswer, CallError> {
        let request = convert::lease_to_wire(order);
        let response =
            self.call("Lease", request, |mut wire, request| async move { wire.lease(request).await }).await?;
        Ok(convert::lease_answer_from_wire(response))
    }

    /// Which addresses the host reaches.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn probe(&self, order: ProbeOrder) -> Result<Vec<ProbeResult>, CallError> {
        let request = convert::probe_to_wire(order);
        let response =
            self.call("Probe", request, |mut wire, request| async move { wire.probe(request).await }).await?;
        let wire::ProbeResponse { results } = response;
        Ok(results.into_iter().map(convert::probe_result_from_wire).collect())
    }

    /// The newest claims section in the agent's ledger; `None` when it has none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn claims(&self) -> Result<Option<SignedSection>, CallError> {
        let wire::ClaimsResponse { section } =
            self.call("Claims", wire::ClaimsRequest {}, |mut wire, request| async move {
                wire.claims(request).await
            })
            .await?;
        section.map(|section| self.read("Claims", convert::section_from_wire(section))).transpose()
    }

    /// Logs in at the host's nats-server as the user of `user_jwt`. `sign` signs the server's nonce with the user's
    /// key, which never leaves the caller.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn tunnel(
        &self,
        user_jwt: &str,
        sign: impl FnOnce(&[u8]) -> [u8; 64] + Send,
    ) -> Result<Tunnel, OpenError> {
        let login = TunnelLogin::User { jwt: user_jwt.to_owned() };
        tunnel::open(self.wire.clone(), &self.address, login, Some(Box::new(sign)), self.timeouts.call).await
    }

    /// A tunnel as the agent's own system user, which carries monitoring requests only.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn monitor(&self) -> Result<Tunnel, OpenError> {
        tunnel::open(self.wire.clone(), &self.address, TunnelLogin::Monitor, None, self.timeouts.call).await
    }

    /// One call with its deadline. It is made again over a new connection when the one it was made over breaks: each
    /// of these calls may be repeated, and a connection that broke while nobody used it shows only here.
    async fn call<Q, T, F>(
        &self,
        method: &'static str,
        request: Q,
        send: impl Fn(Wire<Channel>, Q) -> F,
    ) -> Result<T, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let calling = async {
            let mut left = AGAIN.iter();
            loop {
                let status = match send(self.wire.clone(), request.clone()).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => status,
                };
                let error = CallError::from_status(&self.address, method, status);
                match left.next() {
                    Some(pause) if matches!(error, CallError::Lost { .. }) => {
                        tokio::time::sleep(*pause).await
                    }
                    Some(_) | None => return Err(error),
                }
            }
        };
        tokio::time::timeout(self.timeouts.call, calling)
            .await
            .unwrap_or_else(|_| Err(CallError::Timeout { address: self.address.clone(), method }))
    }

    fn read<T>(
        &self,
        method: &'static str,
        converted: Result<T, convert::ConvertError>,
    ) -> Result<T, CallError> {
        converted.map_err(|source| CallError::unreadable(&self.address, method, source))
    }
}
