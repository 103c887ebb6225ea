//! An agent is killed, or its disk fails, at every point of all that it does; the host is whole afterwards and arrives.
//!
//! ```text
//! point      every point: effect, moment, what strikes            strikes    strikes there, and remembers
//! operation  what an agent is busy with, on which host            life       one life of its applier
//! site       one host's folder and processes                      stand_in   a program in the place of nats-server
//! watch      what must hold between lives                         run        one run: struck, started again, asked again
//! cases      which runs there are                                 tree       what lies on a disk
//! ```
//!
//! Most runs have a stand-in for nats-server, which costs milliseconds; every point is struck beside the real one too.

pub mod cases;
pub mod life;
pub mod operation;
pub mod point;
pub mod run;
pub mod site;
pub mod stand_in;
pub mod strikes;
pub mod tree;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::binaries;
use crate::rig::loopback::Block;
use crate::tools;
use cases::Moments;
use operation::Operation;
use point::{Fault, Point};
use run::{Bench, Case};
use site::{Flavor, Site};
use watch::Promise;

/// Runs at the same time beside the stand-in: most of their time is waiting.
const THREADS: u8 = 10;
/// Runs at the same time beside the real nats-server.
const REAL_THREADS: u8 = 3;
/// How many runs are promised.
const RUNS: usize = 10_000;
/// How many of a sample.
const SAMPLE: usize = 60;
const REAL_SAMPLE: usize = 2;
/// How often it is told how far the runs are.
const PROGRESS: usize = 100;
/// How often a point that was missed is tried again, each time at another of its places.
const PASSES: u64 = 30;
/// How many broken promises are shown in full.
const SHOWN: usize = 20;

/// What many runs found.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    struck: BTreeMap<Point, usize>,
    idle: usize,
    broken: Vec<(Promise, String)>,
    by_operation: BTreeMap<Operation, usize>,
}

/// Counts what is left after strikes at every point.
///
/// # Errors
/// When a run cannot be made.
pub fn prove(order: &Order) -> Result<Proof> {
    let begin = Instant::now();
    let folder = tempfile::Builder::new().prefix("kill-").tempdir_in(scratch())?;
    let root = folder.path().canonicalize()?;
    let block = Block::claim(THREADS + REAL_THREADS)?;
    let life = binaries::build("applier-life")?;
    let stand_in = small_copy(&binaries::build("stand-in-server")?, &root.join("nats-server"))?;
    let benches = |flavor, binary: &Path, count: u8, first: u8| -> Result<Vec<Bench>> {
        let bench = |number: u8| {
            let root = root.join(format!("{flavor:?}-{number}"));
            fs::create_dir_all(root.join("host"))?;
            let address = block.address(first + number).into();
            let site = Site { root, address, binary: binary.to_owned(), flavor };
            another_binary(binary, &site.download())?;
            Ok(Bench::new(site, life.clone()))
        };
        (0..count).map(bench).collect()
    };
    let mut quick = benches(Flavor::StandIn, &stand_in, THREADS, 1)?;
    let first = quick.first_mut().context("at least one thread")?;
    let changed = changes_while_shut(first)?;
    let moments = moments(first, order)?;
    let out_of_reach = cases::out_of_reach(&moments);
    let (runs, real_runs) = match order.extent {
        Extent::Whole => (RUNS, usize::MAX),
        Extent::Sample => (SAMPLE, REAL_SAMPLE),
        Extent::Rounds(rounds) => (usize::try_from(rounds)?, usize::try_from(rounds)?),
    };
    let all = cases::all(&moments, order.seed);
    let covering = cases::some(cases::covering(&all, &moments, |_| true), usize::MAX, order.seed);
    let others = cases::at_least(all, RUNS, &moments, order.seed);
    let others =
        cases::some(others.into_iter().filter(|case| !covering.contains(case)).collect(), RUNS, order.seed);
    let mut chosen: Vec<Case> = match order.extent {
        // A little of every operation, not every point of the first ones.
        Extent::Sample => others,
        Extent::Whole | Extent::Rounds(_) => covering.iter().cloned().chain(others).collect(),
    };
    if order.extent != Extent::Whole {
        chosen.truncate(runs);
    }
    let mut tally = Tally::default();
    run_all(&mut quick, &chosen, &mut tally)?;
    if order.extent == Extent::Whole {
        strike_missed(&mut quick, &moments, usize::MAX, order, &mut tally)?;
    }
    let mut slow = benches(Flavor::Real, &tools::nats_server()?, REAL_THREADS, 1 + THREADS)?;
    let real = beside_the_real(&mut slow, moments, real_runs, order)?;
    Ok(Proof {
        what: format!(
            "{} runs of {} operations, each struck at least once and brought to its end afterwards; {} more beside the real \
             nats-server; {:.0} min",
            tally.runs,
            tally.by_operation.len(),
            real.runs,
            begin.elapsed().as_secs_f64() / 60.0
        ),
        rows: rows(order.extent == Extent::Whole, &tally, &real, &out_of_reach, changed),
    })
}

