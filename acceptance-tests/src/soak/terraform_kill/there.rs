//! What is there: in terraform's state, in the agents' ledgers, on the servers; and what the configuration wants there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use host_state::document::ClaimsSection;
use host_state::{SectionKind, layout};
use identity::{Authority, decode_account};
use serde_json::Value;

use crate::rig::agents::Host;
use crate::scenario::system::{System, monitor};

/// Something that a resource stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Cluster(String),
    Gateway(String),
    Account(String),
    User(String, String),
    Stream(String, String),
}

/// What the configuration declares, by address. The authority is nothing but keys.
pub(super) fn declared(configuration: &Value) -> BTreeMap<String, Thing> {
    let mut things = BTreeMap::new();
    let of = |kind: &str| configuration["resource"][kind].as_object().into_iter().flatten();
    let name = |block: &Value| block["name"].as_str().unwrap_or_default().to_owned();
    let account = |block: &Value| {
        let reference = block["account"].as_str().unwrap_or_default();
        let resource = reference.trim_start_matches("${nats_account.").trim_end_matches(".id}");
        name(&configuration["resource"]["nats_account"][resource])
    };
    let mut add = |kind: &str, make: &dyn Fn(&Value) -> Thing| {
        things.extend(of(kind).map(|(resource, block)| (format!("{kind}.{resource}"), make(block))));
    };
    add("nats_cluster", &|block| Thing::Cluster(name(block)));
    add("nats_gateway", &|block| Thing::Gateway(name(block)));
    add("nats_account", &|block| Thing::Account(name(block)));
    add("nats_user", &|block| Thing::User(account(block), name(block)));
    add("nats_stream", &|block| Thing::Stream(account(block), name(block)));
    things
}

/// Puts terraform's state back from its backup, as a person would, when the kill left it empty. Whether it did.
///
/// Terraform empties the file and then writes it, because its lock is on that very file.
/// Source: Terraform v1.11 internal/states/statemgr/filesystem.go (`writeState`).
pub(super) fn put_back_state(system: &System) -> Result<bool> {
    let module = system.supercluster.terraform.module();
    let (state, backup) = (module.join("terraform.tfstate"), module.join("terraform.tfstate.backup"));
    let is_torn = |text: &str| serde_json::from_str::<Value>(text).is_err();
    if !fs::read_to_string(&state).is_ok_and(|text| is_torn(&text)) {
        return Ok(false);
    }
    if backup.exists() {
        fs::copy(&backup, &state).context("put the state back")?;
    } else {
        // The first write of all: there was no state before.
        fs::remove_file(&state).context("remove the empty state")?;
    }
    Ok(true)
}

/// Addresses in terraform's state, and those of them that are tainted or deposed.
pub(super) fn state(system: &System) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut addresses, mut tainted) = (BTreeSet::new(), BTreeSet::new());
    let path = system.supercluster.terraform.module().join("terraform.tfstate");
    if !path.exists() {
        return Ok((addresses, tainted));
    }
    let text = fs::read_to_string(path).context("read the state")?;
    let state: Value =
        serde_json::from_str(&text).with_context(|| format!("understand the state `{text}`"))?;
    for resource in state["resources"].as_array().into_iter().flatten() {
        let part = |name: &str| resource[name].as_str().unwrap_or_default();
        let address = format!("{}.{}", part("type"), part("name"));
        for instance in resource["instances"].as_array().into_iter().flatten() {
            if !instance["status"].is_null() || !instance["deposed"].is_null() {
                tainted.insert(address.clone());
            }
            addresses.insert(address.clone());
        }
    }
    Ok((addresses, tainted))
}

/// What hosts and servers have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct There {
    /// On any host.
    pub(super) things: BTreeSet<Thing>,
    /// On some hosts and not on all, where all should have it.
    pub(super) uneven: BTreeSet<String>,
    /// Messages of each stream that a server shows, by its name.
    pub(super) messages: BTreeMap<String, u64>,
    /// Hosts whose server runs.
    pub(super) running: BTreeSet<String>,
}

/// Looks at every host.
pub(super) fn look(system: &System) -> Result<There> {
    let authority = system.authority();
    let mut there = There::default();
    let mut first: Option<BTreeSet<Thing>> = None;
    for host in system.hosts() {
        let claims = claims(host, &authority)?;
        if first.get_or_insert_with(|| claims.clone()) != &claims {
            there.uneven.insert(format!("claims of `{}`", host.name()));
        }
        for (kind, thing) in [
            (SectionKind::Cluster, Thing::Cluster as fn(String) -> Thing),
            (SectionKind::Gateway, Thing::Gateway),
        ] {
            let body = accepted(host, kind)?;
            let name = body[kind.to_string()].as_str().map(str::to_owned);
            // A host that was let go keeps the section without its release.
            there.things.extend(name.filter(|_| host.server_pid().is_some()).map(thing));
        }
        there.things.extend(claims);
        if host.server_pid().is_some() {
            there.running.insert(host.name().to_owned());
            streams(host, &authority, &mut there)?;
        }
    }
    Ok(there)
}

/// The body of the newest section of a kind that a host has taken in; null when there is none.
fn accepted(host: &Host, kind: SectionKind) -> Result<Value> {
    let path = host.state_dir().join(layout::LEDGER).join(layout::ledger_file(kind));
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
    let entry: Value =
        serde_json::from_str(&text).with_context(|| format!("understand `{}`", path.display()))?;
    let body = entry["content"]["accepted"]["body"].as_str().context("a ledger holds sections")?;
    serde_json::from_str(body).with_context(|| format!("understand the section in `{}`", path.display()))
}

/// Accounts and users in a host's ledger that were not deleted.
fn claims(host: &Host, authority: &Authority) -> Result<BTreeSet<Thing>> {
    let body = accepted(host, SectionKind::Claims)?;
    let mut things = BTreeSet::new();
    if body.is_null() {
        return Ok(things);
    }
    let section: ClaimsSection = serde_json::from_value(body).context("understand the claims")?;
    for entry in section.accounts.values().filter(|entry| !entry.tombstone) {
        things.insert(Thing::Account(entry.name.clone()));
        let jwt = entry.jwt.parse().context("understand an account's JWT")?;
        let decoded = decode_account(&jwt, &authority.trust()).context("understand an account's claims")?;
        let users = decoded.claims.scopes.keys();
        things.extend(users.map(|user| Thing::User(entry.name.clone(), user.to_string())));
    }
    Ok(things)
}

/// Streams that a host's server shows, of accounts that the ledgers name.
fn streams(host: &Host, authority: &Authority, there: &mut There) -> Result<()> {
    let told = monitor(host, "/jsz?accounts=true&streams=true")?;
    let names: BTreeMap<String, String> = there
        .things
        .iter()
        .filter_map(|thing| match thing {
            Thing::Account(name) => {
                Some((authority.account_key(&name.parse().ok()?).to_string(), name.clone()))
            }
            _ => None,
        })
        .collect();
    for account in told["account_details"].as_array().into_iter().flatten() {
        let key = account["name"].as_str().unwrap_or_default();
        let name = names.get(key).cloned().unwrap_or_else(|| key.to_owned());
        for stream in account["stream_detail"].as_array().into_iter().flatten() {
            let stream_name = stream["name"].as_str().unwrap_or_default().to_owned();
            let messages = stream["state"]["messages"].as_u64().unwrap_or_default();
            let most = there.messages.entry(stream_name.clone()).or_default();
            *most = messages.max(*most);
            there.things.insert(Thing::Stream(name.clone(), stream_name));
        }
    }
    Ok(())
}
