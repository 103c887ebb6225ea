//! The checks that a candidate passes before anything is switched, cheapest first.
//!
//! Our own rules, then `nats-server -t` over the very bytes with the digest as we computed it, then a trial boot.

use std::path::{Path, PathBuf};

use host_state::layout;
use nats_config::{Problem, ServerConfig, render};

use crate::parts::effects::Effects;
use crate::parts::nats::check::{self, CheckError};
use crate::shadow::unit::{TrialError, TrialUnit};
use crate::shadow::{self, ShadowError};

/// Why a candidate was refused. Nothing was switched.
#[derive(Debug, thiserror::Error)]
pub(super) enum LadderError {
    /// Our own rules, all that are broken.
    #[error("the configuration breaks rules: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules {
        /// All of them.
        problems: Vec<Problem>,
    },
    /// The server's parser.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The unit that tries both.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The server's start.
    #[error(transparent)]
    Shadow(#[from] ShadowError),
}

/// Checks our own rules; needs no file and no process.
///
/// # Errors
/// All rules that are broken.
pub(super) fn check_rules(config: &ServerConfig) -> Result<(), LadderError> {
    config.validate().map_err(|problems| LadderError::Rules { problems })
}

/// Sends the rendition in `directory`, made from `config`, up the ladder with the server `binary`: here, or in the unit
/// `trial`.
///
/// Changes nothing that lasts. May be repeated.
///
/// # Errors
/// The first rung that it fails.
pub(super) async fn climb(
    effects: &Effects,
    state_dir: &Path,
    binary: &Path,
    config: &ServerConfig,
    directory: &Path,
    trial: Option<&TrialUnit>,
) -> Result<(), LadderError> {
    check_rules(config)?;
    let digest = render(config).digest;
    if let Some(trial) = trial {
        return Ok(trial.attempt(binary, directory, &digest).await?);
    }
    check::check(effects, binary, directory, &state_dir.join(layout::TRIAL), &digest).await?;
    let scratch: PathBuf = state_dir.join(layout::SHADOW);
    Ok(shadow::boot(effects, binary, config, directory, &scratch).await?)
}
