//! Whose host this is, and what it may be claimed with.
//!
//! `enrollment.json` goes through three states: the text that somebody put there; the same with the time at which
//! the agent first saw it, from which the token's life counts; and, once claimed, only which enrolment was burnt.
//! `claim.json` is written once and before the token is burnt, so a crash between them burns it at the next start.

use std::path::Path;

use host_state::layout;
use identity::{CertificatePem, Enrollment, EnrollmentError, HostNames, MAX_ENROLLMENT_LEN, Trust};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::{self, FileError};
use super::ledger::{Kept, parse_checked, read_checked, write_checked};
use crate::parts::effects::{Effect, Effects};

/// Life of a token in seconds, from the agent's first sight of it.
pub const TOKEN_LIFE_SECONDS: i64 = 3600;

/// A claim as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRecord {
    /// Host name.
    pub host: String,
    /// Enrolment generation.
    pub generation: u32,
    /// 32 lower-case hex digits.
    pub claim_id: String,
    /// The authority's public side, as it was when the host was claimed.
    pub trust: Trust,
    /// Issuer certificate of this host.
    pub issuer: CertificatePem,
    /// Names and addresses of this host.
    pub names: HostNames,
}

/// Reads the claim.
#[must_use]
pub fn read(state_dir: &Path) -> Kept<ClaimRecord> {
    read_checked(&state_dir.join(layout::CLAIM_FILE))
}

/// Makes a claim last.
///
/// # Errors
/// When it cannot be written; the host is then not claimed.
pub fn write(effects: &Effects, state_dir: &Path, record: &ClaimRecord) -> Result<(), FileError> {
    write_checked(effects, Effect::WriteClaim, &state_dir.join(layout::CLAIM_FILE), record)
}

/// The enrolment's file, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let content = serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
    for bytes in [bytes, super::ledger::checked_text(&content).as_bytes()] {
        let kept = parse_checked::<EnrollmentRecord>(bytes);
        if let Kept::Valid(EnrollmentRecord::Seen { text, first_seen }) = kept {
            let _ = opened(&Zeroizing::new(text), first_seen, i64::MAX);
        }
    }
}

/// An enrolment as kept by the agent. No `Debug`: the text is a secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EnrollmentRecord {
    Seen { text: String, first_seen: i64 },
    Burnt { host: String, generation: u32 },
}

/// What the enrolment file says.
#[derive(Debug)]
pub enum EnrollmentFile {
    /// There is none.
    Missing,
    /// It cannot be read.
    Unreadable {
        /// Why; never quotes the file.
        reason: String,
    },
    /// A token that may be used until `expires_at`.
    Open {
        /// The enrolment.
        enrollment: Box<Enrollment>,
        /// Seconds since 1970.
        expires_at: i64,
    },
    /// Its time is over.
    Expired {
        /// The host that it was for.
        host: String,
        /// Seconds since 1970.
        expired_at: i64,
    },
    /// It was used.
    Burnt {
        /// The host.
        host: String,
        /// Which enrolment.
        generation: u32,
    },
}

/// Reads the enrolment file; one that is new is given its time of first sight, durably, before it counts.
///
/// # Errors
/// When that time cannot be written: the token is then not used.
pub fn read_enrollment(effects: &Effects, state_dir: &Path, now: i64) -> Result<EnrollmentFile, FileError> {
    let path = state_dir.join(layout::ENROLLMENT_FILE);
    if !path.exists() {
        return Ok(EnrollmentFile::Missing);
    }
    // Whoever offers another one meanwhile must not find his replaced by the one that was read before.
    let _held = files::hold_directory(state_dir)?;
    let Some(bytes) = files::read_bounded(&path, 4 * MAX_ENROLLMENT_LEN as u64)?.map(Zeroizing::new) else {
        return Ok(EnrollmentFile::Missing);
    };
    if let Kept::Valid(record) = parse_checked::<EnrollmentRecord>(&bytes) {
        return Ok(match record {
            EnrollmentRecord::Burnt { host, generation } => EnrollmentFile::Burnt { host, generation },
            EnrollmentRecord::Seen { text, first_seen } => opened(&Zeroizing::new(text), first_seen, now),
        });
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(EnrollmentFile::Unreadable { reason: "it is no text".to_owned() });
    };
    let file = opened(text, now, now);
    if matches!(file, EnrollmentFile::Open { .. }) {
        let record = EnrollmentRecord::Seen { text: text.trim().to_owned(), first_seen: now };
        write_checked(effects, Effect::WriteEnrollment, &path, &record)?;
    }
    Ok(file)
}

