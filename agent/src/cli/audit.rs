//! `nats-agent audit`: looks the audit log of this host through, and shows what is in it. Reads files alone, so it works
//! while no agent runs and on a copy of a state directory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use host_state::audit::{Head, Line, RecordHash, Told, compare};
use host_state::layout;
use nats_agent::applier::audit::scan::{Damage, Scan, scan};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{EXIT_DRIFT, output};

/// Look at the audit log of this host: the record of every change that its agent made.
///
/// Needs the agent's user, or root, and no running agent; a copy of a state directory will do.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
    Show(Show),
}

/// Look the whole log through. Ends with 0 when it is sound and with 2 when a record was changed, left out, moved,
/// doubled, put between or cut off.
///
/// What was cut off at the end shows only against a record that somebody remembers, with its hash; `nats-agent status`
/// says the newest one. A last line that a crash cut short is no damage; the agent takes it away when it starts.
///
/// Examples:
///   nats-agent audit verify
///   nats-agent audit verify --against 41:3f2a...c09b
///   nats-agent audit verify --state-dir /mnt/backup/nats-agent --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Verify {
    /// State directory of the agent.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// A record that the log must still have: its number and its hash.
    #[arg(long, value_name = "SEQ:HASH", value_parser = remembered)]
    against: Option<Head>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Show records, oldest first: when, who, what, how it ended.
///
/// Examples:
///   nats-agent audit show
///   nats-agent audit show --last 100 --json | jq .record.who
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Show {
    /// State directory of the agent.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// How many records, the newest ones.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// One JSON object a line, as it stands in the log.
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(super) fn run(self) -> Result<u8> {
        match self.command {
            Command::Verify(verify) => verify.run(),
            Command::Show(show) => show.run(),
        }
    }
}

fn remembered(text: &str) -> Result<Head, String> {
    let wrong = || "expected a record's number and its hash, like `41:3f2a...` with 64 hex digits".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or_else(wrong)?;
    Ok(Head { seq, hash: RecordHash::try_from(hash.to_owned()).map_err(|_| wrong())? })
}

/// What `verify` found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Verdict {
    is_sound: bool,
    /// The last record; absent when there is none.
    head: Option<Head>,
    /// Every bad line, up to the first sixteen.
    damage: Vec<String>,
    /// How the log differs from what was given; absent when it does not.
    against: Option<String>,
    /// Bytes of a last line that a crash cut short.
    torn_bytes: u64,
}

impl Verify {
    fn run(self) -> Result<u8> {
        let Verify { state_dir, against, json } = self;
        let verdict = verdict(&state_dir, against.as_ref())?;
        if json {
            output::say_json(&verdict)?;
        } else {
            output::say(&text(&verdict))?;
        }
        Ok(if verdict.is_sound { 0 } else { EXIT_DRIFT })
    }
}

fn verdict(state_dir: &Path, against: Option<&Head>) -> Result<Verdict> {
    let mut hash = None;
    let found = look(state_dir, |line| {
        let head = line.head();
        if against.is_some_and(|against| against.seq == head.seq) {
            hash = Some(head.hash);
        }
    })?;
    let told = Told { head: found.head.clone(), remembered: hash };
    let against = against.and_then(|against| compare(against, &told).err()).map(|found| found.to_string());
    let damage: Vec<String> = found.damages.iter().map(Damage::to_string).collect();
    let torn_bytes = found.torn.filter(|torn| !torn.is_whole).map_or(0, |torn| torn.bytes);
    Ok(Verdict {
        is_sound: damage.is_empty() && against.is_none(),
        head: found.head,
        damage,
        against,
        torn_bytes,
    })
}

fn look(state_dir: &Path, mut each: impl FnMut(&Line)) -> Result<Scan> {
    let directory = state_dir.join(layout::AUDIT);
    std::fs::metadata(&directory).with_context(|| {
        format!(
            "there is no audit log at `{}`; `--state-dir` names the agent's state directory",
            directory.display()
        )
    })?;
    Ok(scan(&directory, |_, line| each(line))?)
}

fn text(verdict: &Verdict) -> String {
    let Verdict { is_sound, head, damage, against, torn_bytes } = verdict;
    let mut lines: Vec<String> = damage.iter().map(|damage| format!("damaged: {damage}")).collect();
    lines.extend(against.iter().map(|found| format!("damaged: {found}")));
    if *torn_bytes > 0 {
        lines
            .push(format!("a last line of {torn_bytes} bytes was cut short, as by a crash; it is no record"));
    }
    let last = match head {
        Some(Head { seq, hash }) => format!("last record {seq}:{hash}"),
        None => "no record".to_owned(),
    };
    lines.push(if *is_sound { format!("sound, {last}") } else { last });
    lines.join("\n")
}

