//! Rotation under traffic: each key is raised twice by real terraform while clients publish and ask.
//!
//! The second generation overlaps with the first, the third ends it. So whatever was signed by the first is tried after
//! each: it must live through the second and be dead after the third, and nothing else may die with it. What names an
//! identity cannot be changed at all.

mod identities;
mod old_keys;
mod traffic;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::wait::wait_for;
use crate::scenario::system::{DEADLINE, System, varz};
use old_keys::OldKeys;
use traffic::{Counts, Traffic};

/// What is raised, and whether servers must restart to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    AccountSigning,
    Document,
    SystemAccountSigning,
    OperatorSigning,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::AccountSigning => "account signing key",
            Key::Document => "document key",
            Key::SystemAccountSigning => "system account signing key",
            Key::OperatorSigning => "operator signing key",
        }
    }

    /// Servers take another operator only at their start. Source: nats-config's table of reloads.
    fn restarts(self) -> bool {
        self == Key::OperatorSigning
    }

    fn raise(self, system: &mut System, generation: u32) {
        let attribute = match self {
            Key::AccountSigning => {
                system.resource("nats_account", "orders")["generation"] = generation.into();
                return;
            }
            Key::Document => "document",
            Key::SystemAccountSigning => "account_signing",
            Key::OperatorSigning => "operator_signing",
        };
        let authority = system.resource("nats_authority", "acme");
        if authority["generations"].is_null() {
            authority["generations"] = json!({});
        }
        authority["generations"][attribute] = generation.into();
    }
}

/// What came of all rotations.
#[derive(Default)]
struct Seen {
    rotations: usize,
    empty_plans: usize,
    /// Of rotations without restarts.
    disconnects: u64,
    lost_requests: u64,
    restarts: u64,
    /// Of those with.
    restarted: u64,
    disconnects_by_restart: u64,
    lost_requests_by_restart: u64,
    /// Things signed by a first generation, tried after a rotation; those that lived and died otherwise than promised.
    tried: usize,
    wrong: Vec<String>,
    /// The longest publish from its first try to its acknowledgement.
    longest_publish_ms: u64,
}

/// See the module.
///
/// # Errors
/// When the system cannot be laid out or asked, or a rotation cannot be applied.
pub fn prove(order: &Order) -> Result<Proof> {
    let is_sample = order.extent == Extent::Sample;
    let mut system = laid_out(if is_sample { 2 } else { 3 })?;
    let identities_before = identities::of(&system)?;
    let old = OldKeys::made(&system)?;
    let traffic = Traffic::start(&system)?;
    let mut seen = Seen::default();
    let plan: &[(Key, &[u32])] = match order.extent {
        Extent::Sample => &[(Key::AccountSigning, &[2]), (Key::Document, &[2])],
        Extent::Whole => &[(Key::AccountSigning, &[2, 3]), (Key::Document, &[2, 3])],
        // Also the keys whose third generation servers are not known to take: nothing is promised of them yet.
        Extent::Rounds(_) => &[
            (Key::AccountSigning, &[2, 3]),
            (Key::Document, &[2, 3]),
            (Key::SystemAccountSigning, &[2, 3]),
            (Key::OperatorSigning, &[2, 3]),
        ],
    };
    for (key, generations) in plan {
        for generation in *generations {
            rotate(&mut system, *key, *generation, &traffic, &old, &mut seen)
                .with_context(|| format!("{} to generation {generation}", key.name()))?;
        }
    }
    let counts = traffic.finish()?;
    let stored = stored(&system)?;
    let kept = identities::of(&system)? == identities_before;
    let refused = identities::changes_refused(&mut system)?;
    Ok(Proof { what: what(&system, plan), rows: rows(&seen, &counts, stored, kept, &refused) })
}

fn what(system: &System, plan: &[(Key, &[u32])]) -> String {
    let keys: Vec<String> =
        plan.iter().map(|(key, to)| format!("{} ({} times)", key.name(), to.len())).collect();
    format!(
        "Raised under traffic on {} servers, one after the other: {}",
        system.hosts().len(),
        keys.join(", ")
    )
}

