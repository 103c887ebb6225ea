//! The files of the log as the agent left them, and the one way in which a record gets into them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use host_state::audit::{Head, Line, Occasion, Problem, Record, RecordHash, Told, What, Who, clip, compare};
use host_state::{Finding, layout};

use super::AuditError;
use super::scan::{Damage, FILE_BYTES, Piece, Scan, Stamp, Torn, is_untouched, scan};
use crate::applier::files;
use crate::applier::host::now_ms;
use crate::parts::effects::{Effect, Effects};

/// How many records of what could not wait are remembered while the log cannot be written.
const MAX_MISSED: usize = 64;

/// What the agent knows of its log.
pub(super) struct Kept {
    directory: PathBuf,
    effects: Effects,
    /// Who makes changes for now.
    pub(super) who: Who,
    /// The last record that is durable; absent before the first.
    head: Option<Head>,
    pieces: BTreeMap<u64, Piece>,
    recent: VecDeque<Head>,
    /// What is wrong with the files, as of the last look.
    damages: Vec<Damage>,
    /// Damage that no record names yet.
    news: Option<Damage>,
    torn: Option<Torn>,
    /// Why the last record could not be written; absent when it was.
    trouble: Option<String>,
    is_known: bool,
    missed: VecDeque<Record>,
    /// Changes under way.
    announced: BTreeSet<u64>,
    next: u64,
}

impl Kept {
    /// A log that was not looked at yet.
    pub(super) fn new(directory: PathBuf, effects: Effects) -> Kept {
        Kept {
            directory,
            effects,
            who: Who::Agent { occasion: Occasion::Start },
            head: None,
            pieces: BTreeMap::new(),
            recent: VecDeque::new(),
            damages: Vec::new(),
            news: None,
            torn: None,
            trouble: None,
            is_known: false,
            missed: VecDeque::new(),
            announced: BTreeSet::new(),
            next: 0,
        }
    }

    /// Begins a change that was announced; returns what to end it by.
    pub(super) fn begin(&mut self) -> u64 {
        self.next += 1;
        self.announced.insert(self.next);
        self.next
    }

    /// Ends a change.
    pub(super) fn end(&mut self, number: u64) {
        self.announced.remove(&number);
    }

