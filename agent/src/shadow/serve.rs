//! The trial unit's side: reads the request, tries, writes the answer. Runs as nats-server's user, in a network of its own.

use std::path::{Path, PathBuf};

use host_state::document::canonical;
use host_state::layout;
use nats_config::{ConfigDigest, ServerConfig};

use super::request::{Answer, LIMIT, Outcome, Request, Task};
use super::{ShadowError, boot};
use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};
use crate::parts::nats::binary;
use crate::parts::nats::check::{self, CheckError};

/// Where `nats-server -t` runs, and where the server is booted, below [`layout::SHADOW`].
const CHECK_DIR: &str = "trial";
const BOOT_DIR: &str = "boot";
/// Largest configuration that is read, in bytes.
const MODEL_LIMIT: u64 = 64 * 1024 * 1024;
/// Permission bits of the answer: for the applier, by its group.
const ANSWER_MODE: u32 = layout::SHARED_SECRET_MODE;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The request or the answer.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to do.
    #[error("there is no request `{path}`; the applier starts this unit")]
    NoRequest {
        /// Where it should be.
        path: PathBuf,
    },
    /// It is no request.
    #[error("`{path}` is no request of a trial")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Does the one trial that is asked for in `state_dir` and writes its answer.
///
/// Changes nothing outside [`layout::SHADOW`].
///
/// # Errors
/// [`ServeError`]; a candidate that does not pass is none, it is the answer.
pub async fn serve(state_dir: &Path) -> Result<(), ServeError> {
    let path = state_dir.join(layout::SHADOW_REQUEST);
    let bytes = files::read_bounded(&path, LIMIT)?;
    let bytes = bytes.ok_or_else(|| ServeError::NoRequest { path: path.clone() })?;
    let request: Request =
        serde_json::from_slice(&bytes).map_err(|source| ServeError::Form { path, source })?;
    let Request { nonce, binary, task } = request;
    let scratch = state_dir.join(layout::SHADOW);
    let outcome = match task {
        Task::Version => match binary::version(&binary).await {
            Ok(version) => Outcome::Version { version },
            Err(reason) => Outcome::Failed { reason },
        },
        Task::Trial { candidate, digest } => attempt(&binary, &candidate, &digest, &scratch).await,
    };
    let answer = canonical(&Answer { nonce, outcome });
    let path = state_dir.join(layout::SHADOW_ANSWER);
    Ok(files::write_atomic(&Effects::default(), Effect::WriteTrial, &path, answer.as_bytes(), ANSWER_MODE)?)
}

async fn attempt(binary: &Path, candidate: &Path, digest: &str, scratch: &Path) -> Outcome {
    let failed = |error: &dyn std::error::Error| Outcome::Failed { reason: host_state::chain(error) };
    let digest: ConfigDigest = match digest.parse() {
        Ok(digest) => digest,
        Err(error) => return failed(&error),
    };
    let config: ServerConfig = match files::read_bounded(&candidate.join(layout::MODEL_FILE), MODEL_LIMIT) {
        Err(error) => return failed(&error),
        Ok(bytes) => match serde_json::from_slice(&bytes.unwrap_or_default()) {
            Ok(config) => config,
            Err(error) => return failed(&error),
        },
    };
    let effects = Effects::default();
    match check::check(&effects, binary, candidate, &scratch.join(CHECK_DIR), &digest).await {
        Ok(()) => {}
        Err(CheckError::Deadline { .. }) => return Outcome::CheckDeadline,
        Err(CheckError::Refused { status, output }) => return Outcome::CheckRefused { status, output },
        Err(CheckError::Digest { found, .. }) => return Outcome::CheckDigest { found },
        Err(error @ (CheckError::File(_) | CheckError::Run { .. })) => return failed(&error),
    }
    match boot(&effects, binary, &config, candidate, &scratch.join(BOOT_DIR)).await {
        Ok(()) => Outcome::Passed,
        Err(ShadowError::Ended { status, complaint }) => Outcome::BootEnded { status, complaint },
        Err(ShadowError::Deadline { complaint }) => Outcome::BootDeadline { complaint },
        Err(error @ (ShadowError::File(_) | ShadowError::Run { .. })) => failed(&error),
    }
}
