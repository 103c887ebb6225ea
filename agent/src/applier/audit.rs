//! The host's audit log, kept: a record is fsynced before the change that it announces.
//!
//! Nothing that changes the host passes by it. The applier announces what it is about to do ([`Log::announce`]) and says
//! how that ended; every effect on the host comes through [`Gate::before`] here, and one that nothing announced gets a
//! record by its own name. A log that cannot be written freezes changes, as an unreadable ledger does. What must not wait
//! all the same, certificates above all, is done and written down as soon as that is possible ([`Log::announce_anyway`]).
//!
//! The log is files of a few megabytes, of which nothing is ever removed. It is looked through when the agent starts,
//! and again when a file is not as the agent left it. Damage is told in every report while it is there; records go on in
//! a new file, of which the first says what was found.
//!
//! # Current limitations
//! - Who owns the state directory can write a whole new log that fits in itself; that shows where its head is remembered.
//! - Leases, trials and what is only scratch have no record (`crate::parts::effects::UNAUDITED`).

mod announced;
mod keep;
pub mod scan;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_state::Finding;
use host_state::audit::{Head, Occasion, Record, RecordHash, What, Who};

pub(super) use self::announced::{Acting, Announced};
use self::keep::Kept;
use super::files::FileError;
use super::host::now_ms;
use crate::parts::effects::{Effect, Effects, Gate};
use crate::roles::ApplierError;

/// Effects that happen also where they cannot be written down, when nothing announced them: they close a hole in the
/// firewall. New rules are on record before they are tried and before they are confirmed.
const CANNOT_WAIT: [Effect; 2] = [Effect::ReplaceTable, Effect::EndFirewallTrial];

/// Why a change was not announced, and so not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    /// The log cannot be looked through.
    #[error("the audit log cannot be read, so nothing is changed until it can")]
    Read(#[source] FileError),
    /// A record cannot be made durable.
    #[error("the audit log cannot be written, so nothing is changed until it can")]
    Write(#[source] FileError),
}

impl From<AuditError> for ApplierError {
    fn from(error: AuditError) -> ApplierError {
        ApplierError::Frozen(host_state::chain(&error))
    }
}

/// The log of one host. One for each state directory, held by whoever holds its lock.
pub(super) struct Log {
    kept: Mutex<Kept>,
}

impl Log {
    /// The log in `directory`, looked through, with a record of this start. `effects` are those without a gate.
    ///
    /// A log that cannot be read or written is no error here: it freezes changes and is a finding.
    pub(super) fn open(directory: PathBuf, effects: Effects) -> Arc<Log> {
        let mut kept = Kept::new(directory, effects);
        let started = What::Started { version: env!("CARGO_PKG_VERSION").to_owned() };
        let started = record(&kept, started);
        if let Err(error) = kept.append(&started) {
            tracing::error!(error = host_state::chain(&error), "changes are frozen");
        }
        Arc::new(Log { kept: Mutex::new(kept) })
    }

    /// From now on changes are made by `who`, until what is returned is dropped. Whoever holds the work lock calls it.
    pub(super) fn acting(self: &Arc<Log>, who: Who) -> Acting {
        let before = std::mem::replace(&mut self.kept().who, who);
        Acting::new(Arc::clone(self), before)
    }

    /// As [`Log::acting`], by the agent itself.
    pub(super) fn acting_by_itself(self: &Arc<Log>, occasion: Occasion) -> Acting {
        self.acting(Who::Agent { occasion })
    }

    /// Writes down, durably, what is about to be done.
    ///
    /// # Errors
    /// When it cannot be written; then it must not be done.
    pub(super) fn announce(self: &Arc<Log>, what: What) -> Result<Announced, AuditError> {
        let who = self.kept().who.clone();
        self.announce_as(who, what)
    }

    /// As [`Log::announce`], by `who`, whoever else changes the host meanwhile: of what needs no work lock.
    ///
    /// # Errors
    /// As [`Log::announce`].
    pub(super) fn announce_as(self: &Arc<Log>, who: Who, what: What) -> Result<Announced, AuditError> {
        let mut kept = self.kept();
        let record = Record { at_ms: now_ms(), who, what, late: false };
        let seq = kept.append(&record)?;
        Ok(Announced::begin(self, &mut kept, record.who, Some(seq)))
    }

    /// As [`Log::announce`], for what must be done even where it cannot be written: a certificate that ends, a stop that
    /// the host's owner asks for. It is then written as soon as it can be.
    pub(super) fn announce_anyway(self: &Arc<Log>, what: What) -> Announced {
        let who = self.kept().who.clone();
        self.announce_anyway_as(who, what)
    }

    /// As [`Log::announce_anyway`], by `who`, whoever else changes the host meanwhile.
    pub(super) fn announce_anyway_as(self: &Arc<Log>, who: Who, what: What) -> Announced {
        let mut kept = self.kept();
        let record = Record { at_ms: now_ms(), who: who.clone(), what, late: false };
        let seq = kept.append(&record);
        if let Err(error) = &seq {
            tracing::error!(error = host_state::chain(error), what = %record.what, "done without a record");
            kept.miss(Record { late: true, ..record });
        }
        Announced::begin(self, &mut kept, who, seq.ok())
    }

    /// As [`Log::announce_anyway_as`], of what is on record already and is told by its number later: nothing is written for it.
    pub(super) fn announce_more(self: &Arc<Log>, who: Who) -> Announced {
        Announced::begin(self, &mut self.kept(), who, None)
    }

    /// Writes down what was found and what could not be written before. Does nothing when all is well.
    pub(super) fn settle(&self) {
        if let Err(error) = self.kept().settle() {
            tracing::error!(error = host_state::chain(&error), "changes are frozen");
        }
    }

    /// Looks whether the log still is as it was left; returns its head and what is wrong with it.
    pub(super) fn look(&self) -> (Option<Head>, Vec<Finding>) {
        self.kept().look()
    }

    /// The hash of record `seq`, as it stands in the log; `None` when there is no such record, or it cannot be read.
    pub(super) fn hash_at(&self, seq: u64) -> Option<RecordHash> {
        self.kept().hash_at(seq)
    }

    /// A poisoned lock is taken all the same: what is in memory is found again from the files after any trouble.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate for Log {
    fn before(&self, effect: Effect) -> std::io::Result<()> {
        let mut kept = self.kept();
        if kept.is_announced() {
            return Ok(());
        }
        let record = record(&kept, What::Effect { effect: effect.to_string() });
        match kept.append(&record) {
            Ok(_) => Ok(()),
            Err(error) if CANNOT_WAIT.contains(&effect) => {
                tracing::error!(error = host_state::chain(&error), %effect, "done without a record");
                kept.miss(Record { late: true, ..record });
                Ok(())
            }
            Err(error) => Err(std::io::Error::other(error)),
        }
    }
}

fn record(kept: &Kept, what: What) -> Record {
    Record { at_ms: now_ms(), who: kept.who.clone(), what, late: false }
}

#[cfg(test)]
mod tests;
