//! Two writers, and sixteen: providers that change the same hosts at once, over connections that break.
//!
//! Many providers in this process, each as a process of its own would be, give the volume; terraform with the built
//! provider gives a share. The agents and nats-servers are real. What happened is read from the agents' logs and
//! ledgers, not from what the writers believe.

mod audit;
mod proxy;
mod rig;
mod storm;
mod terraform;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use self::rig::Rig;
use self::storm::{Attempt, Round, SHARED, Told};
use super::proof::{Proof, Row};
use super::{Extent, Order};

/// One connection in so many is lost.
const LOST: u64 = 10;

/// Writers in each round, and whether their changes reload servers.
const WHOLE: [(u64, bool); 18] = [
    (2, false),
    (2, true),
    (16, false),
    (2, false),
    (3, true),
    (16, false),
    (2, false),
    (4, false),
    (2, true),
    (16, false),
    (2, false),
    (8, false),
    (16, false),
    (2, false),
    (12, false),
    (2, false),
    (16, false),
    (2, true),
];
const SAMPLE: [(u64, bool); 2] = [(2, false), (4, false)];

/// Terraform processes at once, in each round of theirs.
const TERRAFORMS: [usize; 3] = [2, 4, 2];

/// See the module.
///
/// # Errors
/// When the system does not come up, or a writer never has its way.
pub fn prove(order: &Order) -> Result<Proof> {
    // Roads and providers live in it; terraform and what reads its answers run on this thread.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let rounds: Vec<(u64, bool)> = match order.extent {
        Extent::Sample => SAMPLE.to_vec(),
        Extent::Whole => WHOLE.to_vec(),
        Extent::Rounds(count) => WHOLE.into_iter().cycle().zip(0..count).map(|(round, _)| round).collect(),
    };
    let mut rig = Rig::start(&runtime, LOST, order.seed)?;
    let doors = Arc::new(rig.doors());
    let calm = rig.connections();
    rig.set_stormy(true);
    let mut done: Vec<(u64, Round)> = Vec::new();
    for (number, (writers, reloads)) in (1..).zip(rounds) {
        let round = runtime.block_on(storm::round(&doors, number, writers, reloads, order.seed));
        done.push((writers, round.with_context(|| format!("round {number} of {writers} writers"))?));
    }
    let mut terraforms = Vec::new();
    if order.extent != Extent::Sample {
        for (number, writers) in (1..).zip(TERRAFORMS) {
            terraforms.push(terraform::round(&rig, number, writers)?);
        }
    }
    let stormy = rig.connections();
    rig.set_stormy(false);
    let mut rows = vec![
        Row::told("connections made while it stormed", stormy.0 - calm.0),
        Row::at_least("of them cut", stormy.1 - calm.1, 1),
    ];
    let logs = rig.logs()?;
    let tally = |writers: Option<u64>, of: fn(&Round) -> &Vec<Attempt>| {
        let rounds = done.iter().filter(|(count, _)| writers.is_none_or(|writers| writers == *count));
        let attempts: Vec<&Attempt> = rounds.flat_map(|(_, round)| of(round)).collect();
        Tally::of(&attempts, &logs)
    };
    let largest = done.iter().map(|(writers, _)| *writers).max().unwrap_or_default();
    for writers in [2, largest] {
        rows.extend(
            tally(Some(writers), |round| &round.cluster).rows(&format!("{writers} writers of the cluster")),
        );
        rows.extend(
            tally(Some(writers), |round| &round.claims).rows(&format!("{writers} writers of claims")),
        );
    }
    rows.extend(tally(None, |round| &round.cluster).rows("2 to 16 writers of the cluster"));
    let claims = tally(None, |round| &round.claims);
    rows.extend(claims.rows("2 to 16 writers of claims"));
    rows.push(Row::exactly("claims that were not written in the end", claims.lost(), 0));
    if order.extent != Extent::Sample {
        let attempts: Vec<&Attempt> = terraforms.iter().flat_map(|round| &round.attempts).collect();
        rows.extend(Tally::of(&attempts, &logs).rows("2 to 4 terraform processes"));
    }
    rows.extend(audit_rows(&audit::check(&logs)));
    rows.push(Row::exactly("hosts with other claims than the first", differing(&rig.accounts()?), 0));
    rows.push(Row::exactly("hosts told another cluster than the first", differing(&rig.clusters()?), 0));
    let mut accounts: BTreeMap<String, u64> = BTreeMap::new();
    let mut users: Vec<String> = Vec::new();
    for (_, round) in done {
        accounts.extend(round.accounts);
        users.extend(round.users);
    }
    users.extend(terraforms.into_iter().flat_map(|round| round.users));
    rows.push(Row::told("accounts written, the last word of each", accounts.len()));
    rows.push(Row::told("users written into one account by all", users.len()));
    rows.push(Row::exactly("of them missing or older on some host", missing(&rig, &accounts, &users)?, 0));
    let left = converge(&mut rig, &accounts, &users)?;
    rows.push(Row::exactly("changes in the plan after one more apply", left, 0));
    Ok(Proof {
        what: format!(
            "Providers that start at once on a cluster of three, real agents and nats-servers, one connection in {LOST} \
             cut at a random byte"
        ),
        rows,
    })
}

