//! One system that lives through many kills.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::moment::{Killed, Victim, begin, kill};
use super::operation::{Layout, Operation, add_tenant, change_clusters, change_tenant, remove_tenant};
use super::tally::Tally;
use super::there::{self, There, Thing};
use crate::rig::terraform::{Action, Outcome, Run};
use crate::rig::wait::wait_until;
use crate::scenario::system::{DEADLINE, SWEEP, System};
use crate::soak::chance::Chance;

/// How long one terraform command may take.
const COMMAND: Duration = Duration::from_secs(400);
/// How long a provider may outlive a terraform that was killed.
const LINGER: Duration = Duration::from_secs(20);
/// What an operation is taken to last before one was measured.
const GUESS: Duration = Duration::from_millis(300);
/// Messages written in each round.
const MESSAGES: u64 = 3;
/// Rounds that a system lives at most before one is begun on bare hosts.
const LIFE: u64 = 25;

/// See the module.
pub(super) struct Lane<'a> {
    layout: Layout,
    is_small: bool,
    system: System,
    chance: Chance,
    tally: &'a Mutex<Tally>,
    /// Accounts that came later than the first.
    tenants: BTreeSet<String>,
    /// Counts everything that needs a name or value of its own.
    number: u64,
    /// Messages in the first stream.
    written: u64,
    /// How long each operation takes when nothing is killed.
    usual: BTreeMap<Operation, Duration>,
}

