//! Whatever strangers and lesser callers do to an agent's port, its owner is answered, and its memory is bounded.
//!
//! One core of this process attacks, from other loopback addresses than the owner's but for the attacks that say
//! otherwise. Meanwhile the owner dials anew and asks, again and again, as Terraform would.
//!
//! It asks a second agent that nobody attacks at the same time, on the same machine: what that one takes is the machine's
//! (attackers and whatever else runs), and what the attacked one takes beyond it is the attack's.

mod callers;
mod enemy;
mod frames;
mod owner;
mod strangers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::agents::Fleet;
use crate::scenario::system::System;
use enemy::{Attack, Enemy};
use owner::{Answers, Owner};

/// Longest that an owner may wait for its answer, dialling included, beyond what an agent takes that nobody attacks, ms.
const ANSWER_MS: u128 = 1000;
/// Most memory of an agent that strangers attack, MiB: 20 at rest, 21 for the handshakes it may have under way, and what
/// the allocator does not give back.
const STRANGERS_MIB: u64 = 64;
/// Most memory of an agent that its own readers, accounts and peers attack, MiB: 64 for two previews of 16 MiB held
/// twice, 53 for 16 tunnels with three messages and a window each, 24 for the windows of 96 connections, besides.
const CALLERS_MIB: u64 = 192;
/// Connections that the largest attacks hold at once.
const CONNECTIONS: usize = 2_500;

/// Attacks a claimed agent in every way, then an unclaimed one.
///
/// # Errors
/// When the system does not come up, or an agent ends.
pub fn prove(order: &Order) -> Result<Proof> {
    let time = match order.extent {
        Extent::Sample => Duration::from_millis(400),
        Extent::Whole => Duration::from_secs(15),
        Extent::Rounds(seconds) => Duration::from_secs(seconds),
    };
    // A sample runs beside other tests and asks a few times only: it shows that owners are answered, not how fast.
    let answer_ms = (order.extent != Extent::Sample).then_some(ANSWER_MS);
    let mut system = System::running(&[("east", 2)]);
    let authority = system.authority();
    let mut fleet = Fleet::lay_out(&[("spare", 1)])?;
    let enrollment = authority.enrollment("spare-1".parse()?, 1);
    fleet.host("spare-1")?.enroll(&enrollment.to_text())?;
    fleet.start()?;
    // After the agents were started: they have the limit that they would have.
    raise_open_files()?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;

    let mut rows = Vec::new();
    let calm = Owner::of_claimed(&authority, system.host("east-2").agent_address().into())?;
    let terms = Terms { runtime: &runtime, calm: &calm, time, answer_ms };
    let host = system.host_mut("east-1");
    let (address, pid) = (host.agent_address(), host.agent()?.pid());
    let owner = Owner::of_claimed(&authority, address.into())?;
    let enemy = Enemy::new(&authority, address, order.seed)?;
    let mut field = Field { terms, enemy, owner, pid, rows: &mut rows, totals: Totals::default() };
    field.rest("nobody else")?;
    for attack in strangers::ATTACKS {
        field.stand(attack)?;
    }
    let strangers_mib = field.totals.peak_mib;
    for attack in callers::ATTACKS {
        field.stand(attack)?;
    }
    let claimed = field.totals;
    rows.push(Row::at_most("memory of the claimed agent under strangers, MiB", strangers_mib, STRANGERS_MIB));
    rows.push(Row::at_most(
        "memory of the claimed agent under lesser callers, MiB",
        claimed.peak_mib,
        CALLERS_MIB,
    ));
    ensure!(host.agent()?.exit_status()?.is_none(), "the claimed agent ended:\n{}", host.agent()?.log_end());

    let spare = fleet.host_mut("spare-1")?;
    let (address, pid) = (spare.agent_address(), spare.agent()?.pid());
    let owner = Owner::of_unclaimed(&authority, address.into(), enrollment)?;
    let enemy = Enemy::new(&authority, address, order.seed)?.before_claim();
    let mut field = Field { terms, enemy, owner, pid, rows: &mut rows, totals: Totals::default() };
    field.rest("unclaimed: nobody else")?;
    for attack in strangers::ATTACKS {
        field.stand(attack)?;
    }
    let unclaimed = field.totals;
    rows.push(Row::at_most("memory of the unclaimed agent, MiB", unclaimed.peak_mib, STRANGERS_MIB));
    ensure!(
        spare.agent()?.exit_status()?.is_none(),
        "the unclaimed agent ended:\n{}",
        spare.agent()?.log_end()
    );

    let asked = claimed.asked + unclaimed.asked;
    rows.push(Row::told("attempts of attackers", claimed.attempts + unclaimed.attempts));
    rows.push(Row::at_least("attackers at once, of the largest attacks", CONNECTIONS, 2_000));
    rows.push(Row::told("their connections open at once, most", claimed.sockets.max(unclaimed.sockets)));
    rows.push(Row::told("slowest answer of all, ms", claimed.worst_ms.max(unclaimed.worst_ms)));
    rows.push(Row::told("questions of owners", asked));
    rows.push(Row::exactly(
        "questions of owners without an answer",
        claimed.unanswered + unclaimed.unanswered,
        0,
    ));
    system.plan_is_empty();
    let what = format!(
        "{} attacks on a claimed agent and {} on an unclaimed one, {} s each, while its owner dials anew and asks \
         (Observe, or a claim up to its binding)",
        strangers::ATTACKS.len() + callers::ATTACKS.len(),
        strangers::ATTACKS.len(),
        time.as_secs_f64()
    );
    Ok(Proof { what, rows })
}

