//! Fetches newer claims from neighbours, because pushing a claim does not reach a server that was away.
//!
//! Shortly after start every neighbour is asked, then a few at random each minute: what one host has, all have within
//! minutes, and an idle agent costs a few handshakes a minute however large the system. The applier verifies what is
//! fetched like any other section; the neighbour only has to be a host of the same authority. A neighbour answers those
//! whose key it was told of: a host that was marked absent is refused until others have taken it in again.
//!
//! Until some neighbour has answered, all are asked in every round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host_state::document::{ClusterSection, GatewaySection};
use host_state::{SectionKind, SignedSection};
use identity::{ClientIdentity, HostName};
use nats_agent_api::{AgentClient, CallError, ConnectError, Expected, Timeouts};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::roles::{ApiIdentity, Applier, ApplierError, ClaimState, Claimed};

/// Pause between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// How much longer a pause may be, at random, so that hosts that start together do not ask together.
const JITTER: Duration = Duration::from_secs(10);
/// Neighbours asked in one round, but for the first.
const ASKED: usize = 3;
/// Bounds of one question.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(3), call: Duration::from_secs(15) };

/// A neighbour's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Neighbour {
    /// `host:port`.
    agent: String,
    /// Pin of its leaf key; absent for hosts of other clusters, whose name and CA have to do.
    pin: Option<String>,
}

/// Why a neighbour's claims were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("`{0}` is not a host name")]
    Name(String),
    #[error("the own certificate is not PEM")]
    OwnCertificate(#[source] rustls_pki_types::pem::Error),
    #[error("cannot connect to host `{host}`")]
    Connect {
        host: String,
        #[source]
        source: ConnectError,
    },
    #[error("cannot fetch the claims of host `{host}`")]
    Call {
        host: String,
        #[source]
        source: CallError,
    },
    #[error("the claims of host `{host}` were refused")]
    Refused {
        host: String,
        #[source]
        source: ApplierError,
    },
}

/// Fetches until `stop`; idle until the host is claimed.
pub async fn run(applier: Arc<dyn Applier>, stop: CancellationToken) {
    let mut states = applier.claim_state();
    let mut first = true;
    loop {
        let claimed = tokio::select! {
            () = stop.cancelled() => return,
            claimed = claimed(&mut states) => claimed,
        };
        let Some(claimed) = claimed else { return };
        let identity = applier.api_identity().borrow().clone();
        if let Some(identity) = identity {
            let round = round(applier.as_ref(), &claimed, &identity, first);
            tokio::select! {
                () = stop.cancelled() => return,
                answered = round => first &= !answered,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause()) => {}
        }
    }
}

async fn claimed(states: &mut tokio::sync::watch::Receiver<ClaimState>) -> Option<Arc<Claimed>> {
    let state = states.wait_for(|state| matches!(state, ClaimState::Claimed(_))).await.ok()?;
    match &*state {
        ClaimState::Claimed(claimed) => Some(Arc::clone(claimed)),
        ClaimState::Closed | ClaimState::Open(_) | ClaimState::Unreadable { .. } => None,
    }
}

/// Asks neighbours one after another; whether any answered.
async fn round(applier: &dyn Applier, claimed: &Claimed, identity: &ApiIdentity, all: bool) -> bool {
    let sections = match applier.sections().await {
        Ok(sections) => sections,
        Err(error) => {
            tracing::debug!(%error, "no neighbours are known");
            return false;
        }
    };
    let neighbours = neighbours(&sections, &claimed.host);
    let asked = if all { neighbours.into_iter().collect() } else { some(neighbours, ASKED) };
    let mut is_answered = false;
    for (host, neighbour) in asked {
        let fetched = fetch(applier, claimed, identity, &host, neighbour).await;
        is_answered |= fetched.is_ok();
        match fetched {
            Ok(true) => tracing::info!(host, "newer claims were fetched from a neighbour"),
            Ok(false) => {}
            Err(error) => tracing::debug!(error = %host_state::chain(&error), "claims were not fetched"),
        }
    }
    is_answered
}

