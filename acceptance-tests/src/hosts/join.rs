//! Who tries to join hosts that are not theirs, before and after the owner has: each attempt is refused and leaves the host
//! as it was, and the owner joins it all the same.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use host_state::layout;
use identity::{Authority, ClientIdentity, Enrollment, Generations, HostNames, Role};
use nats_agent::applier::claim::TOKEN_LIFE_SECONDS;
use nats_agent::applier::ledger::checked_text;
use nats_agent_api::order::ClaimOffer;
use nats_agent_api::{ClaimBinding, claim};
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Stage;
use super::middle::Middle;
use super::stage::{AGENT_TIMEOUT, AGENT_UNITS};
use super::system::System;
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts};
use crate::rig::loopback::AGENT_PORT;
use crate::scenario::supercluster::{AUTHORITY, random_root_key};
use crate::scenario::traffic;

/// Hosts that the owner's apply meets in the wrong state, one in each site.
const BEHIND_SOMEBODY: &str = "east-2";
const OF_ANOTHER_HOST: &str = "west-2";
const OF_ANOTHER_AUTHORITY: &str = "north-2";
/// The host whose token is too old afterwards: one that is still nobody's, as its neighbours may not be.
const EXPIRED: &str = OF_ANOTHER_HOST;
/// The host that thieves try by themselves.
const TRIED: &str = "east-3";
/// The host that is somebody else's machine for a while.
const IMPOSTOR: &str = "north-3";
/// How long each step of a claim may take.
const STEP: Duration = Duration::from_secs(10);
/// How long a certificate that is made here is good.
const VALIDITY: Duration = Duration::from_secs(3600);
/// How long an apply waits for a host whose door is shut.
const WAIT: &str = "20s";
/// What a provider says of one: of an agent that has seen the token's end, and of one that was started after it.
const SHUT: [&str; 2] = ["does not take the token any more", "wait for its enrolment"];
/// Beyond the life of a token, seconds.
const OLD_SECONDS: i64 = TOKEN_LIFE_SECONDS + 1;

/// What was tried, and what came of it.
#[derive(Default)]
struct Tried {
    refused: usize,
    attempts: Vec<(String, String)>,
    succeeded: Vec<String>,
}

impl Tried {
    fn note(&mut self, what: &str, refusal: Result<(), String>) {
        match refusal {
            Err(why) => {
                self.refused += 1;
                self.attempts.push((what.to_owned(), why));
            }
            Ok(()) => self.succeeded.push(what.to_owned()),
        }
    }
}

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let (hosts, system) = stage.declared()?;
    let owner = authority(system.root_key())?;
    let thief = authority(&random_root_key()?)?;
    system.enroll(hosts)?;
    let mut tried = Tried::default();
    before(hosts, &owner, &thief, &mut tried)?;
    let between = owners_apply(hosts, system, &owner, &thief, &mut tried)?;
    let claimed = hosts.all().iter().filter(|host| is_claimed(host)).count();

    let (hosts, system) = stage.supercluster()?;
    let joined = hosts.all().iter().filter(|host| is_claimed(host)).count();
    after(hosts, &owner, &thief, &mut tried)?;
    impostor(hosts, system, &owner, &mut tried)?;
    system.plan()?.unchanged()?;

    let Tried { refused, attempts, succeeded } = tried;
    let mut rows = vec![
        Row::exactly("attempts to join that were refused", refused, refused + succeeded.len()),
        Row::at_least("connections on which somebody stood in the middle", between, 1),
        // What is refused beside the five belongs to sites that no attempt kept from being joined.
        Row::told("hosts claimed by applies that met an attempt", claimed),
        Row::exactly("hosts that their owner joined after it", joined, hosts.all().len()),
    ];
    rows.extend(attempts.iter().map(|(what, why)| Row::told(what, why)));
    rows.extend(succeeded.iter().map(|what| Row::exactly(what, "succeeded", "refused")));
    Ok(rows)
}

/// Thieves at a host that was enrolled and not claimed yet.
fn before(hosts: &Hosts, owner: &Authority, thief: &Authority, tried: &mut Tried) -> Result<()> {
    let host = hosts.host(TRIED)?;
    let own = |authority: &Authority, name: &str| -> Result<Enrollment> {
        Ok(authority.enrollment(name.parse().context("a host's name")?, 1))
    };
    let cases = [
        ("stolen token, certificate of another authority", thief, own(owner, TRIED)?),
        ("token and certificate of another authority", thief, own(thief, TRIED)?),
        ("token of another authority, certificate of the owner", owner, own(thief, TRIED)?),
        ("token of another host, certificate of the owner", owner, own(owner, "east-1")?),
    ];
    for (what, caller, enrollment) in cases {
        let refusal = attempt(host, caller, &enrollment)?;
        tried.note(what, refusal);
        ensure!(!is_claimed(host), "{what}: {TRIED} is claimed");
    }
    Ok(())
}

