//! Writes the changes of one process: joined for a moment, merged into the newest section, signed once, pushed to all.
//!
//! One generation is decided by its *arbiter*, the first host by name that answers: everybody pushes there first, so of
//! two writers one is refused, reads the winner's section and merges again. The other hosts then get what was decided;
//! one that does not answer is a warning, and fetches it from its peers when it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use host_state::document::{ClaimsSection, ContentHash, SECTION_DOMAIN, SectionHeader, canonical};
use host_state::report::{Outcome, Report};
use host_state::{SectionKind, SignedSection};
use identity::{Authority, AuthorityName, Generations, HostName};
use nats_agent_api::order::{ApplyMode, ApplyOrder};
use nats_agent_api::{AgentClient, CallError};
use tfplug::{Diagnostic, Diagnostics};
use tokio::sync::{Mutex, OnceCell, oneshot};

use super::edit::{Account, Edit, Revision, account_in, revise};
use super::newest::{Newest, newest};
use crate::agents::System;
use crate::resources::natural_id::AccountId;
use crate::session::{KeyState, SessionSlot};
use crate::whoami::whoami;

/// How long the first change of a process waits for others to join its generation.
const JOIN: Duration = Duration::from_millis(50);
/// How often a lost race is run again. Each costs one read and one refused push.
const ATTEMPTS: u32 = 10;
/// Most that is waited before a race is run again; less by chance.
const MAX_PAUSE_MS: u64 = 200;

type Answer = Result<Diagnostics, Diagnostic>;

/// The claims of a process: writes are joined, reads are shared.
pub struct ClaimsWriter {
    sessions: SessionSlot,
    waiting: Mutex<BTreeMap<AuthorityName, Vec<(Edit, oneshot::Sender<Answer>)>>>,
    /// One generation after the other, also within a process.
    turn: Mutex<()>,
    cache: Mutex<BTreeMap<AuthorityName, Arc<Cached>>>,
}

/// What was read since the last write.
#[derive(Default)]
struct Cached {
    newest: OnceCell<Arc<Newest>>,
    reports: OnceCell<Arc<BTreeMap<HostName, Result<Report, Diagnostic>>>>,
}

