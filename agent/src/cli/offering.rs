//! An enrolment that a command line names is put where the agent finds it, once.

use std::path::Path;

use anyhow::{Context, Result, bail};
use identity::{Enrollment, HostName};
use nats_agent::applier::claim::{self, EnrollmentFile, OfferError};
use nats_agent::parts::effects::Effects;
use time::OffsetDateTime;

use super::enroll;

/// Puts the enrolment in `path` in place. One that has done its work is no error: the same command line starts a host for
/// the first time and ever after.
pub(super) fn offer(state_dir: &Path, path: &Path, host: Option<&HostName>) -> Result<()> {
    let text = enroll::read(path)?;
    let enrollment: Enrollment = text.parse().context("the enrolment cannot be used")?;
    if let Some(host) = host.filter(|host| **host != enrollment.host) {
        bail!("the enrolment is for host `{}`, this is `{host}`", enrollment.host);
    }
    if !opens_something(state_dir, &enrollment)? {
        return Ok(());
    }
    match claim::offer(&Effects::default(), state_dir, &text) {
        Ok(_) => Ok(()),
        Err(OfferError::Claimed { .. } | OfferError::Burnt { .. }) => {
            tracing::debug!("the enrolment has done its work and is ignored");
            Ok(())
        }
        Err(error @ (OfferError::Text(_) | OfferError::ClaimUnreadable { .. } | OfferError::File(_))) => {
            Err(error.into())
        }
    }
}

/// Whether the enrolment is one that the agent has not seen: a restart must not give a token another hour.
fn opens_something(state_dir: &Path, given: &Enrollment) -> Result<bool> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    Ok(match claim::read_enrollment(&Effects::default(), state_dir, now)? {
        EnrollmentFile::Missing | EnrollmentFile::Burnt { .. } => true,
        EnrollmentFile::Open { enrollment, .. } => {
            enrollment.token.to_text() != given.token.to_text() || enrollment.host != given.host
        }
        EnrollmentFile::Expired { host, .. } => {
            tracing::warn!(host, "the enrolment's hour is over; `nats-agent enroll` opens the door again");
            false
        }
        EnrollmentFile::Unreadable { reason } => {
            tracing::warn!(reason, "the enrolment in the state directory cannot be read and is replaced");
            true
        }
    })
}
