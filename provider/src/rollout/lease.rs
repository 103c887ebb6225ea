//! The lease that keeps two applies apart: granted by a majority of the declared agents, renewed while it is needed.
//!
//! A process that was killed leaves its lease behind. The next one waits until it has run out, and then looks at the
//! hosts again, because the dead one's agents may have gone on meanwhile.

mod patience;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::future::join_all;
use host_state::chain;
use host_state::lease::{DEFAULT_TTL_MS, LeaseAction, LeaseAnswer};
use identity::{Authority, HostName};
use nats_agent_api::AgentClient;
use nats_agent_api::order::{LEASE_DOMAIN, LeaseOrder};
use tfplug::{Diagnostic, Diagnostics};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::patience::Held;
use self::patience::Patience;
use super::progress::{Bounds, Progress};
use crate::agents::random_bytes;

/// How long a grant lives.
const LIFE: Duration = Duration::from_millis(DEFAULT_TTL_MS as u64);
/// A third of the lease's life, so that two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(10);
/// How long writers of whom none has a majority go on asking.
const CONTEST: Duration = Duration::from_secs(10);
/// Longest pause between two of their rounds; less by chance.
const MAX_PAUSE_MS: u64 = 250;
/// Pause between two tries for a lease that somebody else holds.
const RETRY: Duration = Duration::from_secs(1);
/// Pause before a host is asked again that has granted its lease to somebody who will give it back.
const PAUSE: Duration = Duration::from_millis(100);

/// A lease that is held. Dropped without [`Lease::release`] it runs out by itself.
#[derive(Debug)]
pub struct Lease {
    asking: Arc<Asking>,
    held_until: watch::Receiver<Instant>,
    renewal: JoinHandle<()>,
    was_awaited: bool,
}

/// Who asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// 32 lower-case hex digits, one for each process.
    pub lease_id: String,
    /// For people: who it is, to others that ask.
    pub holder: String,
}

/// Why the lease is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Somebody else holds it.
    Held(Held),
    /// Too few agents answer.
    Few(Diagnostic),
}

impl From<Refused> for Diagnostic {
    fn from(refused: Refused) -> Diagnostic {
        match refused {
            Refused::Held(held) => somebody_else(&held, "unless it is renewed"),
            Refused::Few(why) => why,
        }
    }
}

#[derive(Debug)]
struct Asking {
    agents: BTreeMap<HostName, AgentClient>,
    declared: usize,
    lease_id: String,
    holder: String,
    signature: String,
}

type Answers = BTreeMap<HostName, Result<LeaseAnswer, String>>;

impl Lease {
    /// Acquires it for `what` as [`Lease::try_acquire`] does, and waits for a lease of somebody else while its holder does
    /// not renew it: nobody is there to give it back.
    ///
    /// # Errors
    /// When too few agents answer, the holder shows life, or `bounds` end first; the text names the holder.
    pub async fn acquire(
        agents: &BTreeMap<HostName, AgentClient>,
        declared: usize,
        authority: &Authority,
        applicant: &Applicant,
        what: &str,
        bounds: &Bounds,
    ) -> Result<Lease, Diagnostic> {
        let (mut patience, mut progress, mut was_awaited) = (Patience::default(), Progress::new(what), false);
        loop {
            let held = match Lease::try_acquire(agents, declared, authority, applicant).await {
                Ok(mut lease) => {
                    lease.was_awaited = was_awaited;
                    return Ok(lease);
                }
                Err(Refused::Held(held)) => held,
                Err(Refused::Few(why)) => return Err(why),
            };
            if !patience.lasts(&held, Instant::now()) {
                return Err(somebody_else(&held, "and is renewed: its holder is at work"));
            }
            progress.tell(&format!("waiting for the lease of {} to end", held.holder));
            if let Err(ended) = bounds.pause(RETRY).await {
                return Err(somebody_else(&held, &format!("and was waited for; {ended}")));
            }
            was_awaited = true;
        }
    }