/// Burns the token: afterwards the file says only which enrolment was used.
///
/// # Errors
/// When it cannot be written; the claim, which is kept first, shuts the door all the same.
pub fn burn(effects: &Effects, state_dir: &Path, host: &str, generation: u32) -> Result<(), FileError> {
    let record = EnrollmentRecord::Burnt { host: host.to_owned(), generation };
    let _held = files::hold_directory(state_dir)?;
    write_checked(effects, Effect::WriteEnrollment, &state_dir.join(layout::ENROLLMENT_FILE), &record)
}

/// Why an enrolment was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// It is not one.
    #[error("the enrolment cannot be used")]
    Text(#[from] EnrollmentError),
    /// The host belongs to somebody.
    #[error(
        "this host is claimed by authority `{authority}` as `{host}`; an enrolment opens nothing any more"
    )]
    Claimed {
        /// The authority.
        authority: String,
        /// The host's name.
        host: String,
    },
    /// The claim is there and cannot be read.
    #[error("the claim of this host cannot be read: {reason}")]
    ClaimUnreadable {
        /// Why.
        reason: String,
    },
    /// The very enrolment was used.
    #[error("enrolment generation {generation} of host `{host}` was used already; raise the generation")]
    Burnt {
        /// The host.
        host: String,
        /// Which enrolment.
        generation: u32,
    },
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What became of an enrolment.
#[derive(Debug, Clone)]
pub enum Offered {
    /// The door is open.
    Opened(Enrollment),
    /// This very enrolment claimed the host before: there is nothing to do.
    Claimed(Enrollment),
}

/// Puts an enrolment where the running agent finds it, which opens the door for an hour.
///
/// Called by whoever has local rights on the state directory. May be repeated, which starts the hour anew.
///
/// # Errors
/// [`OfferError`]; nothing is changed then.
pub fn offer(effects: &Effects, state_dir: &Path, text: &str) -> Result<Offered, OfferError> {
    let enrollment: Enrollment = text.parse()?;
    match read(state_dir) {
        Kept::Missing => {}
        Kept::Unreadable { reason } => return Err(OfferError::ClaimUnreadable { reason }),
        Kept::Valid(record) if is_claim_by(&record, &enrollment) => return Ok(Offered::Claimed(enrollment)),
        Kept::Valid(record) => {
            return Err(OfferError::Claimed {
                authority: record.trust.authority.to_string(),
                host: record.host,
            });
        }
    }
    let path = state_dir.join(layout::ENROLLMENT_FILE);
    let _held = files::hold_directory(state_dir)?;
    if let Kept::Valid(EnrollmentRecord::Burnt { host, generation }) = read_checked(&path)
        && host == enrollment.host.as_str()
        && generation == enrollment.generation
    {
        return Err(OfferError::Burnt { host, generation });
    }
    files::write_atomic(
        effects,
        Effect::WriteEnrollment,
        &path,
        enrollment.to_text().as_bytes(),
        layout::SECRET_MODE,
    )?;
    Ok(Offered::Opened(enrollment))
}

/// Whether `record` came of this enrolment: the same host, generation and authority, known by its fleet CA.
fn is_claim_by(record: &ClaimRecord, enrollment: &Enrollment) -> bool {
    let Enrollment { authority, host, generation, fleet_ca, token: _ } = enrollment;
    let ClaimRecord { host: claimed, generation: used, trust, .. } = record;
    let known = trust.fleet_ca == *fleet_ca || trust.previous_fleet_ca.as_ref() == Some(fleet_ca);
    trust.authority == *authority && claimed == host.as_str() && used == generation && known
}

