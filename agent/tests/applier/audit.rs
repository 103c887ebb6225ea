//! Every change of a host is on record before it is made, once; a log that cannot be written freezes changes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use host_state::audit::{Ended, Goal, Occasion, Record, What, Who};
use host_state::document::{BinarySource, OnDrift};
use host_state::layout;
use host_state::report::{Outcome, RunStatus};
use nats_agent::applier::audit::scan::scan;
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment, UNAUDITED};
use nats_agent::roles::{Applier, ApplierError, ApplyMode};
use nats_agent::testing::age_leaf;
use nats_config::{ByteSize, Sha256Hex};

use crate::rig::{Rig, binary, until};

/// The log, by number.
fn log(state: &Path) -> BTreeMap<u64, Record> {
    let mut log = BTreeMap::new();
    let found = scan(&state.join(layout::AUDIT), |_, line| {
        log.insert(line.head().seq, line.record().expect("a record of this agent"));
    });
    assert_eq!(found.unwrap().damages, []);
    log
}

/// Whether it announces something that an outcome ends.
fn is_announcement(what: &What) -> bool {
    !matches!(
        what,
        What::Started { .. }
            | What::Effect { .. }
            | What::Outcome { .. }
            | What::Torn { .. }
            | What::Frozen { .. }
            | What::Damaged { .. }
    )
}

/// The announcement that an effect belongs to which begins now: the newest that has not ended, or the one of its own.
fn open(log: &BTreeMap<u64, Record>) -> Option<What> {
    let ended: Vec<u64> = log.values().filter_map(|record| end_of(record).map(|(of, _)| of)).collect();
    let is_open = |(seq, record): &(&u64, &Record)| {
        let is_of_one_effect = matches!(record.what, What::Effect { .. }) && Some(*seq) == log.keys().last();
        is_of_one_effect || (is_announcement(&record.what) && !ended.contains(seq))
    };
    log.iter().rev().find(is_open).map(|(_, record)| record.what.clone())
}

fn end_of(record: &Record) -> Option<(u64, &Ended)> {
    if let What::Outcome { of, ended } = &record.what { Some((*of, ended)) } else { None }
}

/// Whether `what` says that `effect` is about to happen.
fn announces(what: &What, effect: Effect) -> bool {
    use What::{Certificate, Claimed, Claims, Confirmed, Formed, Rendition, Rollback, Section, Step};
    match effect {
        Effect::WriteHostSecret => matches!(what, What::Effect { .. }),
        Effect::WriteEnrollment => matches!(what, What::Effect { .. } | Claimed { .. }),
        Effect::WriteClaim => matches!(what, Claimed { .. }),
        Effect::WriteLeaf => matches!(what, Claimed { .. } | Certificate { .. }),
        Effect::WriteLedger => matches!(what, Section { .. } | Confirmed { .. }),
        Effect::WriteHostFacts => matches!(
            what,
            Step { .. } | Confirmed { .. } | Rollback { .. } | Certificate { .. } | Formed { .. }
        ),
        Effect::KeepRendition => {
            matches!(what, Rendition { .. } | Certificate { .. } | Rollback { .. })
        }
        Effect::SwapCurrent | Effect::RestoreFile | Effect::ReloadServer => {
            matches!(what, Step { .. } | Certificate { .. } | Rollback { .. })
        }
        Effect::CreateStore | Effect::SetStoreMode | Effect::WriteStoreMark => {
            matches!(what, Step { .. } | Formed { .. })
        }
        Effect::InstallBinary => matches!(what, What::Binary { .. }),
        Effect::StartServer | Effect::StopServer | Effect::KillServer => {
            matches!(what, Step { .. } | Rollback { .. })
        }
        Effect::PushClaim | Effect::PutBackClaim => matches!(what, Claims { .. }),
        other => panic!("say here which record announces `{other}`"),
    }
}

/// Looks into the log before each effect, and fails one of them once where that is asked for.
struct Witness {
    state: PathBuf,
    met: Mutex<Vec<(Effect, Option<What>)>>,
    refused: Mutex<Option<Effect>>,
}

impl Witness {
    fn of(state: &Path) -> Arc<Witness> {
        Arc::new(Witness { state: state.to_owned(), met: Mutex::default(), refused: Mutex::default() })
    }

    /// Effects met since this was asked last; each was on record.
    fn met(&self, during: &str) -> Vec<Effect> {
        let met = std::mem::take(&mut *self.met.lock().unwrap());
        for (effect, what) in &met {
            let is_announced = what.as_ref().is_some_and(|what| announces(what, *effect));
            assert!(is_announced, "{during}: `{effect}` with the record {what:?}");
        }
        met.into_iter().map(|(effect, _)| effect).collect()
    }
}

