//! What the applier asks of the trial unit, and what that answers, as two small files.
//!
//! The answer is written by the user that nats-server runs as, so it is bounded and believed in nothing but its words.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Largest request or answer that is read, in bytes.
pub const LIMIT: u64 = 64 * 1024;
/// Longest text of an answer that is passed on, in characters.
const SHOWN_MAX: usize = 1000;

/// One trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Names this trial; its answer repeats it. 32 lower-case hex digits.
    pub nonce: String,
    /// The nats-server to try, absolute.
    pub binary: PathBuf,
    /// What to do with it.
    pub task: Task,
}

/// See [`Request::task`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Ask it for its version.
    Version,
    /// Check a rendition with it, then boot it.
    Trial {
        /// Directory of the rendition, absolute.
        candidate: PathBuf,
        /// The digest as we computed it.
        digest: String,
    },
}

/// What became of one trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// See [`Request::nonce`].
    pub nonce: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// See [`Answer::outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// What `--version` says, without `v`.
    Version {
        /// Like `2.15.1`.
        version: String,
    },
    /// Both rungs were passed.
    Passed,
    /// `nats-server -t` did not pass in time.
    CheckDeadline,
    /// `nats-server -t` refuses.
    CheckRefused {
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// `nats-server -t` reads something else.
    CheckDigest {
        /// What it printed.
        found: String,
    },
    /// The trial boot ended.
    BootEnded {
        /// How.
        status: String,
        /// What it said last.
        complaint: String,
    },
    /// The trial boot did not listen in time.
    BootDeadline {
        /// What it said last.
        complaint: String,
    },
    /// The trial itself failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no answer.
    #[error("the answer of the trial cannot be read: {0}")]
    Form(String),
    /// It answers an earlier trial.
    #[error("the answer is of another trial")]
    Other,
}

/// The answer to the trial `nonce`, with every text shortened and on one line.
///
/// # Errors
/// [`AnswerError`].
pub fn parse_answer(bytes: &[u8], nonce: &str) -> Result<Outcome, AnswerError> {
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|error| AnswerError::Form(shown(error.to_string())))?;
    let Answer { nonce: found, outcome } = answer;
    if found != nonce {
        return Err(AnswerError::Other);
    }
    Ok(match outcome {
        Outcome::Version { version } => Outcome::Version { version: shown(version) },
        Outcome::Passed => Outcome::Passed,
        Outcome::CheckDeadline => Outcome::CheckDeadline,
        Outcome::CheckRefused { status, output } => {
            Outcome::CheckRefused { status: shown(status), output: shown(output) }
        }
        Outcome::CheckDigest { found } => Outcome::CheckDigest { found: shown(found) },
        Outcome::BootEnded { status, complaint } => {
            Outcome::BootEnded { status: shown(status), complaint: shown(complaint) }
        }
        Outcome::BootDeadline { complaint } => Outcome::BootDeadline { complaint: shown(complaint) },
        Outcome::Failed { reason } => Outcome::Failed { reason: shown(reason) },
    })
}

fn shown(text: String) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_of_its_own_trial_and_on_one_line() {
        let answer = |nonce: &str| {
            let outcome = Outcome::Failed { reason: format!("a\nb\u{1b}[2J{}", "c".repeat(5000)) };
            serde_json::to_vec(&Answer { nonce: nonce.to_owned(), outcome }).unwrap()
        };
        assert_eq!(parse_answer(&answer("old"), "new"), Err(AnswerError::Other));
        let Ok(Outcome::Failed { reason }) = parse_answer(&answer("new"), "new") else { panic!("it is one") };
        assert!(reason.starts_with("a b [2Jcc") && reason.chars().count() == SHOWN_MAX, "{reason}");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse_answer(&bytes, "n").is_err());
        }

        #[test]
        fn nearly_an_answer_neither(text in r#"\{"nonce":"n","outcome":(\{"(failed|boot_ended|passed)":\{("(reason|status)":".{0,20}",?)*\}\}|"passed")\}"#) {
            if let Ok(outcome) = parse_answer(text.as_bytes(), "n") {
                let written = serde_json::to_vec(&Answer { nonce: "n".to_owned(), outcome: outcome.clone() }).unwrap();
                prop_assert_eq!(parse_answer(&written, "n"), Ok(outcome));
            }
        }
    }
}
