//! The log on disk: what is written before what, what a crash leaves, what somebody did to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_state::audit::{Ended, Problem};

use super::scan::{FILE_BYTES, Scan, scan};
use super::*;
use crate::parts::effects::{Faults, Moment};

fn open(state: &Path) -> Arc<Log> {
    Log::open(state.join("audit"), Effects::default())
}

fn file(state: &Path, number: u64) -> PathBuf {
    state.join("audit").join(host_state::layout::audit_file(number))
}

fn look_through(state: &Path) -> Scan {
    scan(&state.join("audit"), |_, _| {}).unwrap()
}

/// What the log says, in order.
fn told(state: &Path) -> Vec<String> {
    let mut told = Vec::new();
    scan(&state.join("audit"), |_, line| {
        let record = line.record().unwrap();
        told.push(format!("{}{}: {}", line.head().seq, if record.late { " late" } else { "" }, record.what));
    })
    .unwrap();
    told
}

fn rendition(rendition: u64) -> What {
    What::Rendition { rendition }
}

/// A log of a start and two changes: five records.
fn five(state: &Path) -> Arc<Log> {
    let log = open(state);
    for number in [1, 2] {
        log.announce(rendition(number)).unwrap().end(Ended::Done);
    }
    log
}

fn problems(log: &Log) -> Vec<String> {
    log.look().1.into_iter().map(|finding| finding.problem).collect()
}

#[test]
fn a_change_is_announced_then_ended_and_a_restart_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let log = five(state.path());
    drop(log.announce(rendition(3)).unwrap());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        told(state.path()),
        [
            format!("1: agent {version} started"),
            "2: keep rendition 1".to_owned(),
            "3: 2 is done".to_owned(),
            "4: keep rendition 2".to_owned(),
            "5: 4 is done".to_owned(),
            "6: keep rendition 3".to_owned(),
            "7: 6 failed: it was interrupted".to_owned(),
        ]
    );
    assert_eq!(crate::applier::files::mode_of(&file(state.path(), 1)).unwrap(), 0o640);
    drop(log);
    let log = open(state.path());
    let (head, findings) = log.look();
    assert_eq!((head.as_ref().map(|head| head.seq), findings.as_slice()), (Some(8), [].as_slice()));
    assert_eq!(log.hash_at(8), head.map(|head| head.hash));
    assert_eq!(log.hash_at(9), None);
}

#[test]
fn an_effect_that_nothing_announced_is_on_record_by_its_name() {
    let state = tempfile::tempdir().unwrap();
    let log = open(state.path());
    let effects = Effects::default().behind(Arc::<Log>::clone(&log) as Arc<dyn Gate>);
    effects.run(Effect::SwapCurrent, || Ok(())).unwrap();
    effects.run(Effect::WriteLease, || Ok(())).unwrap();
    let announced = log.announce(rendition(1)).unwrap();
    effects.run(Effect::SwapCurrent, || Ok(())).unwrap();
    announced.end(Ended::Done);
    assert_eq!(told(state.path())[1..], ["2: swap-current", "3: keep rendition 1", "4: 3 is done"]);
}

#[test]
fn who_acts_is_named_until_they_are_done() {
    let state = tempfile::tempdir().unwrap();
    let log = open(state.path());
    let caller = Who::Caller { role: "operator".into(), serial: "0a".into(), writer: "pipeline 7".into() };
    let acting = log.acting(caller);
    log.announce(rendition(1)).unwrap().end(Ended::Done);
    drop(acting);
    log.announce(rendition(2)).unwrap().end(Ended::Done);
    let mut who = Vec::new();
    scan(&state.path().join("audit"), |_, line| who.push(line.record().unwrap().who.to_string())).unwrap();
    let operator = "operator 0a (pipeline 7)";
    assert_eq!(who, ["agent (start)", operator, operator, "agent (start)", "agent (start)"]);
}

/// A disk on which no record can be written while it is full.
#[derive(Default)]
struct Full {
    is_full: AtomicBool,
    at_written: AtomicBool,
}