    /// Acquires it from `agents`, of which there are `declared` in all, those that do not answer included: from a
    /// majority, and then from all others that answer, for each host takes changes from its own lease's holder alone.
    ///
    /// The first host by name is asked first, so that of writers who start at once one is refused there and asks no
    /// other; where it does not answer, writers may each get some hosts, and then give them back and ask again by
    /// chance.
    ///
    /// # Errors
    /// When fewer than half of `declared` and one grant it; tells who holds it.
    pub async fn try_acquire(
        agents: &BTreeMap<HostName, AgentClient>,
        declared: usize,
        authority: &Authority,
        applicant: &Applicant,
    ) -> Result<Lease, Refused> {
        let Applicant { lease_id, holder } = applicant.clone();
        let signed =
            authority.document_key().sign(LEASE_DOMAIN, &LeaseOrder::signed_bytes(&lease_id, &holder));
        let signature = BASE64.encode(&signed);
        let asking = Arc::new(Asking { agents: agents.clone(), declared, lease_id, holder, signature });
        let won = match asking.contest().await {
            Ok(since) => asking.complete(since).await,
            Err(why) => Err(why),
        };
        match won {
            Ok(since) => {
                let (held, held_until) = watch::channel(since + LIFE);
                let renewal = tokio::spawn(renew(Arc::clone(&asking), held));
                Ok(Lease { asking, held_until, renewal, was_awaited: false })
            }
            Err(why) => {
                asking.ask(LeaseAction::Release).await;
                Err(why)
            }
        }
    }

    /// The hosts under the lease: what was `seen` before, or what `look` sees when somebody else held the lease first,
    /// because that is old then. `are_same` says whether the new look may be gone on with: see
    /// [`Heads::not_overtaken`](super::heads::Heads::not_overtaken).
    ///
    /// # Errors
    /// What `look` or `are_same` says; the lease is given back.
    pub async fn with_hosts<T, F>(
        self,
        seen: T,
        look: impl FnOnce() -> F,
        are_same: impl FnOnce(&T, &T) -> Result<(), Diagnostic>,
    ) -> Result<(T, Lease), Diagnostics>
    where
        F: Future<Output = Result<T, Diagnostics>>,
    {
        if !self.was_awaited {
            return Ok((seen, self));
        }
        let now = look().await.and_then(|now| {
            are_same(&seen, &now)?;
            Ok(now)
        });
        match now {
            Ok(now) => Ok((now, self)),
            Err(problems) => {
                self.release().await;
                Err(problems)
            }
        }
    }

    /// Its id, for each apply.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.asking.lease_id
    }

    /// Whether it is still held.
    ///
    /// # Errors
    /// When no majority has renewed it within its life.
    pub fn check(&self) -> Result<(), Diagnostic> {
        if Instant::now() < *self.held_until.borrow() {
            return Ok(());
        }
        Err(Diagnostic::error(
            "The lease was lost",
            "Fewer than a majority of the agents renewed it, so somebody else may be changing hosts. Apply again.",
        ))
    }

    /// Gives it back.
    pub async fn release(self) {
        self.renewal.abort();
        self.asking.ask(LeaseAction::Release).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Renews until the lease has run out, which a process that was halted learns here.
async fn renew(asking: Arc<Asking>, held: watch::Sender<Instant>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let since = Instant::now();
        if since >= *held.borrow() {
            return;
        }
        // Acquire renews what is held and takes back what ran out on a host that was away; it never takes what
        // somebody else holds.
        let answers = asking.ask(LeaseAction::Acquire).await;
        if granted(&answers) >= asking.needed() {
            held.send_replace(since + LIFE);
        }
    }
}

impl Asking {
    fn needed(&self) -> usize {
        self.declared / 2 + 1
    }

    /// Asks until a majority has granted, or somebody else has one. Returns since when it is held.
    async fn contest(&self) -> Result<Instant, Refused> {
        let end = Instant::now() + CONTEST;
        loop {
            let since = Instant::now();
            let answers = self.vote().await;
            if granted(&answers) >= self.needed() {
                return Ok(since);
            }
            // Who gives back is told who holds it.
            let held = self.ask(LeaseAction::Release).await;
            let others = holders(&held);
            let leader = others.iter().max_by_key(|(_, (hosts, _))| *hosts);
            let is_hopeless = held.values().filter(|answer| answer.is_ok()).count() < self.needed();
            let is_over = Instant::now() >= end;
            match leader {
                Some((holder, (hosts, left_ms))) if *hosts >= self.needed() || is_over => {
                    return Err(held_by(holder, *left_ms));
                }
                _ if is_hopeless || is_over => return Err(Refused::Few(self.silence(&held))),
                _ => tokio::time::sleep(by_chance()).await,
            }
        }
    }

