//! Random topologies on the real server: accepted with our digest, started with it, and tried out beside nothing of the
//! original.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use identity::Trust;
use nats_config::{ServerConfig, render};

use super::coverage::Coverage;
use super::lone;
use super::shadowed;
use super::topology::topology;
use crate::lone_server::server::{Server, check};
use crate::lone_server::site::{Site, authority};
use crate::soak::chance::Chance;

/// How many ask the server at once.
const WORKERS: usize = 2;
/// One in so many topologies is followed by a configuration with what no topology expands into.
const LONE_EVERY: u64 = 4;
/// How many texts of what went wrong are kept.
const KEPT: usize = 5;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) topologies: u64,
    pub(super) servers: u64,
    pub(super) configurations: u64,
    /// With exactly our digest.
    pub(super) accepted: u64,
    pub(super) started: u64,
    /// Started, and the digest shown at the monitoring port.
    pub(super) booted: u64,
    /// Valid by construction and refused by our own rules.
    pub(super) refused_by_us: u64,
    pub(super) shadows: u64,
    /// Trials that keep something of their original.
    pub(super) leaks: u64,
    pub(super) coverage: Coverage,
    /// The first texts of what went wrong, each with the number that makes it again.
    pub(super) wrong: Vec<String>,
}

/// Tries `topologies` of the run from `seed`, and starts the server on one in `boot_every`.
pub(super) fn try_all(seed: u64, topologies: u64, boot_every: u64) -> Result<Counted> {
    let next = AtomicU64::new(0);
    let work = || -> Result<Counted> {
        let (site, trust) = (Site::new()?, authority(1));
        let mut counted = Counted::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= topologies {
                return Ok(counted);
            }
            one(&site, &trust, seed, number, number.is_multiple_of(boot_every), &mut counted)?;
        }
    };
    let counts = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let joined =
            workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
        joined.collect::<Result<Vec<Counted>>>()
    })?;
    let mut all = Counted::default();
    for one in counts {
        all.topologies += one.topologies;
        all.servers += one.servers;
        all.configurations += one.configurations;
        all.accepted += one.accepted;
        all.started += one.started;
        all.booted += one.booted;
        all.refused_by_us += one.refused_by_us;
        all.shadows += one.shadows;
        all.leaks += one.leaks;
        all.coverage.absorb(one.coverage);
        all.wrong.extend(one.wrong);
    }
    all.wrong.truncate(KEPT);
    Ok(all)
}

/// One topology: all of it against our rules, one of its servers against nats-server.
fn one(site: &Site, trust: &Trust, seed: u64, number: u64, boots: bool, counted: &mut Counted) -> Result<()> {
    let mut chance = Chance::of(seed, number);
    let topology = chance.draw(&topology())?;
    counted.topologies += 1;
    if let Some(problem) = topology.problems().first() {
        counted.refused_by_us += 1;
        counted.wrong.push(format!("topology {number} is refused: {problem:?}"));
    }
    let all = topology.configurations(trust);
    counted.servers += all.len() as u64;
    let chosen = chance.one(&all).ok_or_else(|| anyhow!("topology {number} has no server"))?;
    judge(chosen, number, counted)?;
    ask(site, chosen, number, counted)?;
    if boots {
        boot(chosen, number, counted)?;
    }
    if number.is_multiple_of(LONE_EVERY) {
        let config = chance.draw(&lone::configuration())?;
        judge(&config, number, counted)?;
        ask(site, &config, number, counted)?;
        if boots {
            boot(&config, number, counted)?;
        }
    }
    Ok(())
}

/// Our own rules, and what a trial keeps of the original.
fn judge(config: &ServerConfig, number: u64, counted: &mut Counted) -> Result<()> {
    counted.coverage.note(&serde_json::to_value(config)?);
    if let Err(problems) = config.validate() {
        counted.refused_by_us += 1;
        counted.wrong.push(format!("a configuration of {number} is refused: {problems:?}"));
    }
    counted.shadows += 1;
    let left = shadowed::left(config);
    if !left.is_empty() {
        counted.leaks += 1;
        counted.wrong.push(format!("a trial of {number} keeps {}", left.join(", ")));
    }
    Ok(())
}

/// `nats-server -t`.
fn ask(site: &Site, config: &ServerConfig, number: u64, counted: &mut Counted) -> Result<()> {
    counted.configurations += 1;
    let rendered = render(config);
    match check(site, &rendered.text)? {
        Ok(digest) if digest == rendered.digest.to_string() => counted.accepted += 1,
        other => counted.wrong.push(format!("{number}: {other:?} instead of {}", rendered.digest)),
    }
    Ok(())
}

/// A start on addresses and directories of its own.
fn boot(config: &ServerConfig, number: u64, counted: &mut Counted) -> Result<()> {
    let site = Site::new()?;
    let rendered = render(&site.settle(config.clone())?);
    counted.started += 1;
    let started = Server::start(&site, &rendered.text, (site.address, 8222));
    match started.and_then(|server| server.digest()) {
        Ok(digest) if digest == rendered.digest.to_string() => counted.booted += 1,
        shown => {
            counted.wrong.push(format!("{number}: /varz shows {shown:?} instead of {}", rendered.digest))
        }
    }
    Ok(())
}
