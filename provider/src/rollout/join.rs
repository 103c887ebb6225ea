//! Connecting to hosts, and claiming those that are nobody's. Waits for hosts that are starting; fails at once for
//! those that waiting does not help.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use host_state::audit::RecordHash;
use host_state::chain;
use host_state::document::ClusterSection;
use host_state::report::Report;
use host_state::{SectionKind, SignedSection};
use identity::{Authority, HostKeys, HostName, HostNames, Trust};
use nats_agent_api::order::{ClaimOffer, Observation};
use nats_agent_api::{AgentClient, ClaimBinding, ClaimError, ConnectError, claim};
use nats_config::HostPort;
use tfplug::{Diagnostic, Diagnostics};
use time::OffsetDateTime;

use super::claimed::Claimed;
use super::material::ISSUER_VALIDITY;
use super::progress::{Bounds, Ended, Progress};
use super::signing::head;
use crate::agents::{Agents, IdentityCard, random_bytes};

/// Pause between two attempts at one host.
const RETRY: Duration = Duration::from_secs(1);
/// How long each step of a claim may take.
const CLAIM_STEP: Duration = Duration::from_secs(10);

/// A host to be joined.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where its agent listens.
    pub agent: HostPort,
    /// Enrolment generation.
    pub generation: u32,
    /// Names in its certificates; absent when the host must be claimed already.
    pub names: Option<HostNames>,
    /// The record of its audit log whose hash is asked for; 0 for none.
    pub audit_seq: u64,
}

/// A host that answered.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its agent.
    pub agent: AgentClient,
    /// As it is.
    pub report: Report,
    /// Sections in its ledger.
    pub sections: Vec<SignedSection>,
    /// Its public keys.
    pub keys: HostKeys,
    /// Its claim.
    pub claim_id: String,
    /// Hash of the record of its audit log that was asked for; absent when none was, or the log has none that can be read.
    pub audit_hash: Option<RecordHash>,
}

impl Joined {
    /// A host that was observed; `None` when it says nothing usable of its claim.
    #[must_use]
    pub fn of(agent: AgentClient, seen: Observation) -> Option<Joined> {
        let claim = seen.report.claim.clone()?;
        let keys = serde_json::from_value(claim.host_keys).ok()?;
        let Observation { report, sections, audit_hash } = seen;
        Some(Joined { agent, report, sections, keys, claim_id: claim.claim_id, audit_hash })
    }

    /// The section of a kind in its ledger.
    #[must_use]
    pub fn head(&self, kind: SectionKind) -> Option<&SignedSection> {
        head(&self.sections, kind)
    }

    /// The cluster section in its ledger; `None` when there is none or it cannot be read.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterSection> {
        self.head(SectionKind::Cluster).and_then(|section| section.body().ok())
    }
}

/// Who joins hosts, and how.
#[derive(Debug)]
pub struct Joiner<'a> {
    /// The keys.
    pub authority: &'a Authority,
    /// Its public side.
    pub trust: &'a Trust,
    /// Who we are to the agents.
    pub card: &'a IdentityCard,
    /// Connections.
    pub agents: &'a Agents,
    /// What is being made, like `nats_cluster/east`.
    pub what: &'a str,
}

/// One run over all hosts.
struct Round<'a> {
    candidates: &'a BTreeMap<HostName, Candidate>,
    bounds: &'a Bounds,
    /// Whom is waited for, and why.
    waiting: Mutex<BTreeMap<HostName, String>>,
    /// Tripped by the first host for which waiting does not help.
    failed: tfplug::Stop,
}

impl Round<'_> {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<HostName, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a host was not joined.
enum Refusal {
    /// Waiting may help.
    Wait(String),
    /// It does not.
    Final(Diagnostic),
}

