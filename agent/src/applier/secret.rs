//! The keys that this host makes at its first start and keeps for ever.

use std::path::{Path, PathBuf};

use host_state::layout;
use identity::{HostSecret, HostSecretError, HostSeeds, MAX_HOST_SECRET_LEN};
use zeroize::Zeroizing;

use super::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};

/// Why the host's keys are not there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Reading or writing the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds no keys.
    #[error("`{path}` cannot be used")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: HostSecretError,
    },
    /// It is gone, and something else says that it was there.
    #[error(
        "`{path}` is missing although this host is claimed; put it back, or remove the state directory to start anew"
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Reads the host's keys, or makes them when there are none and the host is not claimed yet.
///
/// Afterwards they are durable, in a file that only the agent's user reads. May be repeated. A crash half-way leaves
/// none, and nothing was told of those that were made.
///
/// # Errors
/// [`SecretError`]; keys that are there and unreadable are never replaced.
pub(super) fn read_or_make(effects: &Effects, state_dir: &Path) -> Result<HostSecret, SecretError> {
    let path = state_dir.join(layout::HOST_SECRET_FILE);
    let unreadable = |source| SecretError::Unreadable { path: path.clone(), source };
    if let Some(bytes) = files::read_bounded(&path, MAX_HOST_SECRET_LEN as u64)?.map(Zeroizing::new) {
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable(HostSecretError::Json))?;
        return HostSecret::from_json(text).map_err(unreadable);
    }
    if state_dir.join(layout::CLAIM_FILE).exists() {
        return Err(SecretError::Lost { path });
    }
    let seeds =
        HostSeeds { issuer: random()?, leaf: random()?, system_user: random()?, probe_user: random()? };
    let secret = HostSecret::from_seeds(&seeds);
    let text = secret.to_json();
    files::write_atomic(effects, Effect::WriteHostSecret, &path, text.as_bytes(), layout::SECRET_MODE)?;
    Ok(secret)
}

fn random() -> Result<Zeroizing<[u8; 32]>, SecretError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut()).map_err(SecretError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let first = read_or_make(&Effects::default(), directory.path()).unwrap().keys();
        assert_eq!(read_or_make(&Effects::default(), directory.path()).unwrap().keys(), first);
        let path = directory.path().join(layout::HOST_SECRET_FILE);
        assert_eq!(files::mode_of(&path).unwrap(), 0o600);
        std::fs::write(&path, "{}").unwrap();
        assert!(read_or_make(&Effects::default(), directory.path()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(directory.path().join(layout::CLAIM_FILE), "{}").unwrap();
        let error = read_or_make(&Effects::default(), directory.path()).unwrap_err().to_string();
        assert!(error.contains("is missing although this host is claimed"), "{error}");
    }
}