impl Faults for Witness {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        if moment != Moment::Before || UNAUDITED.contains(&effect) {
            return Ok(());
        }
        self.met.lock().unwrap().push((effect, open(&log(&self.state))));
        match self.refused.lock().unwrap().take_if(|refused| *refused == effect) {
            Some(_) => Err(io::Error::other("refused")),
            None => Ok(()),
        }
    }
}

/// What `who` did, announcements alone.
fn done_by(log: &BTreeMap<u64, Record>, who: impl Fn(&Who) -> bool) -> Vec<String> {
    let of_them = log.values().filter(|record| who(&record.who) && is_announcement(&record.what));
    of_them.map(|record| record.what.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_effect_happens_before_its_record() {
    let mut witness = None;
    let mut rig = Rig::claimed_with(|state| {
        Effects::with_faults(Arc::<Witness>::clone(witness.insert(Witness::of(state))))
    })
    .await;
    let witness = witness.unwrap();
    let met = |during: &str, wanted: &[Effect]| {
        let met = witness.met(during);
        for effect in wanted {
            assert!(met.contains(effect), "{during}: `{effect}` among {met:?}");
        }
    };
    met("claim", &[Effect::WriteHostSecret, Effect::WriteClaim, Effect::WriteLeaf, Effect::WriteEnrollment]);
    let held = rig.cluster(|section| section.release = None);
    rig.stage(vec![held]).await;
    met("stage", &[Effect::KeepRendition, Effect::WriteLedger]);
    let section = rig.cluster(|section| section.on_drift = OnDrift::Report);
    assert_eq!(rig.roll(vec![section]).await.0, Outcome::Confirmed);
    met("first start", &[Effect::CreateStore, Effect::WriteStoreMark, Effect::StartServer]);
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap()));
    assert_eq!(rig.roll(vec![section]).await.0, Outcome::Confirmed);
    met("reload", &[Effect::SwapCurrent, Effect::ReloadServer]);
    let another = rig.state().with_file_name("another-server");
    let mut bytes = std::fs::read(binary()).unwrap();
    bytes.push(b'\n');
    std::fs::write(&another, &bytes).unwrap();
    let path = another.display().to_string();
    let sha256 = Sha256Hex::of(&bytes).to_string();
    let section = rig.cluster(|section| section.server.source = BinarySource::File { path, sha256 });
    assert_eq!(rig.roll(vec![section]).await.0, Outcome::Confirmed);
    met("another binary", &[Effect::InstallBinary, Effect::StopServer, Effect::StartServer]);
    std::fs::write(rig.state().join(layout::KEY_PATH), "edited").unwrap();
    assert_eq!(rig.roll(Vec::new()).await.0, Outcome::Confirmed);
    met("repair", &[Effect::RestoreFile]);
    let claims = rig.author.claims(&[("orders", 1_800_000_000)]);
    rig.roll(vec![claims]).await;
    met("claims", &[Effect::PushClaim]);
    age_leaf(&rig.author.authority, rig.state());
    rig.applier.sweep().await;
    met("renewal", &[Effect::WriteLeaf, Effect::KeepRendition, Effect::SwapCurrent, Effect::ReloadServer]);
    *witness.refused.lock().unwrap() = Some(Effect::StartServer);
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(8192).unwrap()));
    let (outcome, _) = rig.roll(vec![section]).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    met("rollback", &[Effect::SwapCurrent, Effect::StartServer]);
    rig.applier.shut_down().await;
    met("stop", &[Effect::StopServer]);
    rig.reopen(Effects::with_faults(Arc::<Witness>::clone(&witness))).await;
    rig.applier.settled().await;
    met("start", &[Effect::StartServer]);

    let log = log(rig.state());
    let operator = done_by(
        &log,
        |who| matches!(who, Who::Caller { role, serial, .. } if role == "operator" && !serial.is_empty()),
    );
    for wanted in
        ["take in `cluster` 2", "roll: ", "start nats-server", "install nats-server", "push 1 accounts"]
    {
        assert!(operator.iter().any(|done| done.starts_with(wanted)), "`{wanted}` among {operator:#?}");
    }
    let by_itself = |occasion| done_by(&log, |who| *who == Who::Agent { occasion });
    assert!(by_itself(Occasion::Renewal)[0].starts_with("bring in certificate"));
    assert!(by_itself(Occasion::Rollback)[0].ends_with("after `restart nats-server`"));
    assert_eq!(by_itself(Occasion::Stop), ["stop nats-server"]);
    assert!(by_itself(Occasion::Start).contains(&"start nats-server".to_owned()));
    assert_eq!(done_by(&log, |who| matches!(who, Who::Token { generation: 1 })).len(), 1);
    each_step_has_one_record_and_one_end(&log);
    let outcomes: Vec<&Ended> = log.values().filter_map(|record| Some(end_of(record)?.1)).collect();
    assert!(outcomes.iter().any(|ended| matches!(ended, Ended::RolledBack { .. })));
    let text = std::fs::read_to_string(rig.state().join("audit/000001.jsonl")).unwrap();
    for secret in ["PRIVATE KEY", "BEGIN", "SU", "SA", "SO"] {
        let is_in_it = text.contains(&format!("\"{secret}")) || text.contains(&format!("{secret}-----"));
        assert!(!is_in_it, "`{secret}`");
    }
}

