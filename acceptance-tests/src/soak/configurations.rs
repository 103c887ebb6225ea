//! Configurations: what we call valid the real server takes with exactly the digest that we computed, what is wrong our
//! own rules refuse before anything is sent, trials keep nothing of their original, and reloads cost what we say.

mod accepted;
mod coverage;
mod faults;
mod lone;
mod shadowed;
mod topology;

use anyhow::Result;

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::lone_server::reloading::{Tried, try_every_rule};

/// One in so many topologies is started.
const BOOT_EVERY: u64 = 50;
/// So many topologies show every field with more than one value.
const ENOUGH: u64 = 1_000;
/// How many declarations are planned for one topology.
const DECLARATIONS: u64 = 1;
/// How many faults are put into configurations for one topology, and at least.
const FAULTS: (u64, u64) = (10, 3_000);

/// Runs the proof. A round is a topology.
///
/// # Errors
/// When it cannot be run; what it finds is in its rows.
pub fn prove(order: &Order) -> Result<Proof> {
    let topologies = order.rounds(100, 10_000);
    let accepted = accepted::try_all(order.seed, topologies, BOOT_EVERY)?;
    let faults = faults::refuse(order.seed, (topologies * FAULTS.0).max(FAULTS.1))?;
    let declared = faults::refuse_declarations(order.seed, (topologies * DECLARATIONS).max(200))?;
    let what = format!(
        "{topologies} random topologies of 1 to 5 clusters with 1 to 7 nodes each, one server of each and a quarter as \
         many configurations with settings that no topology has asked of nats-server"
    );
    let missing = accepted.coverage.missing();
    let fields = accepted.coverage.all().len();
    let wrong = [&accepted.wrong, &faults.wrong, &declared.wrong];
    let wrong: Vec<&str> = wrong.iter().copied().flatten().map(String::as_str).collect();
    let often = "fields of the model that occurred with two values or more";
    // In a few, some fields are bound to have one value only.
    let occurred = if topologies < ENOUGH {
        Row::told(often, fields - missing.len())
    } else {
        Row::exactly(often, fields - missing.len(), fields)
    };
    let mut rows = vec![
        Row::told("servers in them", accepted.servers),
        Row::exactly("topologies and configurations that our own rules refuse", accepted.refused_by_us, 0),
        Row::told("configurations given to `nats-server -t`", accepted.configurations),
        Row::exactly("accepted with exactly our digest", accepted.accepted, accepted.configurations),
        Row::at_least("of them started", accepted.started, topologies.div_ceil(BOOT_EVERY)),
        Row::exactly("started, with our digest in `/varz`", accepted.booted, accepted.started),
        occurred,
        Row::told("fields without", shown(&missing)),
        Row::told("trials looked through", accepted.shadows),
        Row::exactly("trials that keep an address, name or directory", accepted.leaks, 0),
        Row::told("kinds of single fault", faults.kinds + declared.kinds),
        Row::exactly(
            "of them put in",
            faults.kinds_put + declared.kinds_put,
            faults.kinds + declared.kinds.min(usize::try_from(declared.put)?),
        ),
        Row::told("of them known mistakes, such as `routes` at the top", faults.mistakes),
        Row::exactly("fields of the model with a fault", faults.fields_put, faults.fields),
        Row::told("configurations with a single fault", faults.put),
        Row::told("refused by a rule that names the field", faults.by_rule),
        Row::told("refused by the types, so that it cannot be written down", faults.by_type),
        Row::exactly("refused", faults.by_rule + faults.by_type, faults.put),
        Row::told("declarations with a single fault", declared.put),
        Row::exactly("refused at plan, at the attribute", declared.refused, declared.put),
    ];
    // Its sample is a test of its own, which tries all of it as well.
    if order.extent == Extent::Whole {
        let Tried { changes, rules, untried, wrong } = try_every_rule()?;
        rows.extend([
            Row::exactly("rules of the reload table tried, both ways", rules - untried.len(), rules),
            Row::told("changes made for that", changes),
            Row::exactly("changes that the server took otherwise than we say", wrong.len(), 0),
        ]);
    }
    let wrong = if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("; ") };
    rows.push(Row::exactly("what went wrong, the first of it", wrong, "nothing".to_owned()));
    Ok(Proof { what, rows })
}

fn shown(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}