impl Joiner<'_> {
    /// Joins all of `candidates` at once; returns when each is there.
    ///
    /// # Errors
    /// All hosts that could not be joined, each with why. One for which waiting does not help ends it for all.
    pub async fn join_all(
        &self,
        candidates: &BTreeMap<HostName, Candidate>,
        bounds: &Bounds,
    ) -> Result<BTreeMap<HostName, Joined>, Diagnostics> {
        let round = Round { candidates, bounds, waiting: Mutex::default(), failed: tfplug::Stop::new() };
        let joins = join_all(candidates.iter().map(|(host, candidate)| {
            let round = &round;
            async move { (host.clone(), self.join_one(host, candidate, round).await) }
        }));
        let results = tokio::select! {
            results = joins => results,
            never = self.tell(&round) => match never {},
        };
        let mut joined = BTreeMap::new();
        let mut problems = Diagnostics::new();
        for (host, result) in results {
            match result {
                Ok(one) => _ = joined.insert(host, one),
                Err(Some(problem)) => problems.push(problem),
                Err(None) => {}
            }
        }
        if problems.is_empty() { Ok(joined) } else { Err(problems) }
    }

    /// What those of the hosts that let us in know of the others' claims. Asked before each claim: a host that was silent
    /// before the first may know of the second.
    ///
    /// # Errors
    /// A host that lets us in and does not tell: it may be the one that knows of a claim.
    async fn ask_claimed(&self, candidates: &BTreeMap<HostName, Candidate>) -> Result<Claimed, String> {
        let asked = candidates.iter().map(|(host, candidate)| async move {
            let Ok(agent) = self.agents.connect(self.card, &candidate.agent, Some(host)).await else {
                return Ok(None);
            };
            let untold = |why| format!("`{host}` does not tell which hosts were claimed: {why}");
            let seen = agent.observe().await.map_err(|why| untold(chain(&why)))?;
            let section = head(&seen.sections, SectionKind::Cluster);
            section
                .map(|section| section.body::<ClusterSection>())
                .transpose()
                .map_err(|why| untold(chain(&why)))
        });
        let sections: Result<Vec<Option<ClusterSection>>, String> =
            join_all(asked).await.into_iter().collect();
        Ok(Claimed::of(sections?.iter().flatten()))
    }

    async fn tell(&self, round: &Round<'_>) -> std::convert::Infallible {
        let mut progress = Progress::new(self.what);
        loop {
            tokio::time::sleep(RETRY).await;
            let hosts: Vec<String> =
                round.waiting().iter().map(|(host, why)| format!("`{host}` ({why})")).collect();
            let line = hosts.join(", ");
            if !line.is_empty() {
                progress.tell(&format!("waiting for {line}"));
            }
        }
    }

    /// `Err(None)` when another host's failure ended the wait.
    async fn join_one(
        &self,
        host: &HostName,
        candidate: &Candidate,
        round: &Round<'_>,
    ) -> Result<Joined, Option<Diagnostic>> {
        loop {
            let why = match self.try_once(host, candidate, round).await {
                Ok(joined) => {
                    round.waiting().remove(host);
                    return Ok(joined);
                }
                Err(Refusal::Final(problem)) => {
                    round.failed.trip();
                    return Err(Some(problem));
                }
                Err(Refusal::Wait(why)) => why,
            };
            round.waiting().insert(host.clone(), why.clone());
            let ended = tokio::select! {
                ended = round.bounds.pause(RETRY) => ended,
                () = round.failed.stopped() => return Err(None),
            };
            if let Err(ended) = ended {
                return Err(Some(gave_up(host, &why, ended)));
            }
        }
    }

    async fn try_once(
        &self,
        host: &HostName,
        candidate: &Candidate,
        round: &Round<'_>,
    ) -> Result<Joined, Refusal> {
        match self.agents.connect(self.card, &candidate.agent, Some(host)).await {
            Ok(agent) => self.observe(host, candidate, agent).await,
            Err(ConnectError::NotClaimed { .. }) => {
                let claimed = self.ask_claimed(round.candidates).await.map_err(Refusal::Wait)?;
                self.claim(host, candidate, &claimed).await?;
                let agent = self.agents.connect(self.card, &candidate.agent, Some(host)).await;
                // The listener changes over after a claim, which takes a moment.
                let agent = agent.map_err(|why| Refusal::Wait(chain(&why)))?;
                self.observe(host, candidate, agent).await
            }
            Err(why) if why.is_temporary() => Err(Refusal::Wait(chain(&why))),
            Err(why) => Err(Refusal::Final(not_joined(host, &chain(&why), remedy(&why)))),
        }
    }

    async fn observe(
        &self,
        host: &HostName,
        candidate: &Candidate,
        agent: AgentClient,
    ) -> Result<Joined, Refusal> {
        let seen = agent.observe_with(candidate.audit_seq).await;
        let seen = seen.map_err(|why| Refusal::Wait(chain(&why)))?;
        let Some(claim) = &seen.report.claim else {
            return Err(Refusal::Wait("its claim is under way".to_owned()));
        };
        if claim.generation != candidate.generation {
            let why = format!(
                "it was claimed with enrolment {}, and enrolment {} is declared",
                claim.generation, candidate.generation
            );
            let remedy =
                "Set the node's `generation` to the enrolment that the host has, or enrol the host anew.";
            return Err(Refusal::Final(not_joined(host, &why, remedy)));
        }
        let keys: HostKeys = serde_json::from_value(claim.host_keys.clone()).map_err(|why| {
            Refusal::Final(not_joined(
                host,
                &format!("its keys cannot be read: {why}"),
                "Update agent or provider.",
            ))
        })?;
        let claim_id = claim.claim_id.clone();
        let Observation { report, sections, audit_hash } = seen;
        Ok(Joined { agent, report, sections, keys, claim_id, audit_hash })
    }

    async fn claim(&self, host: &HostName, candidate: &Candidate, claimed: &Claimed) -> Result<(), Refusal> {
        let Some(names) = &candidate.names else {
            let why = "it is not claimed";
            return Err(Refusal::Final(not_joined(host, why, "Apply its `nats_cluster` first.")));
        };
        let enrollment = self.authority.enrollment(host.clone(), candidate.generation);
        let claim_id = random_bytes().map_err(Refusal::Final)?;
        let claim_id = data_encoding::HEXLOWER.encode(&claim_id[..16]);
        let bind = |offer: &ClaimOffer| {
            claimed.may_claim(host, candidate.generation, &offer.host_keys)?;
            let now = OffsetDateTime::now_utc();
            let issuer = self.authority.issuer(&offer.host_keys, names, now, ISSUER_VALIDITY)?;
            Ok(ClaimBinding {
                trust: self.trust.clone(),
                issuer,
                claim_id: claim_id.clone(),
                names: names.clone(),
            })
        };
        let address = candidate.agent.to_string();
        match claim(&address, self.card.client(), &enrollment, CLAIM_STEP, bind).await {
            Ok(_) => {
                tracing::info!("{}: claimed host `{host}` at {address}", self.what);
                Ok(())
            }
            Err(ClaimError::Connect(ConnectError::Claimed { .. })) => {
                Err(Refusal::Wait("it was claimed meanwhile".to_owned()))
            }
            Err(why) if why.is_temporary() => Err(Refusal::Wait(chain(&why))),
            // Its cause says what to do.
            Err(why @ ClaimError::Binding { .. }) => {
                Err(Refusal::Final(not_joined(host, &chain(&why), "Nothing was changed on it.")))
            }
            Err(why) => {
                let remedy = "Enrol it with the text of its `nats_host_enrollment`: `nats-agent enroll` opens the door again.";
                Err(Refusal::Final(not_joined(host, &chain(&why), remedy)))
            }
        }
    }
}

fn not_joined(host: &HostName, why: &str, remedy: &str) -> Diagnostic {
    Diagnostic::error(format!("Host `{host}` cannot be managed"), format!("`{host}`: {why}. {remedy}"))
}

fn gave_up(host: &HostName, why: &str, ended: Ended) -> Diagnostic {
    Diagnostic::error(
        format!("Host `{host}` did not come"),
        format!(
            "It was waited for until {ended}. Last seen: {why}. If the host is away for long, set `absent = true` on its \
             node."
        ),
    )
}

fn remedy(why: &ConnectError) -> &'static str {
    match why {
        ConnectError::WrongAuthority { .. } | ConnectError::Refused { .. } => {
            "It belongs to somebody else, or this is another root key. Nothing was changed on it."
        }
        ConnectError::WrongHost { .. } => "Check the node's `agent` address.",
        ConnectError::WrongKey { .. } => "Enrol the host anew, with the next `generation`.",
        ConnectError::Expired { .. } => "Check the clocks of both sides.",
        ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Closed { .. }
        | ConnectError::NotClaimed { .. }
        | ConnectError::Claimed { .. } => "Apply again.",
        ConnectError::Protocol { .. } | ConnectError::Setup { .. } => "Check that an agent listens there.",
    }
}