async fn fetch(
    applier: &dyn Applier,
    claimed: &Claimed,
    identity: &ApiIdentity,
    host: &str,
    neighbour: Neighbour,
) -> Result<bool, FetchError> {
    let name: HostName = host.parse().map_err(|_| FetchError::Name(host.to_owned()))?;
    let identity = own(identity).map_err(FetchError::OwnCertificate)?;
    let Neighbour { agent, pin } = neighbour;
    let expected = Expected { host: Some(name), pin };
    let host_ca = claimed.trust.host_ca_bundle();
    let connected = AgentClient::connect(&agent, &identity, &host_ca, expected, TIMEOUTS).await;
    let client = connected.map_err(|source| FetchError::Connect { host: host.to_owned(), source })?;
    let fetched =
        client.claims().await.map_err(|source| FetchError::Call { host: host.to_owned(), source })?;
    let Some(section) = fetched else { return Ok(false) };
    let taken = applier.take_claims(section).await;
    taken.map_err(|source| FetchError::Refused { host: host.to_owned(), source })
}

/// The agent's own leaf as a caller's certificate: its role is peer.
fn own(identity: &ApiIdentity) -> Result<ClientIdentity, rustls_pki_types::pem::Error> {
    let ApiIdentity { chain_pem, key } = identity;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
    let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_str().as_bytes())?;
    Ok(ClientIdentity { chain: chain?, key: Zeroizing::new(key.secret_pkcs8_der().to_vec()) })
}

/// Every other host that the sections name, by host name. What the cluster section says of a host wins: it has a pin.
fn neighbours(sections: &[SignedSection], own: &str) -> BTreeMap<String, Neighbour> {
    let of = |kind| sections.iter().find(|section| section.header.section == kind);
    let gateway = of(SectionKind::Gateway).and_then(|section| section.body::<GatewaySection>().ok());
    let cluster = of(SectionKind::Cluster).and_then(|section| section.body::<ClusterSection>().ok());
    let far = gateway.into_iter().flat_map(|gateway| gateway.hosts);
    let far = far.map(|(host, known)| (host, Neighbour { agent: known.agent, pin: None }));
    let near = cluster.into_iter().flat_map(|cluster| cluster.peers);
    let near = near.map(|(host, known)| (host, Neighbour { agent: known.agent, pin: Some(known.pin) }));
    far.chain(near).filter(|(host, _)| host != own).collect()
}

/// `number` of them at random.
fn some(neighbours: BTreeMap<String, Neighbour>, number: usize) -> Vec<(String, Neighbour)> {
    let mut left: Vec<_> = neighbours.into_iter().collect();
    let mut chosen = Vec::new();
    while chosen.len() < number && !left.is_empty() {
        let index = random() % left.len();
        chosen.push(left.swap_remove(index));
    }
    chosen
}

fn pause() -> Duration {
    let jitter = u64::try_from(JITTER.as_millis()).unwrap_or(u64::MAX);
    ROUND + Duration::from_millis(u64::try_from(random()).unwrap_or(0) % jitter)
}

/// A number that only has to differ between hosts; without randomness it is 0 and nothing is lost but the spread.
fn random() -> usize {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(agent: &str) -> Neighbour {
        Neighbour { agent: agent.to_owned(), pin: None }
    }

    #[test]
    fn a_few_different_ones_are_chosen() {
        let all: BTreeMap<_, _> = (0..9).map(|n| (format!("h{n}"), neighbour("a:1"))).collect();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let chosen = some(all.clone(), 3);
            let names: std::collections::BTreeSet<_> = chosen.into_iter().map(|(host, _)| host).collect();
            assert_eq!(names.len(), 3, "nobody is asked twice");
            seen.extend(names);
        }
        assert_eq!(seen.len(), 9, "everybody is asked some time");
        assert_eq!(some(all.into_iter().take(2).collect(), 3).len(), 2);
        assert_eq!(some(BTreeMap::new(), 3), []);
    }

    #[test]
    fn pauses_are_a_minute_and_a_little() {
        for _ in 0..100 {
            assert!((ROUND..ROUND + JITTER).contains(&pause()));
        }
    }
}
