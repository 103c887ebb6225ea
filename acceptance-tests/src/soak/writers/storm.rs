//! Writers that start at once: each changes the cluster and the claims until it has had its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tfplug::Value;
use time::OffsetDateTime;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::audit::{Log, winners};
use super::rig::{self, Doors};
use crate::soak::chance::Chance;

/// How often one writer tries until it gives up: many times as many as there are writers.
const ATTEMPTS: u32 = 200;
/// The account that all writers put users into.
pub(super) const SHARED: &str = "orders";

/// One try of one writer.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) writer: String,
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
    /// What it was told; absent when it had its way.
    pub(super) problem: Option<String>,
}

/// What a round did.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Tries to change the cluster.
    pub(super) cluster: Vec<Attempt>,
    /// Tries to write an account, and a user of the shared one.
    pub(super) claims: Vec<Attempt>,
    /// Limits of each account that was written: connections.
    pub(super) accounts: BTreeMap<String, u64>,
    /// Users that were put into the shared account.
    pub(super) users: Vec<String>,
}

/// How a loser was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// The name of a writer that won.
    Winner,
    /// That a connection broke, and nobody's name.
    Broken,
    /// Neither.
    Nothing,
}

impl Attempt {
    /// How its problem, if any, names who was faster.
    pub(super) fn told(&self, logs: &[Log]) -> Option<Told> {
        let problem = self.problem.as_deref()?;
        let mut winners = winners(logs, self.from, self.to).into_iter().filter(|name| *name != self.writer);
        if winners.any(|name| problem.contains(name)) {
            return Some(Told::Winner);
        }
        let broken = [
            "broke during",
            "closed the connection",
            "cannot be reached",
            "did not answer",
            "does not answer",
        ];
        Some(if broken.iter().any(|text| problem.contains(text)) { Told::Broken } else { Told::Nothing })
    }
}

/// `writers` processes at once. `number` tells the rounds apart; `reloads` has the servers reload for each change.
pub(super) async fn round(
    doors: &Arc<Doors>,
    number: u64,
    writers: u64,
    reloads: bool,
    seed: u64,
) -> Result<Round> {
    let start = Arc::new(Barrier::new(usize::try_from(writers).context("so many writers")?));
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let (doors, start) = (Arc::clone(doors), Arc::clone(&start));
        let chance = Chance::of(seed, 1000 + number * 100 + writer);
        running.spawn(async move {
            let writer = Writer { number: writer, of: writers, round: number, reloads, chance };
            writer.run(&doors, &start).await
        });
    }
    let mut round = Round::default();
    while let Some(done) = running.join_next().await {
        let Round { cluster, claims, accounts, users } = done.context("a writer ended")??;
        round.cluster.extend(cluster);
        round.claims.extend(claims);
        round.accounts.extend(accounts);
        round.users.extend(users);
    }
    Ok(round)
}

struct Writer {
    number: u64,
    of: u64,
    round: u64,
    reloads: bool,
    chance: Chance,
}

impl Writer {
    async fn run(mut self, doors: &Doors, start: &Barrier) -> Result<Round> {
        let Self { number, of, round, .. } = self;
        let name = format!("writer {number} of {of} in round {round}");
        let provider = doors.provider(&name).await?;
        let mut instance = rig::import(&provider).await;
        start.wait().await;
        let mut done = Round::default();
        let settle = format!("{}ms", 1 + round * 20 + number);
        loop {
            let known = instance?;
            let connections = self.reloads.then_some(10_000 + round * 20 + number);
            let block = rig::block(&known, &settle, connections);
            let from = OffsetDateTime::now_utc();
            let problem = provider.apply("nats_cluster", Some(&known), block).await.err();
            let problem = problem.map(|problem| problem.diagnostics.to_string());
            let is_done = problem.is_none();
            done.cluster.push(Attempt { writer: name.clone(), from, to: OffsetDateTime::now_utc(), problem });
            if is_done {
                break;
            }
            if done.cluster.len() >= ATTEMPTS as usize {
                bail!("{name} never had its way, last: {:?}", done.cluster.last());
            }
            tokio::time::sleep(Duration::from_millis(20 + self.chance.number() % 300)).await;
            instance = rig::import(&provider).await;
        }
        let (account, user) = (format!("of-{number}"), format!("user-{round}-{number}"));
        let limit = 1 + round;
        let most = Value::from(i64::try_from(limit).unwrap_or(i64::MAX));
        let blocks = [
            (
                "nats_account",
                Value::object([
                    ("system", Value::from("acme/east")),
                    ("name", account.as_str().into()),
                    ("limits", Value::object([("connections", most)])),
                    ("deletion_protection", false.into()),
                ]),
            ),
            (
                "nats_user",
                Value::object([
                    ("account", Value::from(format!("acme/{SHARED}"))),
                    ("name", user.as_str().into()),
                ]),
            ),
        ];
        start.wait().await;
        let writes = blocks.map(|(kind, block)| {
            let (provider, writer) = (provider.clone(), name.clone());
            async move {
                let from = OffsetDateTime::now_utc();
                let problem = provider.apply(kind, None, block).await.err();
                let problem = problem.map(|problem| problem.diagnostics.to_string());
                Attempt { writer, from, to: OffsetDateTime::now_utc(), problem }
            }
        });
        let [first, second] = writes;
        let (first, second) = tokio::join!(first, second);
        if first.problem.is_none() {
            done.accounts.insert(account, limit);
        }
        if second.problem.is_none() {
            done.users.push(user);
        }
        done.claims.extend([first, second]);
        Ok(done)
    }
}