    /// Whether a change is under way that was announced.
    pub(super) fn is_announced(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Remembers a record that could not be written.
    pub(super) fn miss(&mut self, record: Record) {
        if self.missed.len() < MAX_MISSED {
            self.missed.push_back(record);
        }
    }

    /// Writes a record, durably, after what has to be written before it.
    pub(super) fn append(&mut self, record: &Record) -> Result<u64, AuditError> {
        let appended = self.catch_up().and_then(|()| self.put(record));
        self.noting(appended)
    }

    /// Writes what was found and what could not be written before. Does nothing when all is well.
    pub(super) fn settle(&mut self) -> Result<(), AuditError> {
        let settled = self.catch_up();
        self.noting(settled)
    }

    fn noting<T>(&mut self, result: Result<T, AuditError>) -> Result<T, AuditError> {
        if let Err(error) = &result {
            self.trouble.get_or_insert(host_state::chain(error));
        }
        result
    }

    fn catch_up(&mut self) -> Result<(), AuditError> {
        if !self.is_known || self.trouble.is_some() || !is_untouched(&self.directory, &self.pieces) {
            self.look_through().map_err(AuditError::Read)?;
        }
        if let Some(Damage { file, line, problem, .. }) = &self.news {
            let what = What::Damaged { file: file.clone(), line: *line, problem: clip(&problem.to_string()) };
            let number = self.pieces.last_key_value().map_or(0, |(number, _)| *number) + 1;
            self.torn = None;
            self.pieces.insert(number, Piece { stamp: None, first: None });
            if let Err(error) = self.put(&self.of_agent(what)) {
                self.pieces.remove(&number);
                return Err(error);
            }
            self.news = None;
        }
        if let Some(Torn { bytes, is_whole: false, .. }) = self.torn {
            self.put(&self.of_agent(What::Torn { bytes }))?;
        }
        if let Some(reason) = self.trouble.clone() {
            self.put(&self.of_agent(What::Frozen { reason: clip(&reason) }))?;
            self.trouble = None;
        }
        while let Some(record) = self.missed.front().cloned() {
            self.put(&record)?;
            self.missed.pop_front();
        }
        Ok(())
    }

    /// The head, and what is wrong with the log.
    pub(super) fn look(&mut self) -> (Option<Head>, Vec<Finding>) {
        let mut findings = Vec::new();
        if !is_untouched(&self.directory, &self.pieces)
            && let Err(error) = self.look_through()
        {
            self.trouble.get_or_insert(host_state::chain(&AuditError::Read(error)));
        }
        if let Some(first) = self.damages.first() {
            let more = match self.damages.len() {
                1 => String::new(),
                bad => format!("; {bad} bad lines in all"),
            };
            findings.push(Finding {
                item: "audit".to_owned(),
                problem: format!("log is damaged, {first}{more}"),
                remedy: "look at it with `nats-agent audit verify` on the host and find out who changed it; a file that \
                         is put back from a copy ends this"
                    .to_owned(),
            });
        }
        if let Some(reason) = &self.trouble {
            findings.push(Finding {
                item: "audit".to_owned(),
                problem: format!("changes are frozen: {reason}"),
                remedy: "make room or repair the disk; certificates are renewed meanwhile".to_owned(),
            });
        }
        (self.head.clone(), findings)
    }

    /// The hash of record `seq` as it stands in the log.
    pub(super) fn hash_at(&self, seq: u64) -> Option<RecordHash> {
        if let Some(head) = self.recent.iter().find(|head| head.seq == seq) {
            return Some(head.hash.clone());
        }
        let mut hash = None;
        let in_it = self.pieces.iter().rfind(|(_, piece)| piece.first.is_some_and(|first| first <= seq));
        let (number, _) = in_it?;
        super::scan::read(&self.directory, *number, |line| {
            let head = line.head();
            if head.seq == seq {
                hash = Some(head.hash);
            }
        });
        hash
    }

    fn of_agent(&self, what: What) -> Record {
        let by_itself = Who::Agent { occasion: Occasion::Sweep };
        let who = Some(self.who.clone()).filter(|who| matches!(who, Who::Agent { .. })).unwrap_or(by_itself);
        Record { at_ms: now_ms(), who, what, late: false }
    }

    /// Reads all files, and holds them against what the agent knows of them.
    fn look_through(&mut self) -> Result<(), files::FileError> {
        let Scan { head, mut damages, torn, pieces, recent, .. } = scan(&self.directory, |_, _| {})?;
        let known = self.head.take();
        if let Some(known) = &known {
            let remembered = recent.iter().find(|head| head.seq == known.seq).map(|head| head.hash.clone());
            if compare(known, &Told { head: head.clone(), remembered }).is_err() {
                let number = pieces.last_key_value().map_or(1, |(number, _)| *number);
                damages.push(Damage {
                    file: layout::audit_file(number),
                    line: 1,
                    problem: Problem::Gone { seq: known.seq },
                    is_on_record: false,
                });
            }
        }
        let is_shorter = damages.iter().any(|damage| matches!(damage.problem, Problem::Gone { .. }));
        self.head = if is_shorter { known } else { head };
        self.news = damages.iter().find(|damage| !damage.is_on_record).cloned();
        (self.damages, self.torn, self.pieces, self.recent) = (damages, torn, pieces, recent);
        self.is_known = true;
        Ok(())
    }

    /// Appends one record to the last file, or begins the next one.
    fn put(&mut self, record: &Record) -> Result<u64, AuditError> {
        let number = self.place();
        let path = self.directory.join(layout::audit_file(number));
        let line = Line::after(self.head.as_ref(), record);
        let Head { seq, hash } = line.head();
        let mut text = line.to_text();
        let cut = match &self.torn {
            Some(Torn { is_whole: true, .. }) => {
                text.insert(0, '\n');
                None
            }
            Some(Torn { keep, .. }) => Some(*keep),
            None => None,
        };
        let write = |this: &Kept| {
            files::make_directory(&this.effects, &this.directory, layout::DIRECTORY_MODE)?;
            files::append(&this.effects, Effect::AppendAudit, &path, cut, text.as_bytes(), layout::AUDIT_MODE)
        };
        write(self).map_err(AuditError::Write)?;
        tracing::info!(seq, who = %record.who, what = %record.what, "audit");
        let piece = self.pieces.entry(number).or_insert(Piece { stamp: None, first: None });
        piece.stamp = Stamp::of(&path);
        piece.first.get_or_insert(seq);
        self.torn = None;
        let head = Head { seq, hash };
        super::scan::remember(&mut self.recent, head.clone());
        self.head = Some(head);
        Ok(seq)
    }

    /// The file that the next record belongs to.
    fn place(&self) -> u64 {
        let Some((last, piece)) = self.pieces.last_key_value() else { return 1 };
        let is_full = piece.stamp.is_some_and(|stamp| stamp.bytes() >= FILE_BYTES);
        if is_full && self.torn.is_none() { last + 1 } else { *last }
    }
}
