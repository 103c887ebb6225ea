//! The share of terraform: workspaces that hold copies of one state, all applied at once, each until it has had its way.

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::rig::Rig;
use super::storm::{Attempt, SHARED};
use crate::rig::terraform::Workspace;

/// How often one workspace is applied until it has had its way.
const ATTEMPTS: usize = 30;

/// What a round of workspaces did.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) attempts: Vec<Attempt>,
    pub(super) users: Vec<String>,
}

/// `writers` workspaces at once; `number` tells the rounds apart.
pub(super) fn round(rig: &Rig, number: u64, writers: usize) -> Result<Round> {
    let mut running = Vec::new();
    for writer in 0..writers {
        let (configuration, user) = configuration(rig, number, writer);
        let workspace = rig.system.somebody_elses(&configuration)?;
        running.push(std::thread::spawn(move || applied(&workspace, &format!("terraform {writer}"), user)));
    }
    let mut round = Round::default();
    for done in running {
        let (attempts, user) = done.join().map_err(|_| anyhow!("a terraform's thread panicked"))??;
        round.attempts.extend(attempts);
        round.users.push(user);
    }
    Ok(round)
}

/// The system's configuration with a change of the cluster, and a user that this workspace alone declares.
fn configuration(rig: &Rig, round: u64, writer: usize) -> (Value, String) {
    let mut configuration = rig.system.configuration.clone();
    let user = format!("terraform-{round}-{writer}");
    let resources = &mut configuration["resource"];
    resources["nats_cluster"]["east"]["rollout"]["settle"] =
        json!(format!("{}ms", 700 + round * 10 + writer as u64));
    resources["nats_user"][&user] =
        json!({ "account": format!("${{nats_account.{SHARED}.id}}"), "name": user });
    (configuration, user)
}

fn applied(workspace: &Workspace, name: &str, user: String) -> Result<(Vec<Attempt>, String)> {
    let mut attempts = Vec::new();
    loop {
        let from = OffsetDateTime::now_utc();
        let run = workspace.apply()?;
        let problem = (run.code != 0).then(|| run.error_text());
        let is_done = problem.is_none();
        attempts.push(Attempt { writer: name.to_owned(), from, to: OffsetDateTime::now_utc(), problem });
        if is_done {
            return Ok((attempts, user));
        }
        if attempts.len() >= ATTEMPTS {
            bail!("{name} never had its way: {run}");
        }
    }
}
