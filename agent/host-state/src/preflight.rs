//! Whether a host is fit to keep JetStream data: facts that somebody saw, against what is wanted, as checks.
//!
//! Every check is always there. What could not be looked at says so and never passes. Whether a check that is not
//! met warns or refuses is fixed by its rule and by the profile: `production` refuses what loses data or acknowledgements,
//! `development` refuses nothing.

mod facts;
mod latency;
mod machine;
mod store;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Most client connections of nats-server where its configuration does not say.
/// Source: nats-server 2.15.1 server/const.go (`DEFAULT_MAX_CONNECTIONS`).
pub const DEFAULT_CONNECTIONS: u64 = 64 * 1024;

pub use facts::{
    BlockDevice, Facts, MachineFacts, OpenFiles, Owner, PortRange, Probe, Seen, StoreFacts, Wanted,
};
pub use latency::Latency;
pub use store::{BALLAST_SHARE, MAX_BALLAST, ballast_size, reserve};

use crate::document::Profile;

/// What was found, in the order in which it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preflight {
    /// The store directory that was looked at, absolute.
    pub directory: String,
    /// Which rules held.
    pub profile: Profile,
    /// Every check.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What it is about, like `fsync_latency`.
    pub name: String,
    /// What was found; begins with `unknown` where it could not be looked at.
    pub value: String,
    /// What passes.
    pub threshold: String,
    /// Whether it passes.
    pub verdict: Verdict,
    /// What to do; absent when it passes.
    pub remedy: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Works, with a risk or a cost; or could not be looked at.
    Warn,
    /// No server is put on this host.
    Refuse,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Refuse => "refuse",
        })
    }
}

/// How the value of a check begins that could not be looked at.
const UNKNOWN: &str = "unknown";

impl Check {
    /// Whether it could not be looked at.
    pub fn is_unknown(&self) -> bool {
        self.value.starts_with(UNKNOWN)
    }
}

impl std::fmt::Display for Check {
    /// For the one line of an error: value, threshold and what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Check { name, value, threshold, verdict: _, remedy } = self;
        write!(f, "`{name}` is {value}, allowed is {threshold}")?;
        remedy.as_ref().map_or(Ok(()), |remedy| write!(f, ": {remedy}"))
    }
}

impl Preflight {
    /// The checks that keep a server off this host.
    pub fn refusals(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.verdict == Verdict::Refuse)
    }

    /// The worst verdict; a pass when nothing speaks against the host.
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pass)
    }

    /// Why nothing is put on this host, one line for people; absent when nothing is refused.
    pub fn refusal(&self) -> Option<String> {
        let refused: Vec<String> = self.refusals().map(ToString::to_string).collect();
        (!refused.is_empty()).then(|| format!("this host is not fit for production: {}", refused.join("; ")))
    }
}

/// Every check of `facts` against `wanted`, always the same ones in the same order.
pub fn preflight(wanted: &Wanted, facts: &Facts) -> Preflight {
    let Facts { store, machine } = facts;
    let mut checks = store::checks(wanted, store);
    checks.extend(machine::checks(wanted, machine));
    if wanted.profile == Profile::Development {
        for check in &mut checks {
            check.verdict = check.verdict.min(Verdict::Warn);
        }
    }
    Preflight { directory: store.directory.clone(), profile: wanted.profile, checks }
}

/// What a check's rule says of a value that is known.
struct Found {
    value: String,
    verdict: Verdict,
    remedy: Option<String>,
}

impl Found {
    fn pass(value: impl Into<String>) -> Found {
        Found { value: value.into(), verdict: Verdict::Pass, remedy: None }
    }

    fn warn(value: impl Into<String>, remedy: impl Into<String>) -> Found {
        Found { value: value.into(), verdict: Verdict::Warn, remedy: Some(remedy.into()) }
    }

    fn refuse(value: impl Into<String>, remedy: impl Into<String>) -> Found {
        Found { value: value.into(), verdict: Verdict::Refuse, remedy: Some(remedy.into()) }
    }

    /// What could not be looked at.
    fn unknown(reason: &str) -> Found {
        Found::warn(format!("{UNKNOWN}: {reason}"), "remove the reason, or look at it by hand as root")
    }

    fn check(self, name: &str, threshold: impl Into<String>) -> Check {
        let Found { value, verdict, remedy } = self;
        Check { name: name.to_owned(), value, threshold: threshold.into(), verdict, remedy }
    }
}

/// What a rule finds in a value that may not have been seen.
fn found<T>(seen: &Seen<T>, rule: impl FnOnce(&T) -> Found) -> Found {
    match seen {
        Ok(value) => rule(value),
        Err(reason) => Found::unknown(reason),
    }
}

/// Bytes for people: the largest unit with at most one decimal, rounded down.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((unit, name)) => match (bytes / unit, bytes % unit * 10 / unit) {
            (whole, 0) => format!("{whole} {name}"),
            (whole, tenth) => format!("{whole}.{tenth} {name}"),
        },
    }
}