impl ClaimsWriter {
    /// Dials nobody yet.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Arc<ClaimsWriter> {
        Arc::new(ClaimsWriter {
            sessions,
            waiting: Mutex::default(),
            turn: Mutex::default(),
            cache: Mutex::default(),
        })
    }

    /// The authority with the generations that its agents work with.
    ///
    /// # Errors
    /// When there is no root key, or no agent answers.
    pub async fn authority(&self, name: &AuthorityName) -> Result<Authority, Diagnostic> {
        let session = self.sessions.session()?;
        let system = session.system(name).await?;
        session.authority(name, system.trust.generations)
    }

    /// The authority as far as identities go, which need no generation; `None` without root key. Dials nobody.
    #[must_use]
    pub fn derivable(&self, name: &AuthorityName) -> Option<Authority> {
        let session = self.sessions.session().ok()?;
        let KeyState::Known(root_key) = session.root_key() else { return None };
        Authority::derive(root_key, name.clone(), Generations::default()).ok()
    }

    /// The account in the newest claims; `None` when they say that there is none. Read once, until the next write.
    ///
    /// # Errors
    /// When nobody answers or the claims cannot be read.
    pub async fn read(&self, id: &AccountId) -> Result<Option<Account>, Diagnostic> {
        let system = self.sessions.session()?.system(&id.authority).await?;
        let cached = self.cached(&id.authority).await;
        let newest = cached.newest.get_or_try_init(|| async { newest(&system).await.map(Arc::new) }).await?;
        match &newest.head {
            Some((_, section)) => account_in(section, &system.authority, &system.trust, &id.account),
            None => Ok(None),
        }
    }

    /// One line for each host whose server has other claims for the account than the newest. Hosts are asked once,
    /// until the next write; one that does not answer is left to its cluster to report.
    ///
    /// # Errors
    /// When nobody can be asked at all.
    pub async fn drift(&self, id: &AccountId) -> Result<Vec<String>, Diagnostic> {
        let system = self.sessions.session()?.system(&id.authority).await?;
        let cached = self.cached(&id.authority).await;
        let reports = cached.reports.get_or_init(|| async { Arc::new(observe_all(&system).await) }).await;
        let mut lines = Vec::new();
        for (host, report) in reports.iter() {
            let drift = report.as_ref().map(|report| report.drift.as_slice()).unwrap_or_default();
            let of_account = drift.iter().filter(|drift| {
                drift.item == "claims" && drift.setting.as_deref() == Some(id.account.as_str())
            });
            lines.extend(of_account.map(|drift| format!("{host}: {drift}")));
        }
        Ok(lines)
    }

    async fn cached(&self, authority: &AuthorityName) -> Arc<Cached> {
        Arc::clone(self.cache.lock().await.entry(authority.clone()).or_default())
    }

    /// Makes a change last: returns when every host that answers has it in its server. The warnings name those that
    /// do not answer. May be repeated; a change that changes nothing only brings hosts that are behind up to date.
    ///
    /// # Errors
    /// When the change is refused, nobody answers, or the race was lost too often.
    pub async fn write(self: &Arc<Self>, authority: &AuthorityName, edit: Edit) -> Answer {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock().await;
        let queue = waiting.entry(authority.clone()).or_default();
        queue.push((edit, answer));
        if queue.len() == 1 {
            let (writer, authority) = (Arc::clone(self), authority.clone());
            tokio::spawn(async move { writer.write_joined(&authority).await });
        }
        drop(waiting);
        answered.await.unwrap_or_else(|_| {
            Err(Diagnostic::error("The write of claims was given up", "The provider is stopping. Apply again."))
        })
    }

    async fn write_joined(&self, authority: &AuthorityName) {
        tokio::time::sleep(JOIN).await;
        let _turn = self.turn.lock().await;
        let joined = self.waiting.lock().await.remove(authority).unwrap_or_default();
        let (edits, answers): (Vec<Edit>, Vec<_>) = joined.into_iter().unzip();
        let outcome = self.race(authority, &edits).await;
        self.cache.lock().await.remove(authority);
        for (number, answer) in answers.into_iter().enumerate() {
            let told = match &outcome {
                Ok((outcomes, warnings)) => outcomes[number].clone().map(|()| warnings.clone()),
                Err(problem) => Err(problem.clone()),
            };
            // The asker may be gone; what was written is written.
            drop(answer.send(told));
        }
    }

    /// Reads, merges, pushes; again from the start when somebody was faster.
    async fn race(&self, authority: &AuthorityName, edits: &[Edit]) -> Result<Decided, Diagnostic> {
        let mut lost = String::new();
        for _ in 0..ATTEMPTS {
            let session = self.sessions.session()?;
            let system = session.system(authority).await?;
            let newest = newest(&system).await?;
            let authority = session.authority(authority, system.trust.generations)?;
            let now = time::OffsetDateTime::now_utc().unix_timestamp();
            let head = newest.head.as_ref();
            let Revision { section, outcomes } = revise(&authority, head.map(|(_, section)| section), edits, now);
            let pushed = match (section, head) {
                (Some(section), _) => sign(&authority, head, &section),
                (None, Some((header, section))) => sign_again(&authority, header, section),
                (None, None) => return Ok((outcomes, Diagnostics::new())),
            };
            match push(&system, &newest, &pushed).await {
                Ok(warnings) => return Ok((outcomes, warnings)),
                Err(Pushed::Lost(reason)) => lost = reason,
                Err(Pushed::Failed(problem)) => return Err(problem),
            }
            tokio::time::sleep(pause()).await;
        }
        let detail = format!("After {ATTEMPTS} tries another writer was faster each time ({lost}). Apply again.");
        Err(Diagnostic::error("The claims could not be written", detail))
    }
}

type Decided = (Vec<Result<(), Diagnostic>>, Diagnostics);

/// By chance, so that two writers do not meet again.
fn pause() -> Duration {
    let mut byte = [0_u8; 1];
    let chance = getrandom::fill(&mut byte).map_or(128, |()| u64::from(byte[0]));
    Duration::from_millis(MAX_PAUSE_MS * chance / 255)
}