/// What came of attempts.
struct Tally {
    done: usize,
    told: BTreeMap<Told, usize>,
}

impl Tally {
    fn of(attempts: &[&Attempt], logs: &[audit::Log]) -> Self {
        let mut told = BTreeMap::new();
        for attempt in attempts {
            let Some(how) = attempt.told(logs) else { continue };
            if how != Told::Winner {
                tracing_line(attempt, how);
            }
            *told.entry(how).or_default() += 1;
        }
        Self { done: attempts.iter().filter(|attempt| attempt.problem.is_none()).count(), told }
    }

    fn lost(&self) -> usize {
        self.told.values().sum()
    }

    fn rows(&self, what: &str) -> [Row; 3] {
        let count = |told| self.told.get(&told).copied().unwrap_or_default();
        [
            Row::told(
                &format!("{what}: changes made, tries that lost, tries that a broken connection ended"),
                format!(
                    "{}, {}, {}",
                    self.done,
                    count(Told::Winner) + count(Told::Nothing),
                    count(Told::Broken)
                ),
            ),
            Row::exactly(&format!("{what}: losers not told the winner's name"), count(Told::Nothing), 0),
            Row::exactly(&format!("{what}: tries ended by a broken connection"), count(Told::Broken), 0),
        ]
    }
}

#[expect(clippy::print_stderr, reason = "a broken promise is looked into by what was told")]
fn tracing_line(attempt: &Attempt, how: Told) {
    let Attempt { writer, from, to, problem } = attempt;
    eprintln!("{how:?}: {writer} from {from} to {to}: {}", problem.as_deref().unwrap_or_default());
}

fn audit_rows(findings: &audit::Findings) -> Vec<Row> {
    let audit::Findings {
        cluster_sections,
        claims_generations,
        grants,
        branches,
        rewritten,
        second_holders,
        without_lease,
        gaps,
    } = findings;
    let none = |what: &str, found: &[String]| {
        let found = if found.is_empty() { "none".to_owned() } else { found.join("; ") };
        Row::exactly(what, found, "none".to_owned())
    };
    vec![
        Row::told("cluster sections taken in by hosts", cluster_sections),
        Row::told("generations of claims", claims_generations),
        Row::told("claims that a host took in without the one before, having missed it", gaps),
        Row::told("leases granted by hosts", grants),
        none("sections whose parent is not the one before", branches),
        none("numbers with two contents", rewritten),
        none("leases granted beside a living one", second_holders),
        none("cluster sections taken in from who did not hold the lease", without_lease),
    ]
}

fn differing<T: PartialEq>(of_hosts: &[T]) -> usize {
    of_hosts.iter().filter(|of_host| Some(*of_host) != of_hosts.first()).count()
}

/// Accounts that a host does not have as they were last written, and users that it does not have.
fn missing(rig: &Rig, accounts: &BTreeMap<String, u64>, users: &[String]) -> Result<usize> {
    let mut missing = 0;
    for found in rig.accounts()? {
        missing += accounts
            .iter()
            .filter(|(name, limit)| {
                let connections = found.get(*name).and_then(|claims| claims.limits.connections);
                connections != Some(**limit)
            })
            .count();
        let scopes = found.get(SHARED).map(|claims| &claims.scopes);
        let has = |user: &String| {
            scopes.is_some_and(|scopes| scopes.keys().any(|scope| scope.as_str() == user.as_str()))
        };
        missing += users.iter().filter(|user| !has(user)).count();
    }
    Ok(missing)
}

/// Declares all that was written, applies it over calm roads and counts what the next plan would do.
fn converge(rig: &mut Rig, accounts: &BTreeMap<String, u64>, users: &[String]) -> Result<usize> {
    for (name, limit) in accounts {
        let account = json!({
            "system": "${nats_cluster.east.id}",
            "name": name,
            "limits": { "connections": limit },
            "deletion_protection": false,
        });
        rig.system.configuration["resource"]["nats_account"][name] = account;
    }
    for name in users {
        rig.system.configuration["resource"]["nats_user"][name] =
            json!({ "account": format!("${{nats_account.{SHARED}.id}}"), "name": name });
    }
    rig.system.apply();
    let plan = rig.system.plan();
    ensure!(plan.code != 1, "the plan failed: {plan}");
    Ok(plan.changes.len())
}
