//! Every rule that a configuration must keep, also those that `nats-server -t` does not know: what the server
//! accepts and then refuses to start with, or runs with and silently does something else.
//!
//! Must name all problems at once, and must not look at the host: files, mounts and certificates are checked by
//! whoever can see them.

mod extra;
mod listeners;
mod paths;
mod storage;
mod trust;

pub use extra::{owned_settings, refused_settings};

use crate::{LameDuck, Logging, NatsDuration, Problem, ServerConfig, ServerLimits, difference::shortened};

/// Shortest lame duck. Source: nats-server 2.15.1 server/opts.go (`lame_duck_duration`, minimum 30 s).
const LAME_DUCK_MIN: NatsDuration = NatsDuration::from_secs(30);
/// Largest message when none is given, in bytes. Source: nats-server 2.15.1 server/const.go.
const MAX_PAYLOAD_DEFAULT: u64 = 1024 * 1024;
/// Bytes buffered for one client when none are given. Source: nats-server 2.15.1 server/const.go.
const MAX_PENDING_DEFAULT: u64 = 64 * 1024 * 1024;

/// Collects problems; every rule of this module speaks through it.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, found: impl ToString, problem: &str, remedy: &str) {
        self.0.push(Problem {
            path: path.to_owned(),
            found: shortened(&found.to_string()),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn absent(&mut self, path: &str, problem: &str, remedy: &str) {
        self.add(path, "(absent)", problem, remedy);
    }

    /// A count that the server keeps in a signed number of `bits` and that zero would turn into its default.
    fn count(&mut self, path: &str, found: Option<u64>, most: u64) {
        if let Some(found) = found.filter(|found| *found == 0 || *found > most) {
            let remedy = format!("give 1 to {most}, or leave it out for the server's default");
            self.add(path, found, "is outside what nats-server can hold, and 0 means its default", &remedy);
        }
    }

    fn positive(&mut self, path: &str, found: Option<NatsDuration>) {
        if let Some(found) = found.filter(|found| *found == NatsDuration::from_secs(0)) {
            self.add(path, found, "no time at all", "give more than `0s`");
        }
    }
}

impl ServerConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// All rules that are broken, in the order of the model; never an empty list.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Problems::default();
        listeners::check(self, &mut problems);
        storage::check(self, &mut problems);
        if let Some(trust) = &self.trust {
            trust::check(trust, &mut problems);
        }
        check_limits(&self.limits, &mut problems);
        check_logging(&self.logging, &mut problems);
        check_tags(self, &mut problems);
        check_lame_duck(&self.lame_duck, &mut problems);
        if let Some(file) = &self.pid_file {
            paths::check_either("pid_file", file, &mut problems);
        }
        paths::check_distinct(self, &mut problems);
        extra::check(self, &mut problems);
        if problems.0.is_empty() { Ok(()) } else { Err(problems.0) }
    }
}

fn check_limits(limits: &ServerLimits, problems: &mut Problems) {
    let ServerLimits {
        max_payload,
        max_connections,
        max_pending,
        max_control_line,
        max_subscriptions,
        ping_interval,
        ping_max,
        write_deadline,
    } = limits;
    let int32 = i32::MAX.unsigned_abs().into();
    let int64 = i64::MAX.unsigned_abs();
    problems.count("limits.max_payload", max_payload.map(u64::from), int32);
    problems.count("limits.max_connections", *max_connections, int64);
    problems.count("limits.max_pending", max_pending.map(u64::from), int64);
    problems.count("limits.max_control_line", max_control_line.map(u64::from), int32);
    problems.count("limits.max_subscriptions", *max_subscriptions, int64);
    problems.positive("limits.ping_interval", *ping_interval);
    problems.count("limits.ping_max", *ping_max, int64);
    problems.positive("limits.write_deadline", *write_deadline);
    let payload = max_payload.map_or(MAX_PAYLOAD_DEFAULT, u64::from);
    let pending = max_pending.map_or(MAX_PENDING_DEFAULT, u64::from);
    // Source: nats-server 2.15.1 server/server.go (`validateOptions`); `-t` passes it.
    if payload > pending {
        let problem = format!("is more than `limits.max_pending`, {pending}, and the server would not start");
        let remedy = format!("give at most {pending}, or raise `limits.max_pending`");
        problems.add("limits.max_payload", payload, &problem, &remedy);
    }
}

fn check_logging(logging: &Logging, problems: &mut Problems) {
    let Logging { debug: _, trace: _, utc: _, log_file, rotate_at, rotated_files } = logging;
    if let Some(file) = log_file {
        paths::check_either("logging.log_file", file, problems);
    }
    let int64 = i64::MAX.unsigned_abs();
    problems.count("logging.rotate_at", rotate_at.map(u64::from), int64);
    problems.count("logging.rotated_files", *rotated_files, int64);
    if let (Some(size), None) = (rotate_at, log_file) {
        let remedy = "give `logging.log_file`, or leave it out";
        problems.add("logging.rotate_at", size, "there is no log file to rotate", remedy);
    }
    if let (Some(count), None) = (rotated_files, rotate_at) {
        let remedy = "give `logging.rotate_at`, or leave it out";
        problems.add("logging.rotated_files", count, "log files are never rotated", remedy);
    }
}

fn check_tags(config: &ServerConfig, problems: &mut Problems) {
    for tag in &config.tags {
        let bad = |character: char| character.is_whitespace() || character.is_control() || character == ',';
        if tag.is_empty() || tag.contains(bad) {
            let problem = "is no tag: a tag has no spaces, commas or control characters and is not empty";
            problems.add("tags", format!("{tag:?}"), problem, "write tags like `az:a`");
        }
    }
}

fn check_lame_duck(lame_duck: &LameDuck, problems: &mut Problems) {
    let LameDuck { duration, grace_period } = lame_duck;
    if *duration < LAME_DUCK_MIN {
        problems.add(
            "lame_duck.duration",
            duration,
            "is shorter than the server allows",
            &format!("give at least `{LAME_DUCK_MIN}`"),
        );
    }
    // Source: nats-server 2.15.1 server/server.go (`validateOptions`); `-t` passes it.
    if grace_period >= duration {
        let remedy = "give less than `lame_duck.duration`";
        let problem = "is not shorter than `lame_duck.duration`, and the server would not start";
        problems.add("lame_duck.grace_period", grace_period, problem, remedy);
    }
}
