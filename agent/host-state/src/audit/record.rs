//! What a record of the audit log says: who did what, and how it ended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::document::{ContentHash, SectionKind};

/// Most characters of a text that comes from outside: a reason, a writer's name.
const MAX_TEXT: usize = 1000;

/// One record, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Milliseconds since 1970, by the host's clock.
    pub at_ms: u64,
    /// Who had it done.
    pub who: Who,
    /// What is about to be done, or how something ended.
    pub what: What,
    /// Whether it was written after the change, because the log could not be written before and the change could not
    /// wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// Who had a change done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Who {
    /// The agent by itself.
    Agent {
        /// On which occasion.
        occasion: Occasion,
    },
    /// A caller with a certificate.
    Caller {
        /// Its role, like `operator`.
        role: String,
        /// Serial of its certificate, lower-case hex.
        serial: String,
        /// Who holds the lease of the host or signed what came, by the name it gave itself; empty when nobody did.
        writer: String,
    },
    /// Whoever proved the one-time token of an enrolment.
    Token {
        /// Generation of the enrolment.
        generation: u32,
    },
}

/// When an agent changes something by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It starts, and brings the host to what was confirmed.
    Start,
    /// It looks at the host, once a minute and when its server ends.
    Sweep,
    /// A certificate is due.
    Renewal,
    /// A change did not pass, or was interrupted.
    Rollback,
    /// Another agent had newer claims.
    Peers,
    /// It was told to stop.
    Stop,
    /// The firewall table was taken away, a trial of its rules is over, or its replacement stopped half-way.
    Firewall,
}

/// What is about to be done. A text is for people; what decides has a field of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The agent has started. Not a change; it parts what one life of the agent wrote from the next.
    Started {
        /// The agent's version.
        version: String,
    },
    /// The host is claimed: claim, certificate and burnt token are written.
    Claimed {
        /// Host name.
        host: String,
        /// Operator public key of the authority.
        authority: String,
        /// Generation of the enrolment.
        generation: u32,
        /// The claim's id.
        claim_id: String,
    },
    /// A section is taken into the ledger.
    Section {
        /// Its kind.
        section: SectionKind,
        /// Its generation.
        generation: u64,
        /// Its content hash.
        content: ContentHash,
        /// Who signed it, by the name it gave itself.
        writer: String,
    },
    /// Sections are marked as what runs and is gone back to.
    Confirmed {
        /// Kind and content hash of each.
        sections: Vec<(SectionKind, ContentHash)>,
    },
    /// A nats-server binary is installed.
    Binary {
        /// Its version.
        version: String,
        /// SHA-256 as the document names it; absent where it names none.
        sha256: Option<String>,
    },
    /// A rendition that passed its checks is kept; nothing runs on it yet.
    Rendition {
        /// Its number.
        rendition: u64,
    },
    /// A certificate is written and served.
    Certificate {
        /// SHA-256 of the leaf, 64 lower-case hex digits.
        leaf: String,
    },
    /// A change of the host begins; its steps follow, each with a record of its own.
    Change {
        /// What it is to bring.
        goal: Goal,
        /// Its steps, by name, in order.
        steps: Vec<String>,
    },
    /// One step of a change.
    Step {
        /// Its name, as in a plan.
        step: String,
        /// The rendition that it switches to; absent where it switches to none.
        rendition: Option<u64>,
    },
    /// The host goes back to what was confirmed.
    Rollback {
        /// The step that failed; absent when a crash interrupted the change.
        step: Option<String>,
        /// The rendition that was confirmed; absent when none was.
        rendition: Option<u64>,
    },
    /// The firewall's rules are replaced.
    Firewall {
        /// What they are to be, in one line.
        rules: String,
    },
    /// Account JWTs are pushed to the server.
    Claims {
        /// Public keys of the accounts.
        accounts: BTreeSet<String>,
    },
    /// The meta group has a leader, so this host is released into no other one.
    Formed {
        /// The meta group.
        lineage: String,
    },
    /// A change that belongs to no other record, by the name of its effect.
    Effect {
        /// Like `write-enrollment`.
        effect: String,
    },
    /// How a change ended that an earlier record announced.
    Outcome {
        /// Number of that record.
        of: u64,
        /// How.
        ended: Ended,
    },
    /// The last line was cut in its middle when the agent started, as a power cut leaves it; it was taken away.
    Torn {
        /// How many bytes.
        bytes: u64,
    },
    /// The log could not be written for a while, and changes were frozen.
    Frozen {
        /// Why.
        reason: String,
    },
    /// The log was found damaged. The chain goes on in a new file from what the agent knew last.
    Damaged {
        /// File with the first bad line, like `000001.jsonl`.
        file: String,
        /// The bad line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a change is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The newest sections.
    Roll,
    /// What was confirmed.
    Repair,
}

