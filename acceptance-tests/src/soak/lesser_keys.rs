//! Lesser keys: a reader plans everything and changes nothing, an account's key manages that account and no other.
//!
//! Tried through the provider by real terraform, and around it: by calls and by NATS requests that the provider would
//! never make. What must not change is compared before and after. The last call is the operator's, with the very change
//! that all others were refused: it must go through, or the refusals would prove nothing.

mod calls;
mod plans;
mod snapshot;
mod subjects;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::scenario::system::System;
use calls::Callers;
use snapshot::Snapshot;

/// The account whose key is tried.
const OURS: &str = "orders";
/// An account that it must not reach.
const THEIRS: &str = "billing";

/// See the module.
///
/// # Errors
/// When the system cannot be laid out or asked.
pub fn prove(order: &Order) -> Result<Proof> {
    let is_sample = order.extent == Extent::Sample;
    let clusters: &[(&str, usize)] =
        if is_sample { &[("east", 2)] } else { &[("east", 3), ("west", 1), ("north", 1)] };
    let mut system = laid_out(clusters)?;
    let mut rows = Vec::new();
    let before = Snapshot::of(&system, &[OURS, THEIRS])?;
    let mut changed = Vec::new();
    let mut compare = |what: &str, system: &System| -> Result<()> {
        let differences = Snapshot::of(system, &[OURS, THEIRS])?.differences(&before);
        changed.extend(differences.into_iter().map(|it| format!("{what}: {it}")));
        Ok(())
    };
    let callers = Callers::of(&system)?;
    let tried = calls::try_all(&system, &callers)?;
    compare("calls", &system)?;
    let subjects = subjects::try_all(&system, &callers)?;
    compare("requests", &system)?;
    let reader = plans::reader(&mut system, is_sample)?;
    compare("reader", &system)?;
    let team = plans::account_key(&mut system, is_sample)?;
    compare("account key", &system)?;
    let operator = calls::operator_changes(&system)?;
    // Nobody is let into the account that is deleted now.
    let shown = Snapshot::of(&system, &[THEIRS])?.differences(&before).len();

    for line in
        tried.wrong.iter().chain(&subjects.wrong).chain(&reader.wrong).chain(&team.wrong).chain(&changed)
    {
        tell(line);
    }
    rows.extend(tried.rows());
    rows.extend(subjects.rows());
    rows.extend(reader.rows());
    rows.extend(team.rows());
    rows.push(Row::exactly(
        "differences afterwards in ledgers, digests, account JWTs, streams",
        changed.len(),
        0,
    ));
    rows.push(Row::exactly("the same change by the operator, accepted", operator, true));
    rows.push(Row::at_least("differences that this one makes", shown, 1));
    let what = format!("Reader, account key, wrong account and peer on {} hosts", system.hosts().len());
    Ok(Proof { what, rows })
}

/// What went wrong, for people; the table only counts.
#[expect(clippy::print_stdout, reason = "a broken promise is to be understood from what the proof prints")]
fn tell(line: &str) {
    println!("broken: {line}");
}

/// A running system with a second account and a user that may do anything in its account.
fn laid_out(clusters: &[(&str, usize)]) -> Result<System> {
    let mut system = System::lay_out(clusters);
    let seen = &mut system.configuration["resource"];
    let mut billing = seen["nats_account"]["orders"].clone();
    billing["name"] = THEIRS.into();
    let whole = billing["system"].clone();
    seen["nats_account"][THEIRS] = billing;
    seen["nats_user"]["free"] = json!({ "account": "${nats_account.orders.id}", "name": "free" });
    let mut invoices = seen["nats_stream"]["orders"].clone();
    invoices["account"] = "${nats_account.billing.id}".into();
    invoices["name"] = "INVOICES".into();
    invoices["subjects"] = json!(["invoices.>"]);
    seen["nats_stream"]["invoices"] = invoices;
    system.configuration["data"]["nats_supercluster"]["it"] = json!({ "system": whole });
    system.supercluster.fleet.start()?;
    let run = system.apply();
    ensure!(run.code == 0, "{run}");
    let first = system.hosts()[0].name().to_owned();
    system.publish(&first, "orders.a", 5);
    system.plan().unchanged().context("after everything was made")?;
    Ok(system)
}

/// What was tried and what came of it.
struct Tried {
    /// What a row calls it.
    what: &'static str,
    tried: usize,
    refused: usize,
    accepted: usize,
    /// How many were to be refused and accepted.
    promised: (usize, usize),
    /// A line for each that went otherwise.
    wrong: Vec<String>,
}

impl Tried {
    fn new(what: &'static str) -> Tried {
        Tried { what, tried: 0, refused: 0, accepted: 0, promised: (0, 0), wrong: Vec::new() }
    }

    /// Counts one; `outcome` says why it was refused, or nothing when it was accepted.
    fn count(&mut self, name: &str, may: bool, outcome: Result<(), String>) {
        self.tried += 1;
        match (&outcome, may) {
            (Ok(()), false) => self.wrong.push(format!("{name} was accepted")),
            (Err(why), true) => self.wrong.push(format!("{name} was refused: {why}")),
            (Ok(()), true) | (Err(_), false) => {}
        }
        *(if may { &mut self.promised.1 } else { &mut self.promised.0 }) += 1;
        *(if outcome.is_ok() { &mut self.accepted } else { &mut self.refused }) += 1;
    }

    fn rows(&self) -> Vec<Row> {
        let Tried { what, tried, refused, accepted, promised: (to_refuse, to_accept), wrong } = self;
        vec![
            Row::told(&format!("{what}, tried"), tried),
            Row::exactly(&format!("{what}, refused"), *refused, *to_refuse),
            Row::exactly(&format!("{what}, accepted"), *accepted, *to_accept),
            Row::exactly(&format!("{what}, with another outcome than promised"), wrong.len(), 0),
        ]
    }
}
