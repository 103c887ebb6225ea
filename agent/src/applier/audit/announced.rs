//! A change that is on record: as long as it lives, effects on the host are part of it. Ending it says how it went.

use std::sync::Arc;

use host_state::audit::{Ended, Record, What, Who, clip};

use super::Log;
use super::keep::Kept;
use crate::applier::host::now_ms;

/// A change that is on record and under way.
#[must_use = "the record has to be ended"]
pub(in crate::applier) struct Announced {
    log: Arc<Log>,
    /// Which of those under way it is.
    number: u64,
    who: Who,
    /// Its record; absent where that could not be written yet, or it is counted only.
    seq: Option<u64>,
    is_ended: bool,
}

impl Announced {
    pub(super) fn begin(log: &Arc<Log>, kept: &mut Kept, who: Who, seq: Option<u64>) -> Announced {
        Announced { log: Arc::clone(log), number: kept.begin(), who, seq, is_ended: false }
    }

    /// It ended as `result` says, which is handed on.
    pub(in crate::applier) fn ended<T, E: std::error::Error>(self, result: Result<T, E>) -> Result<T, E> {
        self.end(match &result {
            Ok(_) => Ended::Done,
            Err(error) => Ended::Failed { reason: clip(&host_state::chain(error)) },
        });
        result
    }

    /// As [`Announced::ended`], where the reason is a text.
    pub(in crate::applier) fn told<T>(self, result: Result<T, String>) -> Result<T, String> {
        self.end(match &result {
            Ok(_) => Ended::Done,
            Err(reason) => Ended::Failed { reason: clip(reason) },
        });
        result
    }

    /// It ended. That it did is written as well as it can be: the change itself is on record already.
    pub(in crate::applier) fn end(mut self, ended: Ended) {
        self.finish(ended);
    }

    fn finish(&mut self, ended: Ended) {
        self.is_ended = true;
        let mut kept = self.log.kept();
        kept.end(self.number);
        let Some(of) = self.seq else { return };
        let what = What::Outcome { of, ended };
        let record = Record { at_ms: now_ms(), who: self.who.clone(), what, late: false };
        if let Err(error) = kept.append(&record) {
            tracing::error!(error = host_state::chain(&error), of, "how a change ended is not on record");
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if !self.is_ended {
            self.finish(Ended::Failed { reason: "it was interrupted".to_owned() });
        }
    }
}

/// Who makes changes for now; whoever did before does again when it is dropped.
pub(in crate::applier) struct Acting {
    log: Arc<Log>,
    before: Option<Who>,
}

impl Acting {
    pub(super) fn new(log: Arc<Log>, before: Who) -> Acting {
        Acting { log, before: Some(before) }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.log.kept().who = before;
        }
    }
}
