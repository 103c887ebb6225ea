//! Looks at a host between the lives of its agent, and says which promise is broken. Changes nothing.

use std::fs;
use std::path::Path;

use host_state::layout;
use host_state::report::{Outcome, RunStatus};
use nats_agent::applier::audit::scan::scan;
use nats_agent::applier::ledger::{Kept, Ledger, read_checked};
use nats_agent::applier::rendition::Renditions;
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::{LEAF_FILE, Leaf};
use nats_config::{digest_of_text, render};

use super::life::{Ask, Life};
use super::operation::{Operation, Prepared};
use super::site::Site;

/// What must hold whatever strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What is current, and what runs, is one whole rendition: the old one or the new one.
    Whole,
    /// The newest certificate is kept, and what is kept never grows older.
    Certificate,
    /// Claim, keys, ledger, audit log and every other file with a checksum can be read.
    Readable,
    /// Nothing of a store is touched.
    Store,
    /// One server at most, and nothing left over from trials.
    Alone,
    /// A restart or one more apply brings the host where it was to go.
    Converged,
}

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How that showed.
    pub text: String,
}

/// What is known of a host so far.
#[derive(Debug)]
pub struct Watch<'a> {
    site: &'a Site,
    prepared: &'a Prepared,
    /// First second of the newest leaf so far; absent before the first.
    newest: Option<i64>,
    has_claim: bool,
    /// Records of the audit log so far.
    audited: u64,
    /// What was found.
    pub broken: Vec<Broken>,
}

