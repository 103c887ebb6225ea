//! Ids that nobody can guess and that no two things share.

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandomBytes(getrandom::Error);

/// 32 lower-case hex digits of the system's randomness.
///
/// # Errors
/// [`NoRandomBytes`].
pub(crate) fn random_id() -> Result<String, NoRandomBytes> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(NoRandomBytes)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