/// Applies of the owner that meet a host in the hands of somebody, one whose enrolment is for another host, one that is
/// enrolled for another authority, and one whose token is too old. Gives on how many connections somebody stood between.
fn owners_apply(
    hosts: &Hosts,
    system: &mut System,
    owner: &Authority,
    thief: &Authority,
    tried: &mut Tried,
) -> Result<usize> {
    let enroll = |host: &str, authority: &Authority, name: &str| -> Result<()> {
        let text = authority.enrollment(name.parse().context("a host's name")?, 1).to_text();
        let host = hosts.host(host)?;
        host.run_with(&["nats-agent", "enroll"], text.as_bytes())?;
        seen(host, |kept| kept["text"].as_str() == Some(text.trim())).map(drop)
    };
    enroll(OF_ANOTHER_HOST, owner, "west-3")?;
    enroll(OF_ANOTHER_AUTHORITY, thief, OF_ANOTHER_AUTHORITY)?;
    let middle = Middle::stand(hosts.host(BEHIND_SOMEBODY)?.address(), &certificate(owner)?)?;
    let run = system.try_apply(hosts)?;
    let between = middle.between();
    drop(middle);
    let text = run.error_text();
    let cases = [
        (BEHIND_SOMEBODY, "apply through somebody in the middle", "does not take the token"),
        (OF_ANOTHER_HOST, "apply to a host with the enrolment of another host", "does not take the token"),
        (OF_ANOTHER_AUTHORITY, "apply to a host enrolled for another authority", "not under the fleet CA"),
    ];
    for (name, what, words) in cases {
        let line = text.lines().find(|line| line.contains(&format!("`{name}`")) && line.contains(words));
        let refused = line.filter(|_| run.code != 0).map(str::to_owned);
        ensure!(
            refused.is_some() || is_claimed(hosts.host(name)?),
            "{what}: another end than expected: {run}"
        );
        tried.note(what, refused.map_or(Ok(()), Err));
        ensure!(!is_claimed(hosts.host(name)?), "{what}: {name} is claimed");
    }
    enroll(OF_ANOTHER_HOST, owner, OF_ANOTHER_HOST)?;
    enroll(OF_ANOTHER_AUTHORITY, owner, OF_ANOTHER_AUTHORITY)?;

    age(hosts.host(EXPIRED)?)?;
    let site = hosts.host(EXPIRED)?.site();
    // An agent whose door is shut may be about to get its enrolment, so an apply waits for it.
    system.resource("nats_cluster", site)["timeouts"]["create"] = WAIT.into();
    let run = system.try_apply(hosts)?;
    system.resource("nats_cluster", site)["timeouts"]["create"] = "10m".into();
    let text = run.error_text();
    let expired =
        text.lines().find(|line| line.contains(EXPIRED) && SHUT.iter().any(|word| line.contains(word)));
    let expired = expired.with_context(|| format!("an old token was refused by other words: {run}"))?;
    tried.note("apply to a host whose token is more than an hour old", Err(expired.to_owned()));
    let token = owner.enrollment(EXPIRED.parse().context("a host's name")?, 1);
    let refusal = attempt(hosts.host(EXPIRED)?, owner, &token)?;
    tried.note("token that is more than an hour old, certificate of the owner", refusal);
    ensure!(!is_claimed(hosts.host(EXPIRED)?), "{EXPIRED} is claimed with an old token");
    enroll(EXPIRED, owner, EXPIRED)?;
    Ok(between)
}

/// Thieves at a host that belongs to its owner.
fn after(hosts: &Hosts, owner: &Authority, thief: &Authority, tried: &mut Tried) -> Result<()> {
    let host = hosts.host(TRIED)?;
    let before = claim_of(host)?;
    let token = owner.enrollment(TRIED.parse().context("a host's name")?, 1);
    for (what, caller) in [
        ("stolen token after its use, certificate of another authority", thief),
        ("stolen token after its use, certificate of the owner", owner),
    ] {
        let refusal = attempt(host, caller, &token)?;
        tried.note(what, refusal);
    }
    let again = host.output(&["sh", "-c", "nats-agent enroll --enrollment /etc/nats-agent/enrollment"])?;
    let said = String::from_utf8_lossy(&[again.stdout, again.stderr].concat()).trim().to_owned();
    ensure!(again.status.success() && said.contains("nothing to do"), "a used token does something: {said}");
    ensure!(claim_of(host)? == before, "the claim of {TRIED} is another one");
    Ok(())
}

