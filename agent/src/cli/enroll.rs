//! `nats-agent enroll`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use identity::MAX_ENROLLMENT_LEN;
use nats_agent::applier::claim::{self, Offered};
use nats_agent::parts::effects::Effects;
use zeroize::Zeroizing;

use super::output;

/// Open the door of an unclaimed host: give it the enrolment that its authority may claim it with.
///
/// The enrolment is the text of `nats_host_enrollment`. It opens the door for one hour, counted from when the agent
/// sees it; a running agent sees it within a second. Once the host is claimed the token in it is worth nothing, and
/// the same enrolment again does nothing.
///
/// Examples:
///   nats-agent enroll < enrollment.txt
///   nats-agent enroll --state-dir /var/lib/nats-agent --enrollment enrollment.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Enroll {
    /// State directory of the agent. Needs its user, or root.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// File that holds the enrolment; `-` reads standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    enrollment: PathBuf,
}

impl Enroll {
    pub(super) fn run(self) -> Result<u8> {
        let text = read(&self.enrollment)?;
        super::state_dir::check(&self.state_dir)?;
        let said = match claim::offer(&Effects::default(), &self.state_dir, &text)? {
            Offered::Opened(it) => format!(
                "host `{}` may be claimed by authority `{}` (enrolment {}) for one hour",
                it.host, it.authority, it.generation
            ),
            Offered::Claimed(it) => format!(
                "host `{}` was claimed by authority `{}` with this enrolment ({}) before; nothing to do",
                it.host, it.authority, it.generation
            ),
        };
        output::say(&said)?;
        Ok(0)
    }
}

/// The text of an enrolment: of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>> {
    let limit = MAX_ENROLLMENT_LEN as u64 + 1;
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        let shown = path.display();
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot read the enrolment `{shown}`"))?;
        let read = file.take(limit).read_to_string(&mut text);
        read.with_context(|| format!("cannot read the enrolment `{shown}`"))?;
    }
    Ok(text)
}