impl<'a> Watch<'a> {
    /// Begins on a host that is as it was kept.
    #[must_use]
    pub fn begin(site: &'a Site, prepared: &'a Prepared) -> Watch<'a> {
        let mut watch =
            Watch { site, prepared, newest: None, has_claim: false, audited: 0, broken: Vec::new() };
        // Its leaf is made older before it is struck.
        if !matches!(prepared.operation, Operation::Renewal | Operation::RenewalAtStart) {
            watch.certificate();
        }
        watch.has_claim = site.state().join(layout::CLAIM_FILE).exists();
        watch
    }

    /// Adds a promise that was not kept.
    pub fn add(&mut self, promise: Promise, text: impl Into<String>) {
        self.broken.push(Broken { promise, text: text.into() });
    }

    /// What must hold on the disk at any moment. `is_damaged` while files that somebody edited are not restored yet.
    pub fn disk(&mut self, is_damaged: bool) {
        self.certificate();
        self.readable();
        self.renditions(is_damaged);
        self.store();
    }

    fn certificate(&mut self) {
        let found = Leaf::read(&self.site.state()).and_then(|leaf| leaf.map(|leaf| leaf.info()).transpose());
        match (found, self.newest) {
            (Err(error), _) => self.add(Promise::Certificate, host_state::chain(&error)),
            (Ok(None), Some(_)) => self.add(Promise::Certificate, "there is no certificate any more"),
            (Ok(None), None) => {}
            (Ok(Some(info)), newest) => {
                let since = info.not_before.unix_timestamp();
                if newest.is_some_and(|newest| since < newest) {
                    self.add(Promise::Certificate, "the kept certificate is older than one before");
                }
                self.newest = Some(since);
            }
        }
    }

    fn readable(&mut self) {
        let state = self.site.state();
        let checked =
            [layout::CLAIM_FILE, LEAF_FILE, layout::LEASE_FILE, layout::INTENT_FILE, layout::CHILD_FILE];
        for name in checked {
            if let Kept::Unreadable { reason } = read_checked::<serde_json::Value>(&state.join(name)) {
                self.add(Promise::Readable, format!("`{name}`: {reason}"));
            }
        }
        let has_claim = state.join(layout::CLAIM_FILE).exists();
        if self.has_claim && !has_claim {
            self.add(Promise::Readable, "the claim is gone");
        }
        self.has_claim = has_claim;
        match fs::read_to_string(state.join(layout::HOST_SECRET_FILE)) {
            Ok(text) if identity::HostSecret::from_json(&text).is_err() => {
                self.add(Promise::Readable, "the host's keys cannot be read");
            }
            Err(_) if has_claim => self.add(Promise::Readable, "the host's keys are gone"),
            Ok(_) | Err(_) => {}
        }
        // A last line that is cut short is what a crash leaves; everything before it is whole, in its order.
        match scan(&state.join(layout::AUDIT), |_, _| {}) {
            Ok(log) => {
                for damage in log.damages {
                    self.add(Promise::Readable, format!("the audit log: {damage}"));
                }
                let seq = log.head.map_or(0, |head| head.seq);
                if seq < self.audited {
                    let before = self.audited;
                    self.add(Promise::Readable, format!("the audit log has {seq} records, it had {before}"));
                }
                self.audited = seq;
            }
            Err(error) => self.add(Promise::Readable, host_state::chain(&error)),
        }
        let ledger = state.join(layout::LEDGER);
        if ledger.is_dir() {
            match Ledger::open(ledger, Effects::default()).map(|ledger| ledger.read()) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => self.add(Promise::Readable, error.to_string()),
                Err(error) => self.add(Promise::Readable, error.to_string()),
            }
        }
    }

    fn renditions(&mut self, is_damaged: bool) {
        let state = self.site.state();
        if !state.join(layout::RENDITIONS).is_dir() {
            return;
        }
        let found = Renditions::open(state.clone(), Effects::default());
        let current = found.and_then(|renditions| Ok((renditions.current()?, renditions)));
        let (current, renditions) = match current {
            Ok(found) => found,
            Err(error) => return self.add(Promise::Whole, error.to_string()),
        };
        let mut kept: Vec<u64> = fs::read_dir(state.join(layout::RENDITIONS))
            .into_iter()
            .flatten()
            .filter_map(|entry| layout::rendition_number(entry.ok()?.file_name().to_str()?))
            .collect();
        kept.sort_unstable();
        if current.is_some_and(|current| !kept.contains(&current)) {
            self.add(Promise::Whole, format!("`current` is rendition {current:?}, which is not there"));
        }
        for number in kept {
            let may_differ = is_damaged && Some(number) == current;
            if !may_differ && !is_whole(&renditions, number) {
                self.add(Promise::Whole, format!("rendition {number} is not whole"));
            }
        }
    }

    fn store(&mut self) {
        let kept = self.site.root.join(Prepared::kept(self.prepared.operation)).join("store");
        for path in files_below(&kept) {
            let Ok(name) = path.strip_prefix(&kept) else { continue };
            if name == Path::new(layout::STORE_IDENTITY_FILE) {
                continue;
            }
            if fs::read(self.site.store().join(name)).ok() != fs::read(&path).ok() {
                self.add(Promise::Store, format!("`{}` in the store was touched", name.display()));
            }
        }
    }

    /// What must hold once an agent has started again and before anybody asks anything of it.
    pub fn restarted(&mut self, life: &Life) {
        self.disk(false);
        self.running(life);
        if self.site.state().join(layout::INTENT_FILE).exists() {
            self.add(Promise::Converged, "a restart leaves the change that was interrupted");
        }
    }

    /// What must hold of the process, when nothing is going on.
    fn running(&mut self, life: &Life) {
        self.alone();
        let report = match life.report() {
            Ok(report) => report,
            Err(error) => return self.add(Promise::Converged, format!("{error:#}")),
        };
        if self.prepared.old.is_some() && report.run != RunStatus::Running {
            self.add(Promise::Converged, format!("the server that ran is {:?}", report.run));
        }
        let Some(digest) = report.server.and_then(|server| server.digest) else { return };
        let known = [self.prepared.old.as_deref(), self.prepared.new.as_deref()];
        if !known.contains(&Some(&digest)) {
            self.add(Promise::Whole, format!("it runs `{digest}`, which is neither old nor new"));
        }
        let current = Renditions::open(self.site.state(), Effects::default()).ok().and_then(|renditions| {
            let number = renditions.current().ok()??;
            Some(render(&renditions.model(number).ok()?).digest.to_string())
        });
        if current.as_ref() != Some(&digest) {
            self.add(Promise::Whole, format!("it runs `{digest}` and `current` is `{current:?}`"));
        }
    }

    fn alone(&mut self) {
        match self.site.processes() {
            Ok((servers, below)) if servers.len() <= 1 && below.is_empty() => {}
            Ok((servers, below)) => {
                self.add(Promise::Alone, format!("{} servers and {} of trials", servers.len(), below.len()));
            }
            Err(error) => self.add(Promise::Alone, format!("{error:#}")),
        }
    }

    /// Applies once more and looks whether everything is there.
    pub fn converge(&mut self, life: &Life) {
        let nothing_new = [Ask::Roll(Vec::new())];
        let asks = &self.prepared.asks;
        let asks = if asks.is_empty() { &nothing_new[..] } else { asks };
        let asked = asks.iter().map(|ask| match ask {
            // A writer that asks finds its held section taken in.
            Ask::Stage(_) if life.sections().is_ok_and(|sections| !sections.is_empty()) => Ok(None),
            Ask::Sweep => life.ask(&Ask::Roll(Vec::new())),
            ask => life.ask(ask),
        });
        let asked: Result<Vec<_>, _> = asked.collect();
        let outcome = match asked {
            Ok(outcomes) => outcomes.into_iter().flatten().next_back(),
            Err(error) => return self.add(Promise::Converged, format!("one more apply: {error:#}")),
        };
        if outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Confirmed) {
            return self.add(Promise::Converged, format!("one more apply: {outcome:?}"));
        }
        self.disk(false);
        self.running(life);
        self.arrived(life);
    }

    /// What must hold once the host is where it was to go.
    pub fn arrived(&mut self, life: &Life) {
        let state = self.site.state();
        if state.join(layout::INTENT_FILE).exists() {
            self.add(Promise::Converged, "a change that has ended is still marked as under way");
        }
        let report = match life.report() {
            Ok(report) => report,
            Err(error) => return self.add(Promise::Converged, format!("{error:#}")),
        };
        if !report.drift.is_empty() {
            self.add(Promise::Converged, format!("drift is left: {:?}", report.drift));
        }
        for (kind, section) in &report.sections {
            if section.confirmed != Some(section.generation) {
                self.add(Promise::Converged, format!("section {kind} is not confirmed"));
            }
        }
        if report.server.and_then(|server| server.digest) != self.prepared.new {
            self.add(Promise::Converged, "the new configuration does not run");
        }
        if self.prepared.new.is_none() {
            return;
        }
        let Ok(Some(leaf)) = Leaf::read(&state) else {
            return self.add(Promise::Certificate, "there is no certificate");
        };
        if fs::read_to_string(state.join(layout::CERT_PATH)).ok() != Some(leaf.chain()) {
            self.add(Promise::Certificate, "the current rendition has another certificate than the newest");
        }
        match life.served_leaf() {
            Ok(served) if served == leaf.fingerprint() => {}
            Ok(_) => self.add(Promise::Certificate, "the server serves another certificate than the newest"),
            Err(error) => self.add(Promise::Converged, format!("{error:#}")),
        }
    }
}

/// Whether a rendition is what its manifest says, and its text what its model says.
fn is_whole(renditions: &Renditions, number: u64) -> bool {
    let text = renditions.intact_file(number, layout::CONFIG_FILE).ok().flatten();
    let text = text.and_then(|bytes| digest_of_text(std::str::from_utf8(&bytes).ok()?).ok());
    let model = renditions.model(number).ok().map(|model| render(&model).digest);
    renditions.is_intact(number) && text.is_some() && text == model
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}
