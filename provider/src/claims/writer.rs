//! Writes the changes of one process: joined for a moment, merged into the newest section, signed once, pushed to all.
//!
//! One generation is decided by its *arbiter*, the first host by name that answers: everybody pushes there first, so of
//! two writers one is refused, reads the winner's section and merges again. The other hosts then get what was decided;
//! one that does not answer is a warning, and fetches it from its peers when it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use host_state::document::{ClaimsSection, ContentHash, SECTION_DOMAIN, SectionHeader, canonical};
use host_state::report::Report;
use host_state::{SectionKind, SignedSection};
use identity::{Authority, AuthorityName, Generations, HostName, Trust};
use nats_agent_api::AgentClient;
use tfplug::{Diagnostic, Diagnostics};
use tokio::sync::{Mutex, OnceCell, oneshot};

use super::edit::{Account, Edit, Revision, account_in, revise};
use super::newest::{Head, Newest, newest};
use super::push::{CLAIMS, Pushed, push};
use crate::agents::System;
use crate::keys::Keys;
use crate::resources::natural_id::AccountId;
use crate::session::SessionSlot;

/// How long the first change of a process waits for others to join its generation.
const JOIN: Duration = Duration::from_millis(50);
/// How often a lost race is run again: sixteen writers who start at once have each had their turn long before. Each
/// costs one read and one refused push.
const ATTEMPTS: u32 = 30;
/// Most that is waited before a race is run again; less by chance.
const MAX_PAUSE_MS: u64 = 200;

/// Longest that a change is awaited, whatever happens to it.
const WRITE_DEADLINE: Duration = Duration::from_secs(600);

type Answer = Result<Diagnostics, Diagnostic>;
type Waiting = Vec<(Edit, oneshot::Sender<Answer>)>;

/// The claims of a process: writes are joined, reads are shared.
pub struct ClaimsWriter {
    sessions: SessionSlot,
    waiting: Mutex<BTreeMap<AuthorityName, Waiting>>,
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

    /// The system of an authority, with the keys of the generations that its agents work with.
    ///
    /// # Errors
    /// When the keys open no agent, or none answers.
    pub async fn system(&self, name: &AuthorityName) -> Result<Arc<System>, Diagnostic> {
        self.sessions.session()?.system(name).await
    }

    /// Whether this process may only look.
    ///
    /// # Errors
    /// When Terraform has not configured the provider.
    pub fn is_reader(&self) -> Result<bool, Diagnostic> {
        Ok(matches!(self.sessions.session()?.keys(), Keys::Reader(_)))
    }

    /// The authority as far as identities go, which need no generation; `None` without root key. Dials nobody.
    #[must_use]
    pub fn derivable(&self, name: &AuthorityName) -> Option<Authority> {
        let session = self.sessions.session().ok()?;
        let Keys::Root(root_key) = session.keys() else { return None };
        Authority::derive(root_key, name.clone(), Generations::default()).ok()
    }

    /// The account in the newest claims; `None` when they say that there is none. Read once, until the next write.
    ///
    /// # Errors
    /// When nobody answers or the claims cannot be read.
    pub async fn read(&self, id: &AccountId) -> Result<Option<Account>, Diagnostic> {
        let (system, newest) = self.newest(&id.authority).await?;
        match &newest.head {
            Some(head) => account_in(&head.section, &system.trust, &id.account),
            None => Ok(None),
        }
    }

    /// Whether the newest claims say that the account was deleted; an account of which they say nothing was not.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn is_deleted(&self, id: &AccountId) -> Result<bool, Diagnostic> {
        let (_, newest) = self.newest(&id.authority).await?;
        let mut entries = newest.head.iter().flat_map(|head| head.section.accounts.values());
        Ok(entries.any(|entry| entry.name == id.account.as_str() && entry.tombstone))
    }

    /// One line for each host whose server has other claims for the account than the newest. Hosts are asked once,
    /// until the next write; one that does not answer is left to its cluster to report.
    ///
    /// # Errors
    /// When nobody can be asked at all.
    pub async fn drift(&self, id: &AccountId) -> Result<Vec<String>, Diagnostic> {
        let system = self.system(&id.authority).await?;
        let cached = self.cached(&id.authority).await;
        let reports = cached.reports.get_or_init(|| async { Arc::new(observe_all(&system).await) }).await;
        let mut lines = Vec::new();
        for (host, report) in reports.iter() {
            let drift = report.as_ref().map(|report| report.drift.as_slice()).unwrap_or_default();
            let of_account = drift.iter().filter(|drift| {
                drift.item == CLAIMS && drift.setting.as_deref() == Some(id.account.as_str())
            });
            lines.extend(of_account.map(|drift| format!("{host}: {drift}")));
        }
        Ok(lines)
    }

    /// The newest claims of the system, read once until the next write.
    async fn newest(&self, authority: &AuthorityName) -> Result<(Arc<System>, Arc<Newest>), Diagnostic> {
        let system = self.system(authority).await?;
        let cached = self.cached(authority).await;
        let read =
            cached.newest.get_or_try_init(|| async { newest(&system, &system.absent).await.map(Arc::new) });
        let newest = Arc::clone(read.await?);
        Ok((system, newest))
    }

    /// What was read is old.
    async fn forget(&self, authority: &AuthorityName) {
        self.cache.lock().await.remove(authority);
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
        match tokio::time::timeout(WRITE_DEADLINE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Diagnostic::error(
                "The write of claims was given up",
                "The provider is stopping. Apply again.",
            )),
            Err(_) => Err(Diagnostic::error(
                format!("The claims were not written within {} s", WRITE_DEADLINE.as_secs()),
                "The agents answer too slowly. Apply again: what was done is kept and taken over.",
            )),
        }
    }

    async fn write_joined(&self, authority: &AuthorityName) {
        tokio::time::sleep(JOIN).await;
        let _turn = self.turn.lock().await;
        let joined = self.waiting.lock().await.remove(authority).unwrap_or_default();
        let (edits, answers): (Vec<Edit>, Vec<_>) = joined.into_iter().unzip();
        let outcome = self.race(authority, &edits).await;
        self.forget(authority).await;
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
        let session = self.sessions.session()?;
        let writer = session.writer();
        for _ in 0..ATTEMPTS {
            let system = self.system(authority).await?;
            let newest = newest(&system, &system.absent).await?;
            let authority = system.authority()?;
            let now = time::OffsetDateTime::now_utc().unix_timestamp();
            let head = newest.head.as_ref();
            let Revision { section, outcomes } =
                revise(authority, head.map(|head| &head.section), edits, now);
            let pushed = match (section, head) {
                (Some(section), _) => sign(authority, writer, head, &section),
                (None, Some(head)) if head.is_forked => sign(authority, writer, Some(head), &head.section),
                (None, Some(head)) => sign_again(authority, head),
                (None, None) => return Ok((outcomes, Diagnostics::new())),
            };
            match push(&system, &newest, &pushed).await {
                Ok(warnings) => return Ok((outcomes, warnings)),
                Err(Pushed::Lost(reason)) => lost = reason,
                Err(Pushed::Failed(problem)) => return Err(problem),
            }
            tokio::time::sleep(pause()).await;
        }
        Err(always_lost(&lost))
    }
}