fn opened(text: &str, first_seen: i64, now: i64) -> EnrollmentFile {
    match text.parse::<Enrollment>() {
        Err(error) => EnrollmentFile::Unreadable { reason: error.to_string() },
        Ok(enrollment) => {
            let expires_at = first_seen.saturating_add(TOKEN_LIFE_SECONDS);
            // A clock set back to before the first sight must not give a token new life.
            if now >= expires_at || now < first_seen.saturating_sub(TOKEN_LIFE_SECONDS) {
                EnrollmentFile::Expired { host: enrollment.host.to_string(), expired_at: expires_at }
            } else {
                EnrollmentFile::Open { enrollment: Box::new(enrollment), expires_at }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::{Authority, Generations};

    use super::*;

    fn enrollment(generation: u32) -> Enrollment {
        let root = identity::RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        authority.enrollment("east-1".parse().unwrap(), generation)
    }

    #[test]
    fn a_token_lives_an_hour_from_first_sight_and_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let effects = Effects::default();
        let read = |now| read_enrollment(&effects, directory.path(), now).unwrap();
        assert!(matches!(read(0), EnrollmentFile::Missing));
        offer(&effects, directory.path(), &enrollment(1).to_text()).unwrap();
        assert!(matches!(read(10_000), EnrollmentFile::Open { expires_at: 13_600, .. }));
        assert!(matches!(read(13_599), EnrollmentFile::Open { expires_at: 13_600, .. }));
        assert!(matches!(read(13_600), EnrollmentFile::Expired { expired_at: 13_600, .. }));
        assert!(matches!(read(1), EnrollmentFile::Expired { .. }), "a clock set back");
        offer(&effects, directory.path(), &enrollment(1).to_text()).unwrap();
        assert!(matches!(read(20_000), EnrollmentFile::Open { expires_at: 23_600, .. }));
    }

    #[test]
    fn an_enrolment_that_is_offered_while_another_is_read_is_the_one_that_stays() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().unwrap();
        let effects = Effects::default();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    read_enrollment(&effects, directory.path(), 5).unwrap();
                }
            });
            for generation in 1..=100 {
                offer(&effects, directory.path(), &enrollment(generation).to_text()).unwrap();
                let file = read_enrollment(&effects, directory.path(), 5);
                let found = match &file {
                    Ok(EnrollmentFile::Open { enrollment, .. }) => Some(enrollment.generation),
                    _ => None,
                };
                if found != Some(generation) {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("{generation} was offered, and there is {file:?}");
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_burnt_enrolment_stays_burnt_and_leaves_no_token() {
        let directory = tempfile::tempdir().unwrap();
        let effects = Effects::default();
        offer(&effects, directory.path(), &enrollment(1).to_text()).unwrap();
        burn(&effects, directory.path(), "east-1", 1).unwrap();
        let text = std::fs::read_to_string(directory.path().join(layout::ENROLLMENT_FILE)).unwrap();
        assert!(!text.contains(enrollment(1).token.to_text().as_str()) && !text.contains("nats-enrollment"));
        let error = offer(&effects, directory.path(), &enrollment(1).to_text()).unwrap_err().to_string();
        assert_eq!(error, "enrolment generation 1 of host `east-1` was used already; raise the generation");
        offer(&effects, directory.path(), &enrollment(2).to_text()).unwrap();
    }

    #[test]
    fn rubbish_opens_nothing_and_is_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(layout::ENROLLMENT_FILE), "sesame").unwrap();
        let file = read_enrollment(&Effects::default(), directory.path(), 0).unwrap();
        let EnrollmentFile::Unreadable { reason } = file else { panic!("it is no enrolment") };
        assert!(!reason.contains("sesame"), "{reason}");
    }
}