fn laid_out(hosts: usize) -> Result<System> {
    let mut system = System::lay_out(&[("east", hosts)]);
    system.resource("nats_account", "orders")["deletion_protection"] = true.into();
    system.configuration["resource"]["nats_user"]["free"] =
        json!({ "account": "${nats_account.orders.id}", "name": "free" });
    system.supercluster.fleet.start()?;
    system.apply();
    system.plan().unchanged().context("after everything was made")?;
    Ok(system)
}

fn starts(system: &System) -> BTreeMap<String, Value> {
    system.hosts().iter().map(|host| (host.name().to_owned(), varz(host)["start"].clone())).collect()
}

/// One generation more, applied and looked at.
fn rotate(
    system: &mut System,
    key: Key,
    generation: u32,
    traffic: &Traffic,
    old: &OldKeys,
    seen: &mut Seen,
) -> Result<()> {
    let (before, started) = (traffic.counts(), starts(system));
    key.raise(system, generation);
    system.write();
    system.supercluster.terraform.apply()?.succeeded()?;
    let run = system.plan();
    seen.rotations += 1;
    seen.empty_plans += usize::from(run.clone().unchanged().is_ok());
    if let Err(why) = run.unchanged() {
        seen.wrong.push(format!("{} {generation}: {why:#}", key.name()));
    }
    traffic.flow()?;
    let after = traffic.counts();
    let restarts =
        starts(system).iter().filter(|(host, start)| started.get(*host) != Some(*start)).count() as u64;
    let disconnects = after.disconnects - before.disconnects;
    let lost = after.lost_requests - before.lost_requests;
    if key.restarts() {
        seen.restarted += restarts;
        seen.disconnects_by_restart += disconnects;
        seen.lost_requests_by_restart += lost;
    } else {
        seen.restarts += restarts;
        seen.disconnects += disconnects;
        seen.lost_requests += lost;
    }
    seen.longest_publish_ms = after.longest_publish_ms;
    for (what, promised, found) in old.tried(system, key, generation)? {
        seen.tried += 1;
        if promised != found {
            let how = |lives: bool| if lives { "lives" } else { "is dead" };
            let line = format!(
                "{} {generation}: {what} {}, promised that it {}",
                key.name(),
                how(found),
                how(promised)
            );
            seen.wrong.push(line);
        }
    }
    Ok(())
}

/// Messages in the stream, once its leader says.
fn stored(system: &System) -> Result<u64> {
    wait_for("the stream to be counted", DEADLINE, || traffic::stored(system).map(Some))
}

fn rows(seen: &Seen, counts: &Counts, stored: u64, kept: bool, refused: &identities::Refused) -> Vec<Row> {
    for line in seen.wrong.iter().chain(&refused.wrong) {
        tell(line);
    }
    let lost = counts.acknowledged.saturating_sub(stored);
    vec![
        Row::exactly("rotations with an empty plan after", seen.empty_plans, seen.rotations),
        Row::told("messages acknowledged", counts.acknowledged),
        Row::exactly("acknowledged messages lost", lost, 0),
        Row::told("longest publish until acknowledged, ms", seen.longest_publish_ms),
        Row::told("requests answered", counts.answered),
        Row::exactly("servers restarted by rotations that need none", seen.restarts, 0),
        Row::exactly("connections lost by them", seen.disconnects, 0),
        Row::exactly("requests lost by them", seen.lost_requests, 0),
        Row::told("servers restarted for another operator signing key", seen.restarted),
        Row::at_most(
            "connections lost by that",
            seen.disconnects_by_restart,
            seen.restarted * counts.a_server,
        ),
        Row::told("requests lost by that", seen.lost_requests_by_restart),
        Row::told("credentials, keys and signatures of first generations tried", seen.tried),
        Row::exactly("of them with another fate than promised", seen.wrong.len(), 0),
        Row::exactly("public identities as before", kept, true),
        Row::exactly("changes of identities refused at plan", refused.refused, refused.tried),
    ]
}

/// What went wrong, for people; the table only counts.
#[expect(clippy::print_stdout, reason = "a broken promise is to be understood from what the proof prints")]
fn tell(line: &str) {
    println!("broken: {line}");
}
