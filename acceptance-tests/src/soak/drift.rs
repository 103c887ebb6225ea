//! Drift: whatever is changed on a host behind Terraform's back is in the next plan, with its host and its setting; and a
//! system that nobody touches has none.

mod managed;
mod untouched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, ensure};

use self::managed::{Mutation, all, kinds};
use self::untouched::Refreshed;
use super::chance::Chance;
use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::wait::wait_until;
use crate::scenario::EDITED;
use crate::scenario::system::{DEADLINE, System};
use serde_json::json;

/// How many texts of what went wrong are kept.
const KEPT: usize = 8;
/// Agents bring accounts up to date by themselves once a minute, so that a change of those may be gone before it is seen.
const TRIES: usize = 3;

/// What was counted.
#[derive(Debug, Default)]
struct Counted {
    made: BTreeMap<&'static str, u64>,
    told: u64,
    total: u64,
    plans: u64,
    repaired: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

/// Runs the proof. A round is a mutation on each host.
///
/// # Errors
/// When it cannot be run; what it finds is in its rows.
pub fn prove(order: &Order) -> Result<Proof> {
    let is_sample = order.extent == Extent::Sample;
    let clusters: &[(&str, usize)] = if is_sample { &[("east", 2)] } else { &[("east", 2), ("west", 1)] };
    let mut system = lay_out(clusters)?;
    let mut refreshed = Refreshed::default();
    refreshed.by_terraform(&system, order.rounds(1, 100));
    refreshed.by_provider(&system, order.rounds(10, 900))?;
    let mut queues = BTreeMap::new();
    let mut managed: u64 = 0;
    let mut enumerated: BTreeMap<&'static str, u64> = BTreeMap::new();
    for host in system.hosts() {
        let found = all(host)?;
        for (kind, count) in kinds(&found) {
            managed += count;
            *enumerated.entry(kind).or_default() += count;
        }
        queues.insert(host.name().to_owned(), VecDeque::from(found));
    }
    if order.extent != Extent::Whole {
        thin_out(&mut queues, order);
    }
    let mut counted = Counted::default();
    while queues.values().any(|queue| !queue.is_empty()) {
        let round = queues.iter_mut().filter_map(|(host, queue)| Some((host.clone(), queue.pop_front()?)));
        try_round(&system, round.collect(), &mut counted)?;
    }
    if !is_sample {
        try_processes(&mut system, &mut counted)?;
    }
    let (run, _) = system.planned();
    ensure!(run.changes.is_empty(), "the system is not as it was: {run}");
    counted.wrong.extend(refreshed.first.clone());
    counted.wrong.truncate(KEPT);
    let hosts = system.hosts().len();
    let mut rows = vec![
        Row::told("changes enumerated from files, settings, store and claims", managed),
        Row::told("of them made", counted.total),
        Row::exactly("named by the next plan, with host and setting", counted.told, counted.total),
        Row::exactly("kinds of change made", counted.made.len(), counted.made.len()),
        Row::told("plans for it", counted.plans),
        Row::told("kinds of change removed by an apply", counted.repaired.len()),
    ];
    if order.extent == Extent::Whole {
        rows[1] = Row::at_least("of them made", counted.total, managed);
        rows[3] = Row::at_least("kinds of change made", counted.made.len(), enumerated.len());
        rows.push(Row::exactly(
            "kinds of change removed by an apply, or left to a person",
            counted.repaired.len(),
            counted.made.len(),
        ));
    }
    rows.extend(counted.made.iter().map(|(kind, count)| Row::told(kind, count)));
    rows.extend([
        Row::told("refreshes of the untouched system by terraform", refreshed.by_terraform),
        Row::told("and by the provider alone", refreshed.by_provider),
        Row::exactly("of them with drift or a finding", refreshed.findings, 0),
    ]);
    let wrong = if counted.wrong.is_empty() { "nothing".to_owned() } else { counted.wrong.join("; ") };
    rows.push(Row::exactly("what went wrong, the first of it", wrong, "nothing".to_owned()));
    let what = format!("{hosts} hosts with real agents under terraform, changed by hand in every place");
    Ok(Proof { what, rows })
}

/// A running system with something in as many settings as a declaration can set.
fn lay_out(clusters: &[(&str, usize)]) -> Result<System> {
    let mut system = System::lay_out(clusters);
    for (name, _) in clusters {
        let cluster = system.resource("nats_cluster", name);
        cluster["limits"] = json!({
            "max_payload": "1MB", "max_connections": 1000, "max_pending": "32MB", "max_control_line": "8KB",
            "max_subscriptions": 1000, "ping_interval": "30s", "ping_max": 3, "write_deadline": "5s",
        });
        cluster["logging"] = json!({ "debug": true });
        cluster["server_config"] =
            json!(r#"{"server_metadata":{"owner":"orders"},"connect_error_reports":50}"#);
    }
    let first = system.hosts()[0].name().to_owned();
    system.host_mut(&first).own_nats_server()?;
    system.supercluster.fleet.start()?;
    system.apply();
    Ok(system)
}

/// Leaves one of each kind, or as many as were asked for.
fn thin_out(queues: &mut BTreeMap<String, VecDeque<Mutation>>, order: &Order) {
    let mut chance = Chance::of(order.seed, 0);
    let count = usize::try_from(order.rounds(4, 0)).unwrap_or(usize::MAX);
    for queue in queues.values_mut() {
        while queue.len() > count {
            let index = chance.below(0..queue.len());
            queue.swap_remove_back(index);
        }
    }
}

/// One change on each host at once: each must have its lines.
fn try_round(system: &System, round: Vec<(String, Mutation)>, counted: &mut Counted) -> Result<()> {
    let mut untold = Vec::new();
    for _ in 0..TRIES {
        let befores: Vec<_> = round.iter().map(|(_, mutation)| mutation.make()).collect::<Result<_>>()?;
        let told = Told::now(system);
        counted.plans += 1;
        untold = round.iter().flat_map(|(host, one)| told.lacks(host, one)).collect();
        // The first of each kind stays, so that an apply must remove it.
        let is_new = round.iter().any(|(_, mutation)| !counted.repaired.contains(mutation.kind));
        if told.findings.iter().any(|finding| !finding.ends_with(EDITED)) {
            // A person must decide first; until then an apply would wait for them.
            counted.repaired.extend(
                round.iter().filter(|(host, one)| told.is_finding(host, one)).map(|(_, one)| one.kind),
            );
            befores.into_iter().try_for_each(managed::Before::restore)?;
            break;
        }
        if is_new && untold.is_empty() && repair(system, &round, counted) {
            befores.into_iter().try_for_each(managed::Before::forget)?;
        } else {
            befores.into_iter().try_for_each(managed::Before::restore)?;
        }
        if untold.is_empty() || round.iter().all(|(_, one)| !one.kind.contains("claims")) {
            break;
        }
    }
    for (_, Mutation { kind, lines, .. }) in &round {
        *counted.made.entry(kind).or_default() += lines.len() as u64;
        counted.total += lines.len() as u64;
        counted.told += lines.len() as u64;
    }
    counted.told -= untold.len() as u64;
    counted.wrong.extend(untold);
    Ok(())
}

/// An apply removes it. Whether all is as it was.
fn repair(system: &System, round: &[(String, Mutation)], counted: &mut Counted) -> bool {
    let run = system.supercluster.terraform.apply();
    let after = Told::now(system);
    let is_whole = after.drift.is_empty() && after.findings.iter().all(|finding| finding.ends_with(EDITED));
    match run {
        Ok(run) if run.code == 0 && is_whole => {
            counted.repaired.extend(round.iter().map(|(_, mutation)| mutation.kind));
        }
        other => {
            let kinds: Vec<_> = round.iter().map(|(_, mutation)| mutation.kind).collect();
            counted.wrong.push(format!("an apply leaves {after:?} of {kinds:?}: {other:?}"));
        }
    }
    is_whole
}

/// What a plan says.
#[derive(Debug)]
struct Told {
    drift: BTreeSet<String>,
    findings: BTreeSet<String>,
}

impl Told {
    /// What a plan made now says.
    fn now(system: &System) -> Told {
        let (_, before) = system.planned();
        let all = |name: &str| {
            let lists = before.values().filter_map(|values| values[name].as_array().cloned());
            lists.flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect()
        };
        Told { drift: all("drift"), findings: all("findings") }
    }

    /// Whether `mutation` is told as what only a person can decide.
    fn is_finding(&self, host: &str, mutation: &Mutation) -> bool {
        let start = format!("{host}: {}", mutation.lines[0][0]);
        self.findings.iter().any(|finding| finding.starts_with(&start) && !finding.ends_with(EDITED))
    }

    /// Every line of `mutation` that is not told of `host`.
    fn lacks(&self, host: &str, mutation: &Mutation) -> Vec<String> {
        let start = format!("{host}: ");
        let of_host = || self.drift.iter().chain(&self.findings).filter(|line| line.starts_with(&start));
        let is_told = |words: &&Vec<String>| {
            of_host().any(|line| words.iter().all(|word| line.contains(word.as_str())))
        };
        let untold = mutation.lines.iter().filter(|words| !is_told(words));
        let what = format!("{host}: {} of `{}`", mutation.kind, mutation.path.display());
        untold
            .map(|words| format!("{what}: {words:?} is not told, only {:?}", of_host().collect::<Vec<_>>()))
            .collect()
    }
}

/// What is no file: the process, its binary, and what it runs with.
fn try_processes(system: &mut System, counted: &mut Counted) -> Result<()> {
    let host = system.hosts()[0].name().to_owned();
    system.host(&host).kill_server()?;
    wait_until("its end", DEADLINE, || Ok(system.host(&host).server_pid().is_none()))?;
    expect(system, &host, "server killed", &["process", "stopped"], counted);

    let binary = system.host(&host).state_dir().join("../nats-server");
    let (new, mut bytes) = (binary.with_extension("new"), std::fs::read(&binary)?);
    bytes.extend(b"another build");
    std::fs::write(&new, bytes)?;
    std::fs::set_permissions(&new, std::fs::metadata(&binary)?.permissions())?;
    std::fs::rename(&new, &binary)?;
    expect(system, &host, "binary replaced", &["process `binary`", "sha256"], counted);

    let file = system.host(&host).state_dir().join("current/nats-server.json");
    let before = std::fs::read(&file)?;
    let mut settings: serde_json::Value = serde_json::from_slice(&before)?;
    settings["max_connections"] = json!(7);
    std::fs::write(&file, settings.to_string())?;
    let digest = |system: &System| crate::scenario::system::varz(system.host(&host))["config_digest"].clone();
    let was = digest(system);
    if let Some(pid) =
        system.host(&host).server_pid().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
    {
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
    }
    wait_until("the reload", DEADLINE, || Ok(digest(system) != was))?;
    std::fs::write(&file, before)?;
    expect(system, &host, "server reloaded by hand", &["running `config_digest`"], counted);
    Ok(())
}

/// One change that was made: told, and removed by an apply.
fn expect(system: &System, host: &str, kind: &'static str, words: &[&str], counted: &mut Counted) {
    *counted.made.entry(kind).or_default() += 1;
    counted.total += 1;
    counted.plans += 1;
    let told = Told::now(system);
    let names = |line: &&String| {
        line.starts_with(&format!("{host}: ")) && words.iter().all(|word| line.contains(word))
    };
    if told.drift.iter().any(|line| names(&line)) {
        counted.told += 1;
    } else {
        counted.wrong.push(format!("{host}: {kind} is not told: {told:?}"));
    }
    system.apply();
    let left = Told::now(system);
    if left.drift.is_empty() {
        counted.repaired.insert(kind);
    } else {
        counted.wrong.push(format!("{host}: an apply leaves {left:?} of: {kind}"));
    }
}