/// A place that is fast and forgets: what a power cut does is done by the strikes.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// A copy without debugging information where there is `strip`: agents read their server's binary whole.
fn small_copy(from: &Path, to: &Path) -> Result<PathBuf> {
    fs::copy(from, to).with_context(|| format!("copy `{}`", from.display()))?;
    let _ = std::process::Command::new("strip").arg(to).output();
    Ok(to.to_owned())
}

/// The same program with another checksum: what follows the end of its sections is not looked at.
fn another_binary(from: &Path, to: &Path) -> Result<()> {
    let mut bytes = fs::read(from).with_context(|| format!("read `{}`", from.display()))?;
    bytes.push(b'\n');
    fs::write(to, bytes)?;
    Ok(fs::set_permissions(to, fs::metadata(from)?.permissions())?)
}

/// How many files differ after operations none of whose effects may begin: each is a change that passes effects by.
fn changes_while_shut(bench: &mut Bench) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for operation in Operation::ALL {
        if operation != Operation::Stubborn {
            let found = tree::changes_while_shut(bench, operation)?;
            changed.extend(found.into_iter().map(|path| format!("{operation:?}: {path}")));
        }
    }
    Ok(changed)
}

/// What each operation passes. The stubborn server takes half a minute, too long for a sample.
fn moments(bench: &mut Bench, order: &Order) -> Result<Moments> {
    let mut moments = Moments::new();
    for operation in Operation::ALL {
        if operation != Operation::Stubborn || order.extent != Extent::Sample {
            moments.insert(operation, bench.moments(operation)?.reached());
        }
    }
    Ok(moments)
}

/// Strikes each point once beside the real nats-server. Beside it an agent has other things to do than beside the stand-in,
/// so it has moments of its own.
fn beside_the_real(benches: &mut [Bench], known: Moments, limit: usize, order: &Order) -> Result<Tally> {
    let moments = match (order.extent, benches.first_mut()) {
        (Extent::Whole | Extent::Rounds(_), Some(first)) => moments(first, order)?,
        (Extent::Sample, _) | (_, None) => known,
    };
    let mut tally = Tally::default();
    strike_missed(benches, &moments, limit, order, &mut tally)?;
    Ok(tally)
}

/// Strikes each point that was not struck, `limit` runs a pass at most. What an agent does at the same time it does in
/// another order each time, so a run may pass its moment by.
fn strike_missed(
    benches: &mut [Bench],
    moments: &Moments,
    limit: usize,
    order: &Order,
    tally: &mut Tally,
) -> Result<()> {
    let passes = if order.extent == Extent::Sample { 1 } else { PASSES };
    for pass in 0..passes {
        let seed = order.seed.wrapping_add(pass);
        let all = cases::some(cases::all(moments, seed), usize::MAX, seed);
        let missed = cases::covering(&all, moments, |point| !tally.struck.contains_key(point));
        if missed.is_empty() {
            break;
        }
        run_all(benches, &cases::some(missed, limit, seed), tally)?;
    }
    Ok(())
}