impl Faults for Full {
    fn reach(&self, effect: Effect, moment: Moment) -> std::io::Result<()> {
        let wanted = if self.at_written.load(Ordering::SeqCst) { Moment::Written } else { Moment::Before };
        if effect == Effect::AppendAudit && moment == wanted && self.is_full.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("no space"));
        }
        Ok(())
    }

    fn written(&self, effect: Effect, file: &Path) -> std::io::Result<()> {
        let reached = self.reach(effect, Moment::Written);
        if reached.is_err() {
            let file = std::fs::File::options().write(true).open(file)?;
            file.set_len(file.metadata()?.len() - 9)?;
        }
        reached
    }
}

#[test]
fn a_log_that_cannot_be_written_freezes_changes_but_not_what_cannot_wait() {
    let state = tempfile::tempdir().unwrap();
    let full = Arc::new(Full::default());
    let effects = Effects::with_faults(Arc::<Full>::clone(&full));
    let log = Log::open(state.path().join("audit"), effects.clone());
    let gated = effects.behind(Arc::<Log>::clone(&log) as Arc<dyn Gate>);
    full.is_full.store(true, Ordering::SeqCst);
    let error = ApplierError::from(log.announce(rendition(1)).err().unwrap());
    let ApplierError::Frozen(text) = error else { panic!("{error}") };
    assert!(
        text.starts_with("the audit log cannot be written, so nothing is changed until it can"),
        "{text}"
    );
    gated.run(Effect::SwapCurrent, || Ok(())).unwrap_err();
    gated.run(Effect::ReplaceTable, || Ok(())).unwrap();
    let announced = log.announce_anyway(rendition(2));
    gated.run(Effect::SwapCurrent, || Ok(())).unwrap();
    announced.end(Ended::Done);
    assert!(problems(&log)[0].contains("no space"));
    full.is_full.store(false, Ordering::SeqCst);
    log.settle();
    assert_eq!(problems(&log), Vec::<String>::new());
    let told = told(state.path());
    assert!(told[1].starts_with("2: changes were frozen: the audit log cannot be written"), "{told:?}");
    assert_eq!(told[2..], ["3 late: replace-table", "4 late: keep rendition 2"]);
}

#[test]
fn what_needs_no_work_lock_is_on_record_by_whoever_did_it() {
    let state = tempfile::tempdir().unwrap();
    let log = Log::open(state.path().join("audit"), Effects::default());
    let firewall = Who::Agent { occasion: Occasion::Firewall };
    let change = log.announce(rendition(1)).unwrap();
    let what = What::Firewall { rules: "those that hold".to_owned() };
    let repair = log.announce_anyway_as(firewall.clone(), what);
    change.end(Ended::Done);
    repair.end(Ended::Done);
    let mut whos = Vec::new();
    scan(&state.path().join("audit"), |_, line| whos.push(line.record().unwrap().who)).unwrap();
    assert_eq!(whos[2..], [firewall.clone(), whos[1].clone(), firewall]);
    assert_ne!(whos[1], whos[2]);
}

#[test]
fn a_record_that_was_half_written_is_written_anew() {
    let state = tempfile::tempdir().unwrap();
    let full = Arc::new(Full::default());
    let log = Log::open(state.path().join("audit"), Effects::with_faults(Arc::<Full>::clone(&full)));
    full.at_written.store(true, Ordering::SeqCst);
    full.is_full.store(true, Ordering::SeqCst);
    assert!(log.announce(rendition(1)).is_err());
    full.is_full.store(false, Ordering::SeqCst);
    log.announce(rendition(2)).unwrap().end(Ended::Done);
    let told = told(state.path());
    assert!(told[1].starts_with("2: a line that a crash had cut short"), "{told:?}");
    assert_eq!(told[3..], ["4: keep rendition 2", "5: 4 is done"]);
    assert_eq!(look_through(state.path()).damages, []);
}

#[test]
fn a_torn_last_line_is_taken_away_and_that_is_on_record() {
    let state = tempfile::tempdir().unwrap();
    drop(five(state.path()));
    let path = file(state.path(), 1);
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..60 {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let torn = look_through(state.path()).torn.unwrap();
        assert_eq!(torn.is_whole, cut == 1);
        let log = open(state.path());
        assert_eq!(problems(&log), Vec::<String>::new());
        let told = told(state.path());
        match cut {
            // Only its newline was missing.
            1 => assert_eq!((told[4].as_str(), told.len()), ("5: 4 is done", 6)),
            _ => assert!(told[4].starts_with("5: a line that a crash had cut short"), "{told:?}"),
        }
    }
}

