//! The audit log of a state directory, looked through. Reads only; a file larger than any that is written is not read.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use host_state::audit::{Head, Line, MAX_LINE_BYTES, Problem, RecordHash, Verifier, What};
use host_state::layout;

use crate::applier::files::{self, FileError};

/// A file that has so many bytes is not added to any more.
pub(super) const FILE_BYTES: u64 = 8 * 1024 * 1024;
/// The largest file there can be: records that go together stay in one.
const LIMIT: u64 = FILE_BYTES + 4 * MAX_LINE_BYTES as u64;
/// How many of the newest hashes are kept in memory.
const RECENT: usize = 4096;
/// How many damaged places are told apart; where there are more, the log is of no use anyway.
const MAX_DAMAGES: usize = 16;

/// A bad line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its file, like `000001.jsonl`.
    pub file: String,
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: Problem,
    /// Whether a later record names it.
    pub is_on_record: bool,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damage { file, line, problem, is_on_record: _ } = self;
        write!(f, "`{file}` line {line}: {problem}")
    }
}

/// A last line without newline, as a crash leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Which line it is, from 1.
    pub line: u64,
    /// Bytes of the file before it.
    pub keep: u64,
    /// Bytes of the line.
    pub bytes: u64,
    /// Whether it is a whole record, which lacks its newline alone.
    pub is_whole: bool,
}

/// By what a file shows that it was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`; `None` when it cannot be looked at.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        Some(Stamp {
            inode: (meta.dev(), meta.ino()),
            bytes: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// One file of the log.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// As it was when it was read; absent when it was gone by then.
    pub(super) stamp: Option<Stamp>,
    /// Number of its first record; absent when it has none.
    pub(super) first: Option<u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The last whole record; absent when there is none.
    pub head: Option<Head>,
    /// Bad lines, the first ones, in order.
    pub damages: Vec<Damage>,
    /// A last line that a crash cut short; absent when there is none.
    pub torn: Option<Torn>,
    /// The files, by number.
    pub(super) pieces: BTreeMap<u64, Piece>,
    /// Newest records, oldest first.
    pub(super) recent: VecDeque<Head>,
    verifier: Verifier,
}

/// Looks the log in `directory` through, and shows each record, in order, to `each` with the file that it is in. A missing
/// directory is a log without records.
///
/// # Errors
/// When the directory cannot be listed. A file that cannot be read is damage.
pub fn scan(directory: &Path, mut each: impl FnMut(&str, &Line)) -> Result<Scan, FileError> {
    let mut scan = Scan::default();
    let mut named = Vec::new();
    let numbers = numbers(directory)?;
    for number in &numbers {
        let file = layout::audit_file(*number);
        let path = directory.join(&file);
        let stamp = Stamp::of(&path);
        scan.end_torn();
        scan.pieces.insert(*number, Piece { stamp, first: None });
        match files::read_bounded(&path, LIMIT) {
            Ok(bytes) => scan.piece(*number, &bytes.unwrap_or_default(), &mut |line| {
                if let Some(What::Damaged { file, line, .. }) = line.record().map(|record| record.what) {
                    named.push((file, line));
                }
                each(&file, line);
            }),
            Err(error) => scan.bad(&file, 1, Problem::Unreadable { reason: host_state::chain(&error) }, None),
        }
    }
    for damage in &mut scan.damages {
        damage.is_on_record |= named.contains(&(damage.file.clone(), damage.line));
    }
    Ok(scan)
}

/// Adds the newest record to `recent`.
pub(super) fn remember(recent: &mut VecDeque<Head>, head: Head) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(head);
}

/// Shows each line of one file that is whole by itself; none of a file that cannot be read.
pub(super) fn read(directory: &Path, number: u64, mut each: impl FnMut(&Line)) {
    let bytes = files::read_bounded(&directory.join(layout::audit_file(number)), LIMIT);
    let bytes = bytes.ok().flatten().unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|text| Line::parse(text).ok()).for_each(|line| each(&line));
}

impl Scan {
    /// The hash of record `seq`; `None` when it is none of the newest few thousand.
    #[must_use]
    pub fn recent_hash(&self, seq: u64) -> Option<&RecordHash> {
        self.recent.iter().find(|head| head.seq == seq).map(|head| &head.hash)
    }

    fn piece(&mut self, number: u64, bytes: &[u8], each: &mut dyn FnMut(&Line)) {
        let file = layout::audit_file(number);
        let mut rest = bytes;
        let mut count = 0;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (text, after) = rest.split_at(end);
            (rest, count) = (&after[1..], count + 1);
            self.line(number, &file, count, text, each);
        }
        if rest.is_empty() {
            return;
        }
        let keep = (bytes.len() - rest.len()) as u64;
        let is_next = |line: &Line| line.follows(self.head.as_ref()).is_ok();
        let is_whole = Line::parse(rest).ok().filter(is_next).is_some();
        if is_whole {
            self.line(number, &file, count + 1, rest, each);
        }
        self.torn = Some(Torn { line: count + 1, keep, bytes: rest.len() as u64, is_whole });
    }

    fn line(&mut self, number: u64, file: &str, count: u64, text: &[u8], each: &mut dyn FnMut(&Line)) {
        let line = match self.verifier.take(text) {
            Ok(line) => line,
            Err((problem, line)) => {
                self.bad(file, count, problem, line.as_ref());
                let Some(line) = line else { return };
                line
            }
        };
        let head = line.head();
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.first.get_or_insert(head.seq);
        }
        remember(&mut self.recent, head.clone());
        self.head = Some(head);
        each(&line);
    }

    /// A record that does not follow and says itself what was damaged before it is no news.
    fn bad(&mut self, file: &str, line: u64, problem: Problem, found: Option<&Line>) {
        if self.damages.len() == MAX_DAMAGES {
            return;
        }
        let what = found.and_then(Line::record).map(|record| record.what);
        let is_on_record = matches!(what, Some(What::Damaged { .. }));
        self.damages.push(Damage { file: file.to_owned(), line, problem, is_on_record });
    }

    /// A line may be cut short at the very end alone.
    fn end_torn(&mut self) {
        let last = self.pieces.last_key_value().map(|(number, _)| layout::audit_file(*number));
        if let (Some(torn), Some(file)) = (self.torn.take(), last) {
            self.bad(&file, torn.line, Problem::Torn, None);
        }
    }
}

/// Numbers of the files, in order.
fn numbers(directory: &Path) -> Result<Vec<u64>, FileError> {
    let fail = |source| FileError::Read { path: PathBuf::from(directory), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        numbers.extend(name.to_str().and_then(layout::audit_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether the files in `directory` are those of `pieces` and none was touched since.
pub(super) fn is_untouched(directory: &Path, pieces: &BTreeMap<u64, Piece>) -> bool {
    let is_same = |(number, piece): (&u64, &Piece)| {
        piece.stamp.is_some() && Stamp::of(&directory.join(layout::audit_file(*number))) == piece.stamp
    };
    numbers(directory).is_ok_and(|found| found.iter().eq(pieces.keys())) && pieces.iter().all(is_same)
}
