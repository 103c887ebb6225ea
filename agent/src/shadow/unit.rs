//! The applier's side of the trial unit: writes the request, starts the unit, reads the answer. One trial at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_state::document::canonical;
use host_state::layout;
use nats_config::ConfigDigest;
use tokio::sync::Mutex;

use super::ShadowError;
use super::request::{AnswerError, LIMIT, Outcome, Request, Task, parse_answer};
use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects, Moment};
use crate::parts::nats::check::CheckError;
use crate::parts::systemd::{Systemd, Unit, UnitError, Verb};
use crate::random_id::random_id;

/// How long a trial may take: the unit itself has 60 s.
const DEADLINE: Duration = Duration::from_secs(75);
/// How long a trial that a crash left may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Why there was no trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The request or the answer.
    #[error(transparent)]
    File(#[from] FileError),
    /// The unit.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// There is none.
    #[error("`{unit}` ended without an answer", unit = Unit::Shadow)]
    Silent,
    /// It was not tried.
    #[error("the trial failed: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// The parser's rung.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The boot's rung.
    #[error(transparent)]
    Boot(#[from] ShadowError),
    /// An injected fault, or the system gives no random bytes.
    #[error("cannot start a trial")]
    Start(#[source] std::io::Error),
}

/// The trial unit of this host.
pub struct TrialUnit {
    systemd: Arc<dyn Systemd>,
    state_dir: PathBuf,
    effects: Effects,
    turn: Mutex<()>,
}

impl std::fmt::Debug for TrialUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrialUnit").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

impl TrialUnit {
    /// The unit, with requests and answers in `state_dir`.
    #[must_use]
    pub fn new(systemd: Arc<dyn Systemd>, state_dir: PathBuf, effects: Effects) -> TrialUnit {
        TrialUnit { systemd, state_dir, effects, turn: Mutex::new(()) }
    }

    /// What `binary --version` says, like `2.15.1`.
    ///
    /// # Errors
    /// [`TrialError`].
    pub async fn version(&self, binary: &Path) -> Result<String, TrialError> {
        match self.ask(binary, Task::Version).await? {
            Outcome::Version { version } => Ok(version),
            Outcome::Failed { reason } => Err(TrialError::Failed { reason }),
            _ => Err(TrialError::Silent),
        }
    }

    /// Sends the rendition in `candidate` through both rungs. Changes nothing that lasts; may be repeated.
    ///
    /// # Errors
    /// The rung that it fails, as when it is climbed here; else why it was not tried.
    pub async fn attempt(
        &self,
        binary: &Path,
        candidate: &Path,
        digest: &ConfigDigest,
    ) -> Result<(), TrialError> {
        let task = Task::Trial { candidate: candidate.to_owned(), digest: digest.to_string() };
        match self.ask(binary, task).await? {
            Outcome::Passed => Ok(()),
            Outcome::CheckDeadline => Err(CheckError::Deadline { binary: binary.to_owned() }.into()),
            Outcome::CheckRefused { status, output } => Err(CheckError::Refused { status, output }.into()),
            Outcome::CheckDigest { found } => {
                Err(CheckError::Digest { wanted: digest.clone(), found }.into())
            }
            Outcome::BootEnded { status, complaint } => Err(ShadowError::Ended { status, complaint }.into()),
            Outcome::BootDeadline { complaint } => Err(ShadowError::Deadline { complaint }.into()),
            Outcome::Failed { reason } => Err(TrialError::Failed { reason }),
            Outcome::Version { .. } => Err(TrialError::Silent),
        }
    }

    async fn ask(&self, binary: &Path, task: Task) -> Result<Outcome, TrialError> {
        let _turn = self.turn.lock().await;
        if self.systemd.main_pid(Unit::Shadow).await?.is_some() {
            tracing::warn!("a trial that an earlier agent started is ended");
            self.systemd.run(Unit::Shadow, Verb::Stop, STOP_DEADLINE).await?;
        }
        let nonce = random_id().map_err(|error| TrialError::Start(std::io::Error::other(error)))?;
        let request = Request { nonce: nonce.clone(), binary: binary.to_owned(), task };
        let path = self.state_dir.join(layout::SHADOW_REQUEST);
        let text = canonical(&request);
        let (effect, mode) = (Effect::WriteTrialRequest, layout::SHARED_SECRET_MODE);
        files::write_atomic(&self.effects, effect, &path, text.as_bytes(), mode)?;
        self.effects.reach(Effect::RunTrial, Moment::Before).map_err(TrialError::Start)?;
        self.systemd.run(Unit::Shadow, Verb::Start, DEADLINE).await?;
        self.effects.reach(Effect::RunTrial, Moment::After).map_err(TrialError::Start)?;
        let answer = files::read_untrusted(&self.state_dir.join(layout::SHADOW_ANSWER), LIMIT)?;
        Ok(parse_answer(&answer.ok_or(TrialError::Silent)?, &nonce)?)
    }
}