impl Show {
    fn run(self) -> Result<u8> {
        let Show { state_dir, last, json } = self;
        let mut newest = VecDeque::new();
        look(&state_dir, |line| {
            if newest.len() == last {
                newest.pop_front();
            }
            if last > 0 {
                newest.push_back(line.clone());
            }
        })?;
        let lines: Vec<String> = newest
            .iter()
            .map(|line| if json { line.to_text().trim_end().to_owned() } else { told(line) })
            .collect();
        if !lines.is_empty() {
            output::say(&lines.join("\n"))?;
        }
        Ok(0)
    }
}

/// One record for people.
fn told(line: &Line) -> String {
    let seq = line.head().seq;
    let Some(record) = line.record() else {
        return format!("{seq}  written by a newer agent, `--json` shows it");
    };
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(record.at_ms) * 1_000_000);
    let at = at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| record.at_ms.to_string());
    let late = if record.late { "  (written late)" } else { "" };
    format!("{seq}  {at}  {}  {}{late}", record.who, record.what)
}

#[cfg(test)]
mod tests {
    use host_state::audit::{Occasion, Record, What, Who};

    use super::*;

    /// A state directory whose log has the lines that `choose` makes of three records.
    fn with_log(choose: impl FnOnce(Vec<String>) -> Vec<String>) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let (mut head, mut lines) = (None, Vec::new());
        for rendition in 1..=3 {
            let who = Who::Agent { occasion: Occasion::Sweep };
            let record =
                Record { at_ms: 1_700_000_000_000, who, what: What::Rendition { rendition }, late: false };
            let line = Line::after(head.as_ref(), &record);
            head = Some(line.head());
            lines.push(line.to_text());
        }
        std::fs::create_dir(state.path().join(layout::AUDIT)).unwrap();
        let path = state.path().join(layout::AUDIT).join(layout::audit_file(1));
        std::fs::write(path, choose(lines).concat()).unwrap();
        state
    }

    #[test]
    fn every_way_to_damage_a_log_is_told_with_its_record() {
        let sound = with_log(|lines| lines);
        let head = verdict(sound.path(), None).unwrap().head.unwrap();
        let against = |state: &tempfile::TempDir| verdict(state.path(), Some(&head)).unwrap();
        assert_eq!(text(&against(&sound)), format!("sound, last record 3:{}", head.hash));
        type Choose = fn(Vec<String>) -> Vec<String>;
        let cases: [(Choose, &str); 6] = [
            (
                |lines| {
                    lines.into_iter().map(|line| line.replace("\"rendition\":2", "\"rendition\":7")).collect()
                },
                "damaged: `000001.jsonl` line 2: record 2 was changed: its hash does not fit its content",
            ),
            (
                |mut lines| {
                    lines.remove(1);
                    lines
                },
                "damaged: `000001.jsonl` line 2: it is record 3, and record 2 comes here",
            ),
            (
                |mut lines| {
                    lines.swap(0, 1);
                    lines
                },
                "damaged: `000001.jsonl` line 1: it is record 2, and record 1 comes here",
            ),
            (
                |mut lines| {
                    lines.insert(1, lines[0].clone());
                    lines
                },
                "damaged: `000001.jsonl` line 2: it is record 1, and record 2 comes here",
            ),
            (|lines| lines[..2].to_vec(), "damaged: it ends with record 2, and it had 3 records"),
            (|_| Vec::new(), "damaged: there is no log, and it had 3 records"),
        ];
        for (choose, expected) in cases {
            let found = against(&with_log(choose));
            assert!(!found.is_sound && text(&found).starts_with(expected), "{}", text(&found));
        }
        let torn =
            verdict(with_log(|lines| vec![lines[0].clone(), lines[1][..9].to_owned()]).path(), None).unwrap();
        assert!(torn.is_sound);
        assert!(text(&torn).starts_with("a last line of 9 bytes was cut short"), "{}", text(&torn));
    }

    #[test]
    fn a_record_is_one_line_for_people() {
        let mut lines = Vec::new();
        look(with_log(|lines| lines).path(), |line| lines.push(told(line))).unwrap();
        assert_eq!(lines[1], "2  2023-11-14T22:13:20Z  agent (sweep)  keep rendition 2");
    }

    #[test]
    fn what_is_remembered_is_a_number_and_a_hash() {
        assert_eq!(remembered(&format!("41:{}", RecordHash::none())).unwrap().seq, 41);
        for wrong in ["", "41", "41:ab", &format!("0:{}", RecordHash::none())] {
            assert!(remembered(wrong).unwrap_err().contains("41:3f2a"), "{wrong}");
        }
    }
}