impl<'a> Lane<'a> {
    /// A running system, whose operations are of every kind.
    pub(super) fn new(layout: Layout, seed: u64, tally: &'a Mutex<Tally>) -> Result<Lane<'a>> {
        let mut lane = Lane::laid_out(layout, layout.clusters(), seed, tally)?;
        let started = lane.operate(Operation::CreateSystem)?;
        lane.usual.insert(Operation::CreateSystem, started);
        Ok(lane)
    }

    /// Two servers, and operations that take a second.
    pub(super) fn small(layout: Layout, seed: u64, tally: &'a Mutex<Tally>) -> Result<Lane<'a>> {
        let mut lane = Lane::laid_out(layout, &[("east", 2)], seed, tally)?;
        lane.is_small = true;
        lane.operate(Operation::CreateSystem)?;
        Ok(lane)
    }

    fn laid_out(
        layout: Layout,
        clusters: &[(&str, usize)],
        seed: u64,
        tally: &'a Mutex<Tally>,
    ) -> Result<Lane<'a>> {
        let mut system = System::lay_out_beside(clusters);
        system.supercluster.fleet.start()?;
        Ok(Lane {
            layout,
            is_small: false,
            system,
            chance: Chance::of(seed, 0),
            tally,
            tenants: BTreeSet::new(),
            number: 0,
            written: 0,
            usual: BTreeMap::new(),
        })
    }

    /// Kills `rounds` times, then destroys everything and looks for what is left.
    pub(super) fn run(&mut self, rounds: u64) -> Result<()> {
        let (mut done, mut life) = (0, 0);
        while done < rounds {
            let dice = self.chance.number();
            let operation = if self.is_small {
                Operation::next_of_tenants(dice, self.tenants.len())
            } else if life >= LIFE {
                Operation::DestroySystem
            } else {
                Operation::next(self.layout, dice, self.tenants.len())
            };
            done += u64::from(self.round(operation)?);
            life += 1;
            if operation == Operation::DestroySystem {
                let again = if life > LIFE || self.chance.below(0..3) == 0 {
                    self.start_anew()?;
                    life = 0;
                    Operation::CreateSystem
                } else {
                    Operation::CreateSystemAgain
                };
                done += u64::from(self.round(again)?);
            }
        }
        self.operate(Operation::DestroySystem)?;
        self.look_for_orphans(Operation::DestroySystem)
    }

    /// Bare hosts in place of those that were.
    fn start_anew(&mut self) -> Result<()> {
        let mut system = System::lay_out_beside(self.layout.clusters());
        system.supercluster.fleet.start()?;
        self.system = system;
        self.tenants.clear();
        Ok(())
    }

    /// One operation with a kill, and the recovery from it. Whether something was killed.
    fn round(&mut self, operation: Operation) -> Result<bool> {
        let victim = Victim::ALL[self.chance.below(0..Victim::ALL.len())];
        self.prepare(operation);
        let Some(usual) = self.usual.get(&operation).copied().or(self.is_small.then_some(GUESS)) else {
            // The first of its kind shows how long it takes.
            let took = self.operate(operation)?;
            self.usual.insert(operation, took);
            self.after(operation)?;
            return Ok(false);
        };
        let after = usual.mul_f64(self.chance.fraction());
        let what = format!("{}, {} killed after {after:?}", operation.text(), victim.text());
        let was_killed = self.kill_and_recover(operation, victim, after).context(what)?;
        self.after(operation)?;
        Ok(was_killed)
    }

    fn prepare(&mut self, operation: Operation) {
        self.number += 1;
        let (number, configuration) = (self.number, &mut self.system.configuration);
        let index = self.chance.below(0..self.tenants.len().max(1));
        let one = self.tenants.iter().nth(index).cloned();
        match operation {
            Operation::CreateTenant => {
                let name = format!("t{number}");
                add_tenant(configuration, &name);
                self.tenants.insert(name);
            }
            Operation::UpdateTenant => {
                change_tenant(configuration, &one.unwrap_or_else(|| "orders".to_owned()), number);
            }
            Operation::DestroyTenant => {
                if let Some(name) = one {
                    remove_tenant(configuration, &name);
                    self.tenants.remove(&name);
                }
            }
            Operation::ReloadClusters => change_clusters(configuration, number, false),
            Operation::RestartClusters => change_clusters(configuration, number % 32, true),
            Operation::UpdateGateway => {
                let gateway = &mut configuration["resource"]["nats_gateway"]["global"];
                let was = gateway["reject_unknown"].as_bool().unwrap_or(true);
                gateway["reject_unknown"] = json!(!was);
            }
            Operation::CreateSystem | Operation::CreateSystemAgain | Operation::DestroySystem => {}
        }
        if operation == Operation::DestroySystem {
            self.written = 0;
        }
    }

    fn arguments(operation: Operation) -> [&'static str; 4] {
        let verb = if operation == Operation::DestroySystem { "destroy" } else { "apply" };
        [verb, "-json", "-input=false", "-auto-approve"]
    }

    /// Does it without a kill. Returns how long terraform worked on resources.
    fn operate(&mut self, operation: Operation) -> Result<Duration> {
        self.system.write();
        let mut running = self.system.supercluster.terraform.start(&Self::arguments(operation))?;
        let began = begin(&mut running)?;
        running.finish(COMMAND)?.succeeded()?;
        Ok(began.map_or(Duration::ZERO, |began| began.elapsed()))
    }

    fn kill_and_recover(&mut self, operation: Operation, victim: Victim, after: Duration) -> Result<bool> {
        self.system.write();
        let mut running = self.system.supercluster.terraform.start(&Self::arguments(operation))?;
        let Some(killed) = kill(&mut running, victim, after)? else {
            running.finish(COMMAND)?.succeeded()?;
            return Ok(false);
        };
        let run = running.finish(COMMAND)?;
        let is_torn = there::put_back_state(&self.system)?;
        let (kept, tainted) = there::state(&self.system)?;
        let declared = there::declared(&self.system.configuration);
        let unknown = there::look(&self.system).map(|found| {
            let is_unknown = |(address, thing): &(&String, &Thing)| {
                found.things.contains(thing) && !kept.contains(*address)
            };
            declared.iter().filter(is_unknown).count() as u64
        });
        let recovered = self.system.supercluster.terraform.run(&Self::arguments(operation))?;
        let recovered =
            recovered.succeeded().with_context(|| format!("recover from what was killed: {run}"))?;
        let recreated = made_again(&recovered, &kept, operation, &declared);
        let mut tally = self.tally();
        *tally.runs.entry((operation, victim)).or_default() += 1;
        tally.torn += u64::from(is_torn);
        tally.tainted += tainted.len() as u64;
        tally.recreated += recreated.len() as u64;
        // Servers that are starting or stopping cannot always be asked right after a kill.
        if operation != Operation::DestroySystem {
            tally.adopted += unknown.unwrap_or_default();
        }
        tally.took(recovered.elapsed, operation, victim);
        let Killed { providers, in_flight } = killed;
        tally.between += u64::from(in_flight.is_empty());
        for address in in_flight {
            let kind = address.split('.').next().unwrap_or_default().to_owned();
            *tally.in_flight.entry((kind, operation.verb())).or_default() += 1;
        }
        drop(tally);
        ensure!(tainted.is_empty() && recreated.is_empty(), "{tainted:?} tainted, made again: {recreated:?}");
        let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
        if wait_until("the end of the providers", LINGER, || Ok(providers.iter().all(gone))).is_err() {
            self.tally().lingering += 1;
        }
        Ok(true)
    }

    /// What must hold after each recovery.
    fn after(&mut self, operation: Operation) -> Result<()> {
        if operation != Operation::DestroySystem {
            let plan = self.system.supercluster.terraform.plan()?;
            if plan.outcome() != Outcome::Unchanged {
                self.tally().not_empty += 1;
                plan.unchanged()?;
            }
        }
        self.look_for_orphans(operation)?;
        if operation == Operation::DestroySystem {
            return Ok(());
        }
        let found = there::look(&self.system)?.messages.get("ORDERS").copied().unwrap_or_default();
        self.tally().messages_lost += self.written.saturating_sub(found);
        ensure!(found == self.written, "{found} messages are there, {} were written", self.written);
        let first = self.system.hosts()[0].name().to_owned();
        self.system.publish(&first, "orders.new", MESSAGES);
        self.written += MESSAGES;
        self.tally().messages_written += MESSAGES;
        wait_until("the messages", DEADLINE, || {
            Ok(there::look(&self.system)?.messages.get("ORDERS") == Some(&self.written))
        })
    }

    /// What is there is what is declared, once hosts have told each other: a host that was not told before the kill, of an
    /// account that nobody declares any more, hears of it from its neighbours.
    fn look_for_orphans(&mut self, operation: Operation) -> Result<()> {
        let is_destroyed = operation == Operation::DestroySystem;
        let declared: BTreeSet<Thing> = if is_destroyed {
            BTreeSet::new()
        } else {
            there::declared(&self.system.configuration).into_values().collect()
        };
        let mut last = There::default();
        let settled = wait_until("what is declared", SWEEP, || {
            last = there::look(&self.system)?;
            let runs = if is_destroyed { 0 } else { self.system.hosts().len() };
            Ok(last.things == declared && last.uneven.is_empty() && last.running.len() == runs)
        });
        let orphans: Vec<&Thing> = last.things.difference(&declared).collect();
        self.tally().orphans += orphans.len() as u64;
        settled.with_context(|| {
            let missing: Vec<&Thing> = declared.difference(&last.things).collect();
            let There { uneven, running, .. } = &last;
            format!("too much: {orphans:?}; missing: {missing:?}; uneven: {uneven:?}; running: {running:?}")
        })
    }

    fn tally(&self) -> MutexGuard<'a, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resources that the recovery replaced, made though state had them, or deleted though they are declared.
fn made_again(
    recovered: &Run,
    kept: &BTreeSet<String>,
    operation: Operation,
    declared: &BTreeMap<String, Thing>,
) -> Vec<String> {
    let is_wrong = |address: &String, action: Action| match action {
        Action::Replace => true,
        Action::Create => kept.contains(address),
        Action::Delete => declared.contains_key(address) && operation != Operation::DestroySystem,
        Action::Noop | Action::Read | Action::Update | Action::Remove | Action::Import => false,
    };
    let wrong = recovered.changes.iter().filter(|change| is_wrong(&change.address, change.action));
    wrong.map(|change| format!("{:?} of {}", change.action, change.address)).collect()
}