/// Runs every case, on as many threads as there are benches, and adds what it finds to `tally`.
fn run_all(benches: &mut [Bench], cases: &[Case], tally: &mut Tally) -> Result<()> {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(tally));
    let work = |bench: &mut Bench| -> Result<()> {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = bench.run(case).with_context(|| format!("{case:?}"))?;
            let mut tally = tally.lock().map_err(|_| anyhow!("another thread failed"))?;
            tally.runs += 1;
            *tally.by_operation.entry(case.operation).or_default() += 1;
            tally.idle += usize::from(found.struck.is_empty());
            for point in found.struck {
                *tally.struck.entry(point).or_default() += 1;
            }
            told(tally.runs, cases.len(), &found.broken);
            tally.broken.extend(found.broken);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = benches.iter_mut().map(|bench| scope.spawn(|| work(bench))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

/// A whole run takes long: how far it is, and at once what is broken.
#[expect(clippy::print_stderr, reason = "a person who waits looks there")]
fn told(runs: usize, all: usize, broken: &[(Promise, String)]) {
    for (promise, text) in broken {
        eprintln!("broken: {promise:?}: {text}");
    }
    if runs.is_multiple_of(PROGRESS) {
        eprintln!("{runs} of {all} runs");
    }
}

fn rows(
    is_whole: bool,
    tally: &Tally,
    real: &Tally,
    out_of_reach: &[Point],
    changed: Vec<String>,
) -> Vec<Row> {
    let points = point::all();
    let mut rows = Vec::new();
    if is_whole {
        rows.push(Row::at_least("runs", tally.runs + real.runs, RUNS));
        rows.push(Row::exactly("points struck, of all that there are", tally.struck.len(), points.len()));
        rows.push(Row::exactly("the same beside the real nats-server", real.struck.len(), points.len()));
    } else {
        rows.push(Row::told("runs", tally.runs + real.runs));
        rows.push(Row::told("points struck", format!("{} of {}", tally.struck.len(), points.len())));
    }
    // A new effect that no operation comes to shows here, also in a sample.
    let named: Vec<String> = out_of_reach.iter().map(ToString::to_string).collect();
    let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    rows.push(Row::exactly("points that no operation comes to", named, "none".to_owned()));
    rows.push(Row::told("runs beside the real nats-server", real.runs));
    rows.push(Row::told("runs whose moment was never reached", tally.idle + real.idle));
    let broken = |promise| {
        [tally, real].iter().flat_map(|tally| &tally.broken).filter(|(one, _)| *one == promise).count()
    };
    for (what, promise) in [
        ("mixed renditions", Promise::Whole),
        ("lost certificates", Promise::Certificate),
        ("claims, keys, ledgers that cannot be read", Promise::Readable),
        ("files of a store touched", Promise::Store),
        ("second servers and remains of trials", Promise::Alone),
        ("runs that do not arrive after a restart or one more apply", Promise::Converged),
    ] {
        rows.push(Row::exactly(what, broken(promise), 0));
    }
    rows.push(Row::exactly("files changed while every effect is refused", changed.len(), 0));
    for fault in Fault::ALL {
        let strikes = |tally: &Tally| -> usize {
            tally.struck.iter().filter(|(point, _)| point.fault == fault).map(|(_, times)| times).sum()
        };
        rows.push(Row::told(
            &format!("strikes: {fault}"),
            format!("{}, real {}", strikes(tally), strikes(real)),
        ));
    }
    for (operation, runs) in &tally.by_operation {
        let real = real.by_operation.get(operation).copied().unwrap_or_default();
        rows.push(Row::told(&format!("runs of {operation:?}"), format!("{runs}, real {real}")));
    }
    rows.extend(is_whole.then(|| listed(tally, real)).into_iter().flatten());
    let texts: BTreeSet<&String> =
        [tally, real].into_iter().flat_map(|tally| &tally.broken).map(|(_, text)| text).collect();
    rows.extend(changed.iter().chain(texts).take(SHOWN).map(|text| Row::told("broken", text)));
    rows
}

/// The list of all points with how often each was struck, an effect a row.
fn listed(tally: &Tally, real: &Tally) -> Vec<Row> {
    let count = |tally: &Tally, point: &Point| tally.struck.get(point).copied().unwrap_or_default();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for point in point::all() {
        let Point { effect, moment, fault } = point;
        let (quick, real) = (count(tally, &point), count(real, &point));
        let text = format!("{moment} {fault} {quick}+{real}");
        rows.entry(format!("`{effect}`")).or_default().push(text);
    }
    rows.into_iter().map(|(effect, texts)| Row::told(&effect, texts.join(", "))).collect()
}