/// The steps that a change names are the steps that follow, up to the one that failed; everything announced ended once.
fn each_step_has_one_record_and_one_end(log: &BTreeMap<u64, Record>) {
    let ended: Vec<(u64, &Ended)> = log.values().filter_map(end_of).collect();
    for (seq, record) in log {
        let ends = ended.iter().filter(|(of, _)| of == seq).count();
        assert_eq!(ends, usize::from(is_announcement(&record.what)), "{seq}: {}", record.what);
        let What::Change { steps, goal: Goal::Roll } = &record.what else { continue };
        let end = log.iter().find(|(_, later)| end_of(later).is_some_and(|(of, _)| of == *seq)).unwrap();
        let within = log.range(seq + 1..*end.0).map(|(_, record)| &record.what);
        let done: Vec<&String> = within
            .filter_map(|what| if let What::Step { step, .. } = what { Some(step) } else { None })
            .collect();
        let is_whole = matches!(end_of(end.1), Some((_, Ended::Done)));
        assert!(steps.iter().zip(&done).all(|(step, done)| step == *done), "{steps:?} and {done:?}");
        assert!(if is_whole { done.len() == steps.len() } else { done.len() <= steps.len() });
    }
}

/// A disk on which nothing is added to the log while it is full.
#[derive(Default)]
struct Full(AtomicBool);

impl Faults for Full {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        let is_struck =
            effect == Effect::AppendAudit && moment == Moment::Before && self.0.load(Ordering::SeqCst);
        if is_struck { Err(io::Error::other("no space")) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_freezes_changes_and_lets_certificates_renew() {
    let mut rig = Rig::running(|_| {}).await;
    let full = Arc::new(Full::default());
    rig.reopen(Effects::with_faults(Arc::<Full>::clone(&full))).await;
    rig.applier.settled().await;
    full.0.store(true, Ordering::SeqCst);
    let (digest, files) = (rig.digest().await, rig.current_files());
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap()));
    let refused = rig.apply(vec![section.clone()], ApplyMode::Roll).await;
    match refused {
        Err(ApplierError::Frozen(text)) => {
            assert!(text.contains("the audit log cannot be written"), "{text}")
        }
        Ok((Outcome::Refused { reason }, _)) => {
            assert!(reason.contains("the audit log cannot be written"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((rig.digest().await, rig.current_files()), (digest, files));
    let report = rig.report().await;
    assert!(report.findings.iter().any(|finding| finding.item == "audit"), "{:#?}", report.findings);
    let old = age_leaf(&rig.author.authority, rig.state());
    rig.applier.sweep().await;
    assert_ne!(rig.report().await.certificates["leaf"].serial, old);
    full.0.store(false, Ordering::SeqCst);
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, report.findings), (Outcome::Confirmed, Vec::new()));
    let late: Vec<String> = log(rig.state())
        .values()
        .filter(|record| record.late)
        .map(|record| record.what.to_string())
        .collect();
    assert!(late.len() == 1 && late[0].starts_with("bring in certificate"), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_a_finding_and_changes_go_on() {
    let mut rig = Rig::running(|_| {}).await;
    let path = rig.state().join("audit/000001.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"claimed\"", "\"renamed\"", 1)).unwrap();
    rig.applier.sweep().await;
    let report = rig.report().await;
    let audit: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.item == "audit")
        .map(|finding| finding.problem.as_str())
        .collect();
    assert!(audit.len() == 1 && audit[0].contains("`000001.jsonl` line"), "{audit:?}");
    let second = std::fs::read_to_string(rig.state().join("audit/000002.jsonl")).unwrap();
    assert!(second.contains("\"damaged\""), "{second}");
    let section =
        rig.cluster(|section| section.config.limits.max_payload = Some(ByteSize::from_bytes(4096).unwrap()));
    let (outcome, report) = rig.roll(vec![section]).await;
    assert_eq!((outcome, report.run), (Outcome::Confirmed, RunStatus::Running));
    rig.reopen(Effects::default()).await;
    until("it is found by a restart too", async || {
        rig.report().await.findings.iter().any(|finding| finding.item == "audit")
    })
    .await;
    std::fs::write(&path, text).unwrap();
    assert_eq!(rig.report().await.findings, []);
}