/// What all attacks on one agent came to.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    attempts: u64,
    asked: usize,
    unanswered: usize,
    peak_mib: u64,
    sockets: usize,
    worst_ms: u128,
}

/// What holds for every attack.
#[derive(Clone, Copy)]
struct Terms<'a> {
    /// Where attacks run.
    runtime: &'a Runtime,
    /// The same owner, of an agent that nobody attacks.
    calm: &'a Owner,
    /// How long each attack lasts.
    time: Duration,
    /// See [`ANSWER_MS`]; absent where it is only told.
    answer_ms: Option<u128>,
}

/// One agent, who attacks it and who owns it.
struct Field<'a> {
    terms: Terms<'a>,
    enemy: Arc<Enemy>,
    owner: Owner,
    pid: u32,
    rows: &'a mut Vec<Row>,
    totals: Totals,
}

impl Field<'_> {
    /// The same questions without an attack: the floor.
    fn rest(&mut self, name: &str) -> Result<()> {
        let Terms { runtime, time, .. } = self.terms;
        let answers = runtime.block_on(self.owner.ask_for(time));
        let memory = memory_mib(self.pid, "VmRSS")?;
        let text = format!(
            "{name}: slowest of {} answers, ms (median {}, {memory} MiB)",
            answers.asked(),
            answers.median_ms()
        );
        self.rows.push(Row::told(&text, answers.worst_ms()));
        Ok(())
    }

    /// Has the agent attacked for the time of this field.
    fn stand(&mut self, attack: &Attack) -> Result<()> {
        let Self { terms, enemy, owner, pid, rows, totals } = self;
        let Terms { runtime, calm, time, answer_ms } = *terms;
        forget_peak(*pid)?;
        enemy.attempts.store(0, Ordering::Relaxed);
        let storm = runtime.block_on(async { attack.begin(enemy) });
        // From another thread than the attack's.
        let asking = Builder::new_current_thread().enable_all().build()?;
        let (answers, calm): (Answers, Answers) =
            asking.block_on(async { tokio::join!(owner.ask_for(time), calm.ask_for(time)) });
        let sockets = std::fs::read_dir("/proc/self/fd").context("count open files")?.count();
        drop(storm);
        let (attempts, peak) = (enemy.attempts.load(Ordering::Relaxed), memory_mib(*pid, "VmHWM")?);
        let before = if enemy.is_before_claim() { "unclaimed: " } else { "" };
        let text = format!(
            "{before}{} ({attempts} attempts, {peak} MiB): slowest of {} answers {} ms, median {}; of the other agent {} \
             and {}; beyond it, ms",
            attack.name,
            answers.asked(),
            answers.worst_ms(),
            answers.median_ms(),
            calm.worst_ms(),
            calm.median_ms(),
        );
        let beyond = answers.worst_ms().saturating_sub(calm.worst_ms());
        rows.push(match answer_ms {
            Some(promised) => Row::at_most(&text, beyond, promised),
            None => Row::told(&text, beyond),
        });
        totals.attempts += attempts;
        totals.asked += answers.asked();
        totals.unanswered += answers.unanswered;
        totals.peak_mib = totals.peak_mib.max(peak);
        totals.sockets = totals.sockets.max(sockets);
        totals.worst_ms = totals.worst_ms.max(answers.worst_ms());
        Ok(())
    }
}

/// A field of `/proc/PID/status` in MiB. Source: Linux `proc_pid_status(5)`.
fn memory_mib(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).context("no such field")?.parse()?;
    Ok(kib / 1024)
}

/// Has the kernel count the peak anew. Source: Linux `proc_pid_clear_refs(5)`, value 5.
fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of memory")
}

/// As many open files for this process as the machine lets it have.
fn raise_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raise the limit of open files")?;
    let enough = limit.current.is_none_or(|files| files > 2 * CONNECTIONS as u64);
    ensure!(enough, "this process may open {:?} files, the attacks need {}", limit.current, 2 * CONNECTIONS);
    Ok(())
}