fn sign(authority: &Authority, head: Option<&(SectionHeader, ClaimsSection)>, section: &ClaimsSection) -> SignedSection {
    let body = canonical(section);
    let header = SectionHeader {
        authority: authority.trust().operator.to_string(),
        section: SectionKind::Claims,
        owner: format!("nats_authority/{}", authority.name()),
        host: None,
        claim_id: None,
        generation: head.map_or(1, |(header, _)| header.generation.saturating_add(1)),
        parent: head.map(|(header, _)| header.content.clone()),
        content: ContentHash::of(&body),
        document_key: authority.generations().document,
        writer: whoami(),
    };
    signed(authority, header, body)
}

/// The section that is there already, to bring hosts that are behind up to date.
fn sign_again(authority: &Authority, header: &SectionHeader, section: &ClaimsSection) -> SignedSection {
    let header = SectionHeader { document_key: authority.generations().document, ..header.clone() };
    signed(authority, header, canonical(section))
}

fn signed(authority: &Authority, header: SectionHeader, body: String) -> SignedSection {
    let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    SignedSection { header, body, signature: data_encoding::BASE64.encode(&signature) }
}

/// Why a push did not decide.
enum Pushed {
    /// Another writer was faster.
    Lost(String),
    /// Nothing helps but a person.
    Failed(Diagnostic),
}

/// Pushes to the arbiter, then to all others at once.
async fn push(system: &System, newest: &Newest, section: &SignedSection) -> Result<Diagnostics, Pushed> {
    let mut warnings: Diagnostics = newest.silent.iter().map(|(host, problem)| behind(host, &problem.detail)).collect();
    let mut undecided: BTreeSet<&HostName> = newest.answered.iter().collect();
    let mut arbiter = None;
    while let Some(host) = undecided.pop_first() {
        let agent = system.agent(host).await.map_err(Pushed::Failed)?;
        match push_to(&agent, section).await {
            Ok(()) => {
                arbiter = Some(host);
                break;
            }
            Err(error @ CallError::Conflict { .. }) => return Err(Pushed::Lost(host_state::chain(&error))),
            Err(error) => warnings.push(behind(host, &host_state::chain(&error))),
        }
    }
    if arbiter.is_none() {
        let detail = warnings.iter().map(|warning| warning.detail.as_str()).collect::<Vec<_>>().join("\n");
        return Err(Pushed::Failed(Diagnostic::error("No host took the claims", detail)));
    }
    let others = undecided.into_iter().map(|host| async move {
        let pushed = match system.agent(host).await {
            Ok(agent) => push_to(&agent, section).await.map_err(|error| host_state::chain(&error)),
            Err(problem) => Err(problem.detail),
        };
        pushed.err().map(|reason| behind(host, &reason))
    });
    warnings.extend(futures_util::future::join_all(others).await.into_iter().flatten());
    Ok(warnings)
}

async fn push_to(agent: &AgentClient, section: &SignedSection) -> Result<(), CallError> {
    let order = ApplyOrder { sections: vec![section.clone()], mode: ApplyMode::Roll, lease_id: String::new() };
    let (outcome, _) = agent.apply(order).await?.finish(|_| ()).await?;
    match outcome {
        Outcome::Confirmed | Outcome::Staged => Ok(()),
        Outcome::RolledBack { step, reason } => Err(failed(agent, format!("{step}: {reason}"))),
        Outcome::Refused { reason } => Err(failed(agent, reason)),
    }
}

fn failed(agent: &AgentClient, reason: String) -> CallError {
    CallError::Failed { address: agent.address().to_owned(), method: "Apply", reason }
}

fn behind(host: &HostName, reason: &str) -> Diagnostic {
    Diagnostic::warning(
        format!("Host `{host}` does not have the new claims yet"),
        format!("{reason} It fetches them from its peers when it is back; until then it is drift."),
    )
}

async fn observe_all(system: &System) -> BTreeMap<HostName, Result<Report, Diagnostic>> {
    let observe = |host: HostName, agent: AgentClient| async move {
        let observed = agent.observe().await;
        observed.map(|observation| observation.report).map_err(|error| {
            Diagnostic::warning(format!("Host `{host}` was not observed"), host_state::chain(&error))
        })
    };
    system.each_host(observe).await
}
