//! Hands on an audit log, and what a plan says of them.

use crate::rig::terraform::Run;

/// One way to touch a log.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    /// What is done.
    pub what: &'static str,
    /// Words of what `nats-agent audit verify` says.
    pub verify: &'static str,
    touch: fn(&mut Vec<String>),
}

impl Hand {
    /// The log after the hand was on it. It has nine records or more.
    #[must_use]
    pub fn touched(&self, log: &str) -> String {
        let mut lines: Vec<String> = log.split_inclusive('\n').map(str::to_owned).collect();
        (self.touch)(&mut lines);
        lines.concat()
    }
}

/// All of them, but for the end cut off, which leaves a sound log.
pub const HANDS: &[Hand] = &[
    Hand {
        what: "flipped",
        touch: |lines| lines[5] = lines[5].replacen("\"at_ms\":1", "\"at_ms\":2", 1),
        verify: "line 6: record 6 was changed",
    },
    Hand {
        what: "dropped",
        touch: |lines| _ = lines.remove(5),
        verify: "line 6: it is record 7, and record 6 comes here",
    },
    Hand {
        what: "reordered",
        touch: |lines| lines.swap(5, 8),
        verify: "line 6: it is record 9, and record 6 comes here",
    },
    Hand {
        what: "doubled",
        touch: |lines| lines.insert(5, lines[5].clone()),
        verify: "line 7: it is record 6, and record 7 comes here",
    },
];

/// The log with one record changed, and with one dropped, for each record that others follow: what was done, and the log. A
/// change of the last one is among them; without it the log is sound.
#[must_use]
pub fn touched_anywhere(log: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    let mut touched = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let mut flipped = lines.clone();
        let changed = line.replacen("\"at_ms\":1", "\"at_ms\":2", 1);
        flipped[place] = &changed;
        touched.push((format!("record {} flipped", place + 1), flipped.concat()));
        if place + 1 < lines.len() {
            let mut dropped = lines.clone();
            dropped.remove(place);
            touched.push((format!("record {} dropped", place + 1), dropped.concat()));
        }
    }
    touched
}

/// What a plan warns about logs, each line once.
#[must_use]
pub fn warned(plan: &Run) -> Vec<String> {
    let lines = plan.diagnostics.iter().flat_map(|diagnostic| diagnostic.detail.lines());
    let mut lines: Vec<String> = lines.filter(|line| line.contains(": audit ")).map(str::to_owned).collect();
    lines.dedup();
    lines
}