#[test]
fn damage_is_a_finding_and_the_log_goes_on_in_a_new_file() {
    let state = tempfile::tempdir().unwrap();
    let log = five(state.path());
    let path = file(state.path(), 1);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("\"rendition\":1", "\"rendition\":7")).unwrap();
    let found =
        "log is damaged, `000001.jsonl` line 2: record 2 was changed: its hash does not fit its content";
    assert_eq!(problems(&log)[0], found);
    log.announce(rendition(3)).unwrap().end(Ended::Done);
    log.settle();
    let second = std::fs::read_to_string(file(state.path(), 2)).unwrap();
    assert_eq!(second.lines().count(), 3);
    let first: host_state::audit::Line =
        host_state::audit::Line::parse(second.lines().next().unwrap().as_bytes()).unwrap();
    assert!(matches!(first.record().unwrap().what, What::Damaged { line: 2, .. }));
    drop(log);
    // A restart finds it again, and has nothing more to say of it.
    let log = open(state.path());
    assert!(problems(&log)[0].starts_with(found));
    assert!(!file(state.path(), 3).exists());
    std::fs::write(&path, whole).unwrap();
    assert_eq!(problems(&log), Vec::<String>::new(), "the file was put back");
    assert_eq!(look_through(state.path()).damages, []);
}

#[test]
fn what_is_cut_or_written_anew_under_a_running_agent_is_found_by_it() {
    for cut in [0, 1, 3] {
        let state = tempfile::tempdir().unwrap();
        let log = five(state.path());
        let path = file(state.path(), 1);
        let whole = std::fs::read_to_string(&path).unwrap();
        let left: Vec<&str> = whole.split_inclusive('\n').take(cut).collect();
        if cut == 0 {
            std::fs::remove_dir_all(state.path().join("audit")).unwrap();
        } else {
            std::fs::write(&path, left.concat()).unwrap();
        }
        assert!(problems(&log)[0].contains("record 5 was written here and is gone"), "{cut}");
        log.announce(rendition(3)).unwrap().end(Ended::Done);
        assert!(!problems(&log).is_empty(), "it stays a finding");
        drop(log);
        let log = open(state.path());
        assert!(!problems(&log).is_empty(), "over a restart too");
        let told = told(state.path());
        assert!(told.iter().any(|told| told.starts_with("6: damage at")), "{told:?}");
        assert!(!file(state.path(), 4).exists() || cut == 0);
    }
}

#[test]
fn a_full_file_is_followed_by_the_next_and_old_hashes_are_found() {
    let state = tempfile::tempdir().unwrap();
    let log = five(state.path());
    let accounts: std::collections::BTreeSet<String> =
        (0..100).map(|number| format!("{number:056}")).collect();
    let mut records = 5_u64;
    while !file(state.path(), 2).exists() {
        log.announce(What::Claims { accounts: accounts.clone() }).unwrap().end(Ended::Done);
        records += 2;
    }
    assert!(std::fs::metadata(file(state.path(), 1)).unwrap().len() >= FILE_BYTES);
    let found = look_through(state.path());
    assert_eq!((found.head.map(|head| head.seq), found.damages.len()), (Some(records), 0));
    let mut hashes = Vec::new();
    scan(&state.path().join("audit"), |_, line| hashes.push(line.head().hash)).unwrap();
    let again = open(state.path());
    for seq in [1, 2, records / 2, records] {
        let hash = hashes.get(usize::try_from(seq).unwrap() - 1);
        assert_eq!((log.hash_at(seq).as_ref(), again.hash_at(seq).as_ref()), (hash, hash));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_damage_and_a_log_that_cannot_be_listed_freezes() {
    let state = tempfile::tempdir().unwrap();
    drop(five(state.path()));
    std::fs::remove_file(file(state.path(), 1)).unwrap();
    std::fs::create_dir(file(state.path(), 1)).unwrap();
    let damages = look_through(state.path()).damages;
    assert!(matches!(damages[0].problem, Problem::Unreadable { .. }), "{damages:?}");
    std::fs::remove_dir_all(state.path().join("audit")).unwrap();
    std::fs::write(state.path().join("audit"), "").unwrap();
    let log = open(state.path());
    assert!(log.announce(rendition(1)).is_err());
    assert!(problems(&log)[0].contains("the audit log cannot be read"), "{:?}", problems(&log));
}