/// Another machine at the address of a host, with the token that was in its user data.
fn impostor(hosts: &Hosts, system: &mut System, owner: &Authority, tried: &mut Tried) -> Result<()> {
    let host = hosts.host(IMPOSTOR)?;
    let state =
        "cd /var/lib; systemctl stop nats-agent.service nats-agent-applier.service nats-server.service";
    let fresh = "mv nats-agent owners; systemd-tmpfiles --create nats-agent.conf";
    let start = "systemctl start nats-agent-applier.service nats-agent.service";
    host.run(&["sh", "-ec", &format!("{state}; {fresh}; {start}")])?;
    let text = owner.enrollment(IMPOSTOR.parse().context("a host's name")?, 1).to_text();
    host.run_with(&["nats-agent", "enroll"], text.as_bytes())?;
    // Something that the host would have to take, so that the apply has work with it.
    system.resource("nats_cluster", host.site())["limits"] = json!({ "max_connections": 60_000 });
    let run = system.try_apply(hosts)?;
    if let Some(cluster) = system.resource("nats_cluster", host.site()).as_object_mut() {
        cluster.remove("limits");
    }
    let said = run.error_text();
    let line = said.lines().find(|line| line.contains(IMPOSTOR) && line.contains("by another key"));
    let line = line.with_context(|| format!("another machine was met with other words: {run}"))?;
    let what = "stolen token after its use, on another machine at the host's address";
    tried.note(what, if run.code != 0 && !is_claimed(host) { Err(line.to_owned()) } else { Ok(()) });
    // The other machine has no rules of the owner's, so they are loaded as at a boot.
    let back = "rm -r nats-agent; mv owners nats-agent; systemctl restart nats-agent-firewall.service";
    host.run(&["sh", "-ec", &format!("{state}; {back}; {start}")])?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, AGENT_TIMEOUT)?;
    }
    system.apply(hosts).with_context(|| format!("the impostor's apply: {run}"))?;
    super::system::wait_settled(system, hosts)
}

/// Tries to claim `host`; the refusal, in words.
fn attempt(host: &Host, caller: &Authority, enrollment: &Enrollment) -> Result<Result<(), String>> {
    let address = format!("{}:{AGENT_PORT}", host.address());
    let identity = certificate(caller)?;
    let trust = caller.trust();
    let names = HostNames {
        host: host.name().parse().context("a host's name")?,
        dns: BTreeSet::new(),
        ips: BTreeSet::from([host.address().into()]),
    };
    let done = traffic::talk(async {
        let bind = |offer: &ClaimOffer| -> Result<ClaimBinding, Box<dyn Error + Send + Sync>> {
            let issuer = caller.issuer(&offer.host_keys, &names, OffsetDateTime::now_utc(), VALIDITY)?;
            Ok(ClaimBinding { trust: trust.clone(), issuer, claim_id: "0".repeat(32), names: names.clone() })
        };
        Ok(claim(&address, &identity, enrollment, STEP, bind).await)
    })?;
    Ok(done.map(drop).map_or_else(|error| Err(host_state::chain(&error)), Ok))
}

fn authority(root_key: &str) -> Result<Authority> {
    let root = root_key.parse().context("read the root key")?;
    let name = AUTHORITY.parse().context("a name of an authority")?;
    Authority::derive(&root, name, Generations::default()).context("derive the authority")
}

/// A certificate of an operator.
fn certificate(authority: &Authority) -> Result<ClientIdentity> {
    let seed = random_root_key()?;
    let seed = data_encoding::BASE64.decode(seed.as_bytes()).context("read random bytes")?;
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| anyhow::anyhow!("32 bytes"))?);
    let made = authority.client_certificate(&Role::Operator, &seed, OffsetDateTime::now_utc(), VALIDITY);
    made.context("make a certificate")
}

fn is_claimed(host: &Host) -> bool {
    host.root().join("var/lib/nats-agent").join(layout::CLAIM_FILE).exists()
}

fn claim_of(host: &Host) -> Result<String> {
    let path = host.root().join("var/lib/nats-agent").join(layout::CLAIM_FILE);
    std::fs::read_to_string(path).with_context(|| format!("read the claim of {}", host.name()))
}

/// The enrolment as the agent of `host` keeps it, once it has seen one that is `wanted`.
fn seen(host: &Host, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    host.wait_for("an enrolment that was seen", AGENT_TIMEOUT, |host| {
        // What was offered and not seen yet is no JSON.
        let kept: Option<Value> = serde_json::from_str(&host.run(&["cat", &enrollment_file()])?).ok();
        Ok(kept.filter(|kept| wanted(&kept["content"]["seen"])))
    })
}

fn enrollment_file() -> String {
    format!("/var/lib/nats-agent/{}", layout::ENROLLMENT_FILE)
}

/// Has the agent have seen its token more than an hour ago.
fn age(host: &Host) -> Result<()> {
    let path = enrollment_file();
    let mut kept = seen(host, |kept| kept["first_seen"].is_i64())?;
    let first = kept["content"]["seen"]["first_seen"].as_i64().context("it was seen")?;
    kept["content"]["seen"]["first_seen"] = (first - OLD_SECONDS).into();
    host.run(&["systemctl", "stop", AGENT_UNITS[1], AGENT_UNITS[0]])?;
    host.write(&path, 0o600, checked_text(&kept["content"]).as_bytes())?;
    host.run(&["systemctl", "start", AGENT_UNITS[0], AGENT_UNITS[1]])?;
    for unit in AGENT_UNITS {
        host.wait_active(unit, AGENT_TIMEOUT)?;
    }
    Ok(())
}
