//! From one to three: a cluster that runs with streams and traffic, two fresh ones that join it by a gateway, and a host
//! that was marked `absent` and comes later.
//!
//! Nothing here is random; the seed changes nothing.

mod leader;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::agents::Host;
use crate::scenario::steady::{Counted, Steady, publishes, stored, subscriptions};
use crate::scenario::system::{System, monitor};
use crate::scenario::traffic;

use leader::Watch;

/// Messages in each stream before anything grows.
const BEFORE: u64 = 200;
/// The host that is marked `absent` at first; a sample does without.
const ABSENT: &str = "north-3";

/// Grows while clients publish and somebody looks for a meta leader.
///
/// # Errors
/// When terraform refuses, or the system cannot be asked.
pub fn prove(order: &Order) -> Result<Proof> {
    let (clusters, absent): (&[_], _) = match order.extent {
        Extent::Sample => (&[("east", 3), ("west", 1)], None),
        Extent::Whole | Extent::Rounds(_) => (&[("east", 3), ("west", 3), ("north", 3)], Some(ABSENT)),
    };
    let mut system = System::lay_out(clusters);
    let whole = declare_one(&mut system, absent);
    for name in names(&system).into_iter().filter(|name| Some(name.as_str()) != absent) {
        system.host_mut(&name).start()?;
    }
    system.apply();
    system.plan_is_empty();
    for subject in ["orders.before", "single.before"] {
        system.publish("east-1", subject, BEFORE);
    }
    let servers: Vec<_> = formed(&system).map(Host::server_pid).collect();

    let watch = Watch::start(system.hosts());
    let traffic = Steady::start(formed(&system), &system.credentials(), Duration::from_millis(20))?;
    system.configuration = whole;
    let mut rows = step(&system, "apply that takes the cluster into a gateway with fresh ones")?;
    let now = formed(&system).map(Host::server_pid);
    let restarted = now.zip(&servers).filter(|(now, before)| now != *before).count();
    rows.push(Row::exactly(
        "servers of the formed cluster that restarted, one at a time",
        restarted,
        servers.len(),
    ));
    if let Some(absent) = absent {
        system.host_mut(absent).start()?;
        system.resource("nats_cluster", "north")["nodes"][absent]["absent"] = json!(false);
        rows.extend(step(&system, "apply that takes in the host that was `absent`")?);
    }
    let counted = traffic.finish()?;
    rows.extend(watch.finish()?.rows());
    rows.extend(messages(&system, &counted)?);
    let fresh = system.hosts().len() - servers.len() - usize::from(absent.is_some());
    let later = if absent.is_some() { "; then one more, marked `absent` before" } else { "" };
    let what = format!(
        "A formed cluster of {} with two streams under steady publishes, and {fresh} fresh hosts of other clusters joined to \
         it by a new `nats_gateway` in one apply{later}",
        servers.len(),
    );
    Ok(Proof { what, rows })
}

/// Applies what is declared, and counts who is in the meta group then and what the next plan finds.
fn step(system: &System, what: &str) -> Result<Vec<Row>> {
    let applied = system.apply();
    let present = system.hosts().iter().filter(|host| host.server_pid().is_some()).count();
    let found = u64::from(system.plan().unchanged().is_err());
    Ok(vec![
        Row::told(what, format!("{:.0} s", applied.elapsed.as_secs_f64())),
        Row::exactly("servers in the meta group after it", meta_members(system)?, present as u64),
        Row::exactly("plans after it that find something to do", found, 0),
    ])
}

/// What became of the messages of before and of those that came meanwhile, read in a cluster that is new.
fn messages(system: &System, counted: &Counted) -> Result<Vec<Row>> {
    let credentials = system.credentials();
    let host = system.host("west-1");
    let (orders, single) = traffic::talk(async {
        let client = traffic::connect(host, &credentials).await?;
        Ok((stored(&client, "ORDERS").await?, stored(&client, "SINGLE").await?))
    })?;
    let before = |texts: &BTreeMap<String, u64>| {
        (0..BEFORE).filter(|number| texts.contains_key(&format!("message {number}"))).count() as u64
    };
    let lost = counted.acknowledged.iter().filter(|text| !orders.contains_key(*text)).count();
    let twice = orders.values().filter(|times| **times > 1).count();
    let longest = format!("{} ms", counted.longest_publish.as_millis());
    Ok(vec![
        Row::exactly("messages of before that are in the stream of three replicas", before(&orders), BEFORE),
        Row::exactly("messages of before that are in the stream of one", before(&single), BEFORE),
        Row::told("messages acknowledged while it grew", counted.acknowledged.len()),
        Row::exactly("acknowledged messages that are lost", lost, 0),
        Row::exactly("messages that are there twice", twice, 0),
        Row::told("publishes made again while a server restarted", counted.repeated),
        Row::told("longest time from a publish to its acknowledgement", longest),
    ])
}

/// Declares the first cluster alone, with a replicated stream and one that is not. Returns what is declared later.
fn declare_one(system: &mut System, absent: Option<&str>) -> Value {
    let mut single = system.resource("nats_stream", "orders").clone();
    single["name"] = json!("SINGLE");
    single["subjects"] = json!(["single.>"]);
    single["replicas"] = json!(1);
    *system.resource("nats_stream", "single") = single;
    let user = system.resource("nats_user", "service");
    user["publish"] = publishes();
    user["subscribe"] = subscriptions();
    for part in ["publish", "subscribe"] {
        if let Some(allowed) = user[part]["allow"].as_array_mut() {
            allowed.push(json!("single.>"));
        }
    }
    if let Some(absent) = absent {
        system.resource("nats_cluster", "north")["nodes"][absent]["absent"] = json!(true);
    }
    let whole = system.configuration.clone();
    let clusters: BTreeSet<String> = system.hosts().iter().map(|host| host.cluster().to_owned()).collect();
    for later in clusters.iter().filter(|cluster| *cluster != "east") {
        system.forget("nats_cluster", later);
    }
    system.forget("nats_gateway", "global");
    system.resource("nats_cluster", "east")["gateway"] = json!(false);
    system.resource("nats_account", "orders")["system"] = json!("${nats_cluster.east.id}");
    whole
}

fn names(system: &System) -> Vec<String> {
    system.hosts().iter().map(|host| host.name().to_owned()).collect()
}

/// Hosts of the cluster that is there from the beginning.
fn formed(system: &System) -> impl Iterator<Item = &Host> {
    system.hosts().iter().filter(|host| host.cluster() == "east")
}

/// How many members the meta leader counts.
fn meta_members(system: &System) -> Result<u64> {
    let own = |host: &Host| {
        let jsz = monitor(host, "/jsz").ok()?;
        let meta = &jsz["meta_cluster"];
        (meta["leader"] == host.name()).then(|| meta["cluster_size"].as_u64()).flatten()
    };
    system.hosts().iter().find_map(own).context("no server leads the meta group")
}