/// How an announced change ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ended {
    /// It was done.
    Done,
    /// It was not, or not wholly.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was done and taken back.
    RolledBack {
        /// The step that failed.
        step: String,
        /// Why.
        reason: String,
    },
}

/// At most a thousand characters of a text that comes from outside, so that a record stays one short line.
#[must_use]
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Agent { occasion } => write!(f, "agent ({occasion})"),
            Who::Caller { role, serial, writer } if writer.is_empty() => write!(f, "{role} {serial}"),
            Who::Caller { role, serial, writer } => write!(f, "{role} {serial} ({writer})"),
            Who::Token { generation } => write!(f, "token of enrolment {generation}"),
        }
    }
}

impl std::fmt::Display for Occasion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Occasion::Start => "start",
            Occasion::Sweep => "sweep",
            Occasion::Renewal => "renewal",
            Occasion::Rollback => "rollback",
            Occasion::Peers => "peers",
            Occasion::Stop => "stop",
            Occasion::Firewall => "firewall",
        })
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Started { version } => write!(f, "agent {version} started"),
            What::Claimed { host, authority, generation, claim_id } => write!(
                f,
                "claim host `{host}` for authority {authority}, enrolment {generation}, claim {claim_id}"
            ),
            What::Section { section, generation, content, writer } => {
                write!(f, "take in `{section}` {generation} of {writer}, content {content}")
            }
            What::Confirmed { sections } => {
                f.write_str("confirm")?;
                sections.iter().try_for_each(|(section, content)| write!(f, " `{section}` {content}"))
            }
            What::Binary { version, sha256: Some(sha256) } => {
                write!(f, "install nats-server {version} ({sha256})")
            }
            What::Binary { version, sha256: None } => write!(f, "install nats-server {version}"),
            What::Rendition { rendition } => write!(f, "keep rendition {rendition}"),
            What::Certificate { leaf } => write!(f, "bring in certificate {leaf}"),
            What::Change { goal: Goal::Roll, steps } => write!(f, "roll: {}", steps.join(", ")),
            What::Change { goal: Goal::Repair, steps } => write!(f, "repair: {}", steps.join(", ")),
            What::Step { step, rendition: Some(rendition) } => write!(f, "{step}, rendition {rendition}"),
            What::Step { step, rendition: None } => f.write_str(step),
            What::Rollback { step, rendition } => {
                f.write_str("go back to ")?;
                match rendition {
                    Some(rendition) => write!(f, "rendition {rendition}")?,
                    None => f.write_str("no rendition")?,
                }
                match step {
                    Some(step) => write!(f, " after `{step}`"),
                    None => f.write_str(" after an interrupted change"),
                }
            }
            What::Firewall { rules } => write!(f, "replace the firewall's rules: {rules}"),
            What::Claims { accounts } => {
                write!(f, "push {} accounts:", accounts.len())?;
                accounts.iter().try_for_each(|account| write!(f, " {account}"))
            }
            What::Formed { lineage } => write!(f, "remember that meta group {lineage} has formed"),
            What::Effect { effect } => f.write_str(effect),
            What::Outcome { of, ended: Ended::Done } => write!(f, "{of} is done"),
            What::Outcome { of, ended: Ended::Failed { reason } } => write!(f, "{of} failed: {reason}"),
            What::Outcome { of, ended: Ended::RolledBack { step, reason } } => {
                write!(f, "{of} is rolled back, `{step}` failed: {reason}")
            }
            What::Torn { bytes } => {
                write!(f, "a line that a crash had cut short ({bytes} bytes) was taken away")
            }
            What::Frozen { reason } => write!(f, "changes were frozen: {reason}"),
            What::Damaged { file, line, problem } => write!(f, "damage at `{file}` line {line}: {problem}"),
        }
    }
}
