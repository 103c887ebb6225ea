//! What nats-server wrote last, for the reason of a refusal. Reads only.
//!
//! A refused reload is only logged, and some of its lines print whole structures, which may hold secrets: of those
//! only the name of the setting is passed on. Source: nats-server 2.15.1 server/reload.go.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::applier::files;

/// How much of the end of a log is looked at, in bytes.
const TAIL: u64 = 64 * 1024;
/// Longest complaint that is passed on, in characters.
const SHOWN_MAX: usize = 300;
const NOT_RELOADABLE: &str = "config reload not supported for ";

/// How long a log is now, so that later only what came after is looked at; 0 when there is none.
#[must_use]
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The last error or fatal line after `offset`; `None` when there is none.
#[must_use]
pub fn complaint_since(path: &Path, offset: u64) -> Option<String> {
    let mut file = files::open_untrusted(path).ok()??;
    let end = file.metadata().ok()?.len();
    // A rotated log is shorter than it was.
    let from = if end < offset { 0 } else { offset };
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL)))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    String::from_utf8_lossy(&bytes).lines().rev().find_map(complaint)
}

/// The complaint in one line; `None` when it has none.
pub(crate) fn complaint(line: &str) -> Option<String> {
    let text = ["[FTL] ", "[ERR] ", "nats-server: "]
        .iter()
        .find_map(|mark| line.split_once(mark).map(|(_, text)| text))?;
    let text = match text.split_once(NOT_RELOADABLE) {
        Some((_, rest)) => {
            let setting: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).collect();
            format!("{NOT_RELOADABLE}{setting}")
        }
        None => text.trim().to_owned(),
    };
    Some(text.chars().take(SHOWN_MAX).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pipe_or_a_link_in_the_place_of_a_log_says_nothing_and_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (log, other) = (directory.path().join("log"), directory.path().join("other"));
        let (mode, cwd) = (rustix::fs::Mode::from_raw_mode(0o600), rustix::fs::CWD);
        rustix::fs::mknodat(cwd, &log, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(complaint_since(&log, 0), None);
        std::fs::remove_file(&log).unwrap();
        std::fs::write(&other, "[1] [ERR] another's\n").unwrap();
        std::os::unix::fs::symlink(&other, &log).unwrap();
        assert_eq!(complaint_since(&log, 0), None);
    }

    #[test]
    fn the_last_complaint_is_found_and_structures_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "[1] [ERR] old\n[1] [INF] fine\n").unwrap();
        assert_eq!(complaint_since(&path, 0).as_deref(), Some("old"));
        let offset = length(&path);
        assert_eq!(complaint_since(&path, offset), None);
        let line = "[1] 2026 [ERR] Failed to reload server configuration: config reload not supported for Gateway: old={pw}\n";
        std::fs::write(&path, format!("[1] [ERR] old\n[1] [INF] fine\n{line}")).unwrap();
        assert_eq!(
            complaint_since(&path, offset).as_deref(),
            Some("config reload not supported for Gateway")
        );
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".{0,400}") {
            let shown = complaint(&line).unwrap_or_default();
            prop_assert!(shown.chars().count() <= SHOWN_MAX);
        }
    }
}