    /// Asks the first host that answers, and all others when it has granted.
    async fn vote(&self) -> Answers {
        let mut answers = Answers::new();
        for (host, agent) in &self.agents {
            let answer = self.ask_one(agent, LeaseAction::Acquire).await;
            let decided = answer.as_ref().ok().map(|answer| answer.granted);
            answers.insert(host.clone(), answer);
            match decided {
                Some(true) => break,
                Some(false) => return answers,
                None => {}
            }
        }
        let others = self.agents.iter().filter(|(host, _)| !answers.contains_key(*host));
        let others = others.map(|(host, agent)| async move {
            (host.clone(), self.ask_one(agent, LeaseAction::Acquire).await)
        });
        let others = join_all(others).await;
        answers.extend(others);
        answers
    }

    /// Waits for hosts that have granted their lease to somebody without a majority, who gives it back or lets it run
    /// out. Returns since when the lease is held.
    async fn complete(&self, mut since: Instant) -> Result<Instant, Refused> {
        let end = Instant::now() + LIFE + RENEWAL;
        loop {
            let asked = Instant::now();
            let answers = self.ask(LeaseAction::Acquire).await;
            if granted(&answers) >= self.needed() {
                since = asked;
            }
            let others = holders(&answers);
            let Some((holder, (_, left_ms))) = others.iter().next() else { return Ok(since) };
            if Instant::now() >= end || asked >= since + LIFE {
                return Err(held_by(holder, *left_ms));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, action: LeaseAction) -> Answers {
        let one = |(host, agent): (&HostName, &AgentClient)| {
            let (host, agent) = (host.clone(), agent.clone());
            async move { (host, self.ask_one(&agent, action).await) }
        };
        join_all(self.agents.iter().map(one)).await.into_iter().collect()
    }

    async fn ask_one(&self, agent: &AgentClient, action: LeaseAction) -> Result<LeaseAnswer, String> {
        let order = LeaseOrder {
            lease_id: self.lease_id.clone(),
            holder: self.holder.clone(),
            action,
            ttl_ms: DEFAULT_TTL_MS,
            signature: self.signature.clone(),
        };
        // Shorter than a renewal's pause, so that a silent host does not hold up the others' renewal.
        match tokio::time::timeout(RENEWAL / 2, agent.lease(order)).await {
            Ok(answer) => answer.map_err(|why| chain(&why)),
            Err(_) => Err(format!("agent `{}` did not answer in time", agent.address())),
        }
    }

    fn silence(&self, answers: &Answers) -> Diagnostic {
        let why: Vec<String> = answers
            .iter()
            .filter_map(|(host, answer)| answer.as_ref().err().map(|why| format!("`{host}`: {why}.")))
            .collect();
        let answered = answers.len() - why.len();
        let (declared, needed) = (self.declared, self.needed());
        Diagnostic::error(
            format!("Only {answered} of {declared} agents grant the lease, {needed} are needed"),
            format!("Bring the hosts back, or mark them `absent`.\n{}", why.join("\n")),
        )
    }
}

fn granted(answers: &Answers) -> usize {
    answers.values().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.granted)).count()
}

/// Who else holds the lease of how many hosts, and for how many milliseconds at most.
fn holders(answers: &Answers) -> BTreeMap<&str, (usize, u32)> {
    let mut holders: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    let answered = answers.values().filter_map(|answer| answer.as_ref().ok());
    for other in answered.filter(|answer| !answer.granted && !answer.holder.is_empty()) {
        let (hosts, left_ms) = holders.entry(&other.holder).or_default();
        *hosts += 1;
        *left_ms = other.remaining_ms.max(*left_ms);
    }
    holders
}

fn held_by(holder: &str, left_ms: u32) -> Refused {
    Refused::Held(Held { holder: holder.to_owned(), remaining: Duration::from_millis(left_ms.into()) })
}

fn somebody_else(held: &Held, how: &str) -> Diagnostic {
    let Held { holder, remaining } = held;
    let seconds = remaining.as_millis().div_ceil(1000);
    Diagnostic::error(
        "Somebody else is changing these hosts",
        format!(
            "The lease is held by {holder} for another {seconds} s {how}. Wait until that is done, then apply again."
        ),
    )
}

/// By chance, so that two writers do not meet again.
fn by_chance() -> Duration {
    let chance = random_bytes().map_or(128, |bytes| u64::from(bytes[0]));
    Duration::from_millis(MAX_PAUSE_MS * chance / 255)
}