impl ClaimsWriter {
    /// Writes what `make` makes of the newest claims, signed by `next`; it is given them, what is trusted now, and the time
    /// in Unix seconds. Nothing is written where it makes nothing. Again from the start when somebody was faster. Hosts
    /// `without` a say in it are neither asked nor told.
    ///
    /// # Errors
    /// Those of `make`; when nobody answers, or the race was lost too often.
    pub(super) async fn rewrite(
        &self,
        next: &Authority,
        without: &BTreeSet<HostName>,
        make: impl Fn(Option<&Head>, &Trust, i64) -> Result<Option<ClaimsSection>, Diagnostic>,
    ) -> Answer {
        let session = self.sessions.session()?;
        let _turn = self.turn.lock().await;
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let system = self.system(next.name()).await?;
            let seen = newest(&system, without).await?;
            let head = seen.head.as_ref();
            let now = time::OffsetDateTime::now_utc().unix_timestamp();
            let Some(section) = make(head, &system.trust, now)? else { return Ok(Diagnostics::new()) };
            let pushed = push(&system, &seen, &sign(next, session.writer(), head, &section)).await;
            self.forget(next.name()).await;
            match pushed {
                Ok(warnings) => return Ok(warnings),
                Err(Pushed::Lost(why)) => reason = why,
                Err(Pushed::Failed(problem)) => return Err(problem),
            }
            tokio::time::sleep(pause()).await;
        }
        Err(always_lost(&reason))
    }
}

/// What is told when another writer was faster each time.
fn always_lost(why: &str) -> Diagnostic {
    let detail = format!("After {ATTEMPTS} tries another writer was faster each time ({why}). Apply again.");
    Diagnostic::error("The claims could not be written", detail)
}

type Decided = (Vec<Result<(), Diagnostic>>, Diagnostics);

/// By chance, so that two writers do not meet again.
fn pause() -> Duration {
    let mut byte = [0_u8; 1];
    let chance = getrandom::fill(&mut byte).map_or(128, |()| u64::from(byte[0]));
    Duration::from_millis(MAX_PAUSE_MS * chance / 255)
}

/// The next generation. After a fork it leaves one number out: hosts on either branch then take it as one whose
/// predecessor they missed.
fn sign(authority: &Authority, writer: &str, head: Option<&Head>, section: &ClaimsSection) -> SignedSection {
    let body = canonical(section);
    let step = if head.is_some_and(|head| head.is_forked) { 2 } else { 1 };
    let header = SectionHeader {
        authority: authority.trust().operator.to_string(),
        section: SectionKind::Claims,
        owner: format!("nats_authority/{}", authority.name()),
        host: None,
        claim_id: None,
        generation: head.map_or(1, |head| head.header.generation.saturating_add(step)),
        parent: head.map(|head| head.header.content.clone()),
        content: ContentHash::of(&body),
        document_key: authority.generations().previous().document,
        writer: writer.to_owned(),
    };
    signed(authority, header, body)
}

/// The section that is there already, to bring hosts that are behind up to date.
fn sign_again(authority: &Authority, head: &Head) -> SignedSection {
    let header =
        SectionHeader { document_key: authority.generations().previous().document, ..head.header.clone() };
    signed(authority, header, canonical(&head.section))
}

fn signed(authority: &Authority, header: SectionHeader, body: String) -> SignedSection {
    let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    SignedSection { header, body, signature: data_encoding::BASE64.encode(&signature) }
}

async fn observe_all(system: &System) -> BTreeMap<HostName, Result<Report, Diagnostic>> {
    let observe = |host: HostName, agent: AgentClient| async move {
        let observed = agent.observe().await;
        observed.map(|observation| observation.report).map_err(|error| {
            Diagnostic::warning(format!("Host `{host}` was not observed"), host_state::chain(&error))
        })
    };
    system.each_host(&system.absent, observe).await
}
