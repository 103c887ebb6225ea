//! Tries all credentials on all servers, again and again: who is let in, since when not, and who comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;

use super::declared::{Away, Old};
use super::probe::{Place, Word, probe};
use crate::rig::agents::Host;
use crate::rig::wait::{wait_for, wait_until};

/// Pause between two passes.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a pass may take.
const PASS: Duration = Duration::from_secs(120);

/// Tries until [`Watch::finish`].
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
    shared: Arc<Shared>,
    hosts: usize,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    passes: AtomicU64,
    tried: AtomicU64,
}

#[derive(Default)]
struct Seen {
    /// The last word, by host and credential.
    last: BTreeMap<(String, String), Word>,
    /// When it was out first.
    out_since: BTreeMap<(String, String), Instant>,
    /// Out once and let in later.
    returned: BTreeSet<String>,
}

/// What it found.
pub(super) struct Counted {
    pub(super) tried: u64,
    /// `credential at host`.
    pub(super) returned: BTreeSet<String>,
}

impl Watch {
    /// Starts.
    pub(super) fn start(hosts: &[Host], olds: Vec<Old>) -> Watch {
        let place = |host: &Host| Place {
            host: host.name().to_owned(),
            address: host.address(),
            ca: host.state_dir().join("current/ca.pem"),
        };
        let places: Vec<Place> = hosts.iter().map(place).collect();
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Shared::default()));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("start a runtime")?.block_on(async {
                while !stopped.load(Ordering::Acquire) {
                    for old in &olds {
                        let tries =
                            places.iter().map(|place| async move { (place, probe(place, old).await) });
                        for (place, word) in join_all(tries).await {
                            told.take(&place.host, &old.name, word);
                        }
                    }
                    told.passes.fetch_add(1, Ordering::AcqRel);
                    tokio::time::sleep(PAUSE).await;
                }
            });
            Ok(())
        });
        Watch { stop, thread, shared, hosts: hosts.len() }
    }

    /// Waits until everything that is tried from now on was tried.
    pub(super) fn await_first_pass(&self) -> Result<()> {
        // The pass that is under way began before.
        let wanted = self.shared.passes.load(Ordering::Acquire) + 2;
        wait_until("all credentials tried on all servers", PASS, || {
            Ok(self.shared.passes.load(Ordering::Acquire) >= wanted)
        })
    }

    /// How many credentials every server lets in.
    pub(super) fn let_in_everywhere(&self) -> usize {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for ((_, name), word) in &self.seen().last {
            if *word == Word::In {
                *count.entry(name.clone()).or_default() += 1;
            }
        }
        count.values().filter(|times| **times == self.hosts).count()
    }

    /// How many of a round's credentials are let in on these hosts, tried from now on.
    pub(super) fn still_let_in(&self, away: &Away, hosts: &[String]) -> Result<usize> {
        self.await_first_pass()?;
        let seen = self.seen();
        let is_in = |host: &String, old: &Old| {
            seen.last.get(&(host.clone(), old.name.clone())).is_some_and(|word| *word != Word::Out)
        };
        Ok(hosts.iter().map(|host| away.all().iter().filter(|old| is_in(host, old)).count()).sum())
    }

    /// Waits until a round's credentials are out on these hosts; when the last of them was so first.
    pub(super) fn await_out(&self, away: &Away, hosts: &[String], patience: Duration) -> Result<Instant> {
        wait_for(&format!("the credentials out on {}", hosts.join(", ")), patience + PASS, || {
            let seen = self.seen();
            let since =
                |host: &String, old: &Old| seen.out_since.get(&(host.clone(), old.name.clone())).copied();
            let all = hosts.iter().flat_map(|host| away.all().iter().map(move |old| since(host, old)));
            Ok(all.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max()))
        })
    }

    /// Waits until every server says something about every credential again.
    pub(super) fn await_answers(&self, hosts: &[String], patience: Duration) -> Result<()> {
        wait_until("an answer of every server", patience + PASS, || {
            self.await_first_pass()?;
            let seen = self.seen();
            Ok(seen.last.iter().all(|((host, _), word)| !hosts.contains(host) || *word != Word::None))
        })
    }

    /// From now on the host may let everything in until it is out again: it was put back on purpose.
    pub(super) fn forgive(&self, host: &str) {
        self.seen().out_since.retain(|(known, _), _| known != host);
    }

    /// Since when everything that was ever out elsewhere is out on `host`; absent while it is not.
    pub(super) fn out_again(&self, host: &str) -> Option<Instant> {
        let seen = self.seen();
        let names = seen.last.keys().filter(|(known, _)| known == host);
        names.map(|key| seen.out_since.get(key).copied()).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Those that came back so far.
    pub(super) fn returned(&self) -> usize {
        self.seen().returned.len()
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<Counted> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        let tried = self.shared.tried.load(Ordering::Acquire);
        let returned = std::mem::take(&mut self.shared.seen().returned);
        Ok(Counted { tried, returned })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, host: &str, name: &str, word: Word) {
        self.tried.fetch_add(1, Ordering::AcqRel);
        let key = (host.to_owned(), name.to_owned());
        let mut seen = self.seen();
        match word {
            Word::None => {}
            Word::Out => _ = seen.out_since.entry(key.clone()).or_insert_with(Instant::now),
            Word::In => {
                if seen.out_since.contains_key(&key) {
                    seen.returned.insert(format!("{name} at {host}"));
                }
            }
        }
        seen.last.insert(key, word);
    }
}
