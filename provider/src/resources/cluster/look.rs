//! Looking at a cluster's hosts without changing them: read, import, and what a plan foretells.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use host_state::plan::Impact;
use host_state::report::{Report, RunStatus};
use host_state::{SectionKind, chain};
use identity::HostName;
use nats_agent_api::order::Observation;
use nats_config::HostPort;
use tfplug::value::decode_state;
use tfplug::{
    Diagnostic, Diagnostics, Failure, Imported, PrivateState, ReadOutcome, ReadResponse, Schema, Value,
};

use super::block::{self, Declared, declared_json};
use super::conduct::{findings, materials, orders, owner};
use crate::agents::IdentityCard;
use crate::keys::Keys;
use crate::resources::natural_id::SystemId;
use crate::resources::reading::Reading;
use crate::resources::trust::{TrustRef, trust_value};
use crate::rollout::audit::AuditHeads;
use crate::rollout::beside::Beside;
use crate::rollout::heads::Heads;
use crate::rollout::join::Joined;
use crate::rollout::plan::names_pins;
use crate::session::Session;
use crate::topology::{Cluster, cluster_sections};

/// How long a plan may spend on foretelling; it is a service, not a need.
const FORETELLING: Duration = Duration::from_secs(15);

/// What hosts said, and which said nothing.
pub(in crate::resources) struct Look {
    pub(in crate::resources) seen: BTreeMap<HostName, Observation>,
    pub(in crate::resources) silent: BTreeMap<HostName, String>,
}

impl Look {
    /// What those who answered hold of one kind.
    pub(in crate::resources) fn heads(&self, kind: SectionKind) -> Heads {
        Heads::of(self.seen.iter().map(|(host, seen)| (host, seen.sections.as_slice())), kind)
    }

    /// What is to be kept of this look, after what was kept before, and what does not fit with that, as findings.
    pub(in crate::resources) fn held_against(
        &self,
        before: Beside,
        kind: SectionKind,
    ) -> (Beside, Vec<String>) {
        let mut audit = AuditHeads::default();
        let hold = |(host, seen): (&HostName, &Observation)| {
            before.audit.hold(host, &seen.report, seen.audit_hash.as_ref(), &mut audit)
        };
        let found = self.seen.iter().filter_map(hold).collect();
        self.silent.keys().for_each(|host| audit.keep(host, &before.audit));
        (Beside { heads: self.heads(kind).keep(before.heads, self.silent.keys()), audit }, found)
    }
}

/// Asks every host at once; nobody is waited for.
pub(in crate::resources) async fn look_at(
    session: &Session,
    card: &IdentityCard,
    hosts: &BTreeMap<HostName, HostPort>,
) -> Look {
    look_again(session, card, hosts, &AuditHeads::default()).await
}

/// As [`look_at`], and asks each host for the record of its audit log that is remembered.
pub(in crate::resources) async fn look_again(
    session: &Session,
    card: &IdentityCard,
    hosts: &BTreeMap<HostName, HostPort>,
    remembered: &AuditHeads,
) -> Look {
    let asked = join_all(hosts.iter().map(|(host, agent)| async move {
        let seen = match session.agents().connect(card, agent, Some(host)).await {
            Ok(agent) => agent.observe_with(remembered.seq(host)).await.map_err(|why| chain(&why)),
            Err(why) => Err(chain(&why)),
        };
        (host.clone(), seen)
    }));
    let mut look = Look { seen: BTreeMap::new(), silent: BTreeMap::new() };
    for (host, seen) in asked.await {
        match seen {
            Ok(seen) => _ = look.seen.insert(host, seen),
            Err(why) => _ = look.silent.insert(host, why),
        }
    }
    look
}

/// A warning for each host that said nothing.
pub(in crate::resources) fn unanswered(look: &Look) -> Diagnostics {
    let told = look.silent.iter().map(|(host, why)| {
        Diagnostic::warning(
            format!("Host `{host}` did not answer"),
            format!("`{host}`: {why}. What state says of it is kept; drift there is not known."),
        )
    });
    told.collect()
}

/// Texts as an attribute.
pub(in crate::resources) fn texts(texts: Vec<String>) -> Value {
    Value::from(texts)
}

/// Drift of one host, each with its name before it.
fn drift_of(host: &HostName, report: &Report) -> Vec<String> {
    report.drift.iter().map(|drift| format!("{host}: {drift}")).collect()
}

/// Who this process is to the hosts that it looks at; `Err` holds what is told instead.
pub(in crate::resources) fn card(session: &Session, trust: &TrustRef) -> Result<IdentityCard, Diagnostic> {
    let without = match session.keys() {
        Keys::Root(_) | Keys::Reader(_) => return session.card(trust),
        Keys::Account(_) => "With `account_key`",
        Keys::Unknown | Keys::Missing => "Without the root key",
    };
    Err(Diagnostic::warning(
        "The hosts were not looked at",
        format!("{without} no agent tells of its host, so drift is not known. State is kept as it is."),
    ))
}

pub(super) async fn read(session: &Session, state: Value, private: PrivateState) -> ReadResponse {
    let mut reading = Reading::new();
    let Declared { trust, cluster } = block::read(&state, &mut reading);
    let (Some(trust), Some(cluster)) = (trust, cluster) else {
        return ReadResponse::unanswered(reading.into_problems());
    };
    let card = match card(session, &trust) {
        Ok(card) => card,
        Err(problem) => return ReadResponse::unanswered(problem.into()),
    };
    let hosts: BTreeMap<HostName, HostPort> =
        cluster.present().map(|(host, node)| (host.clone(), node.agent.clone())).collect();
    session.remember_agents(hosts.values().cloned());
    let mut diagnostics = Diagnostics::new();
    let before = Beside::kept(&private, &mut diagnostics);
    let look = look_again(session, &card, &hosts, &before.audit).await;
    diagnostics.extend(unanswered(&look));
    let is_known_to_none = look.silent.is_empty()
        && look.seen.values().all(|seen| !seen.report.sections.contains_key(&SectionKind::Cluster));
    if is_known_to_none {
        let mut gone = ReadResponse::gone();
        gone.diagnostics = Diagnostic::warning(
            format!("No host knows cluster `{}`", cluster.name),
            "All of its hosts answered, and none has ever been told of it. It will be made anew.",
        )
        .into();
        return gone;
    }
    let declared = declared_json(&state).unwrap_or_default();
    let drift = drift(&state, &cluster, &look, &declared);
    let (kept, missed) = look.held_against(before, SectionKind::Cluster);
    let private = kept.to_private();
    let reports = look.seen.into_iter().map(|(host, seen)| (host, seen.report)).collect();
    let mut found = findings(&reports);
    found.extend(missed);
    if !found.is_empty() {
        let detail = format!("An apply cannot remove these:\n{}", found.join("\n"));
        diagnostics.warning(format!("Cluster `{}` has findings", cluster.name), detail);
    }
    let found = kept_for_silent(state.attr("findings"), found, &look.silent);
    let state = state.with("drift", texts(drift)).with("findings", texts(found));
    ReadResponse { outcome: ReadOutcome::Found { state, private }, diagnostics }
}

/// What differs between the hosts and what state says of them.
fn drift(state: &Value, cluster: &Cluster, look: &Look, declared: &serde_json::Value) -> Vec<String> {
    let mut drift = Vec::new();
    for (host, seen) in &look.seen {
        drift.extend(drift_of(host, &seen.report));
        let section = seen.sections.iter().find(|section| section.header.section == SectionKind::Cluster);
        let Some(section) = section else {
            drift.push(format!("{host}: it was never told of cluster `{}`", cluster.name));
            continue;
        };
        match section.body::<host_state::document::ClusterSection>() {
            Ok(body) if body.declared != *declared => {
                drift.push(format!("{host}: `{}` declared something else", section.header.writer));
            }
            Ok(body) => drift.extend(old_issuer(host, &body.tls.issuer)),
            Err(why) => drift.push(format!("{host}: {}", chain(&why))),
        }
        if !cluster.gateway && seen.report.run == RunStatus::Held {
            drift.push(format!("{host}: nats-server was never released"));
        }
    }
    kept_for_silent(state.attr("drift"), drift, &look.silent)
}

/// An issuer past one third of its life: the one thing that time alone makes drift of.
fn old_issuer(host: &HostName, issuer: &str) -> Option<String> {
    let info = identity::certificate_info(issuer).ok()?;
    let is_due = time::OffsetDateTime::now_utc() >= info.renew_at();
    is_due.then(|| format!("{host}: certificate `issuer` is past one third of its life, should be renewed"))
}

/// What was found, and of hosts that said nothing what was known before.
pub(in crate::resources) fn kept_for_silent(
    before: &Value,
    mut found: Vec<String>,
    silent: &BTreeMap<HostName, String>,
) -> Vec<String> {
    for text in before.elements().filter_map(Value::as_str) {
        if silent.keys().any(|host| text.starts_with(&format!("{host}: "))) {
            found.push(text.to_owned());
        }
    }
    found.sort();
    found
}

pub(super) async fn import(session: &Session, id: &str, schema: &Schema) -> Result<Imported, Failure> {
    let id: SystemId = id
        .parse()
        .map_err(|why| Failure::new("The cluster cannot be imported", format!("{}.", chain(&why))))?;
    let system = session.system(&id.authority).await?;
    let none = || {
        Failure::new(
            format!("There is no cluster `{}`", id.name),
            format!("No host that answers tells of it in the system of authority `{}`.", id.authority),
        )
    };
    let hosts: BTreeMap<HostName, HostPort> = system
        .hosts
        .iter()
        .filter(|(_, entry)| entry.cluster == id.name)
        .map(|(host, entry)| (host.clone(), entry.agent.clone()))
        .collect();
    let look = look_at(session, system.card(), &hosts).await;
    let sections = look.seen.values().flat_map(|seen| &seen.sections);
    let newest = sections
        .filter(|section| {
            section.header.section == SectionKind::Cluster && section.header.owner == owner(&id.name)
        })
        .max_by_key(|section| section.header.generation)
        .ok_or_else(none)?;
    let body: host_state::document::ClusterSection = newest
        .body()
        .map_err(|why| Failure::new("The cluster cannot be imported", format!("{}.", chain(&why))))?;
    let state = decode_state(body.declared.to_string().as_bytes(), &schema.block().implied_type())
        .map_err(|why| Failure::new("What was declared cannot be read", format!("{}.", chain(&why))))?;
    let mut state = state
        .with("authority", trust_value(&system.trust))
        .with("id", id.to_string())
        .with("drift", Vec::<String>::new())
        .with("findings", Vec::<String>::new());
    let (trust, cluster, declared) = super::whole(&state)?;
    state.set_attr("members", super::members(&trust, &cluster, &declared));
    Ok(state.into())
}

/// What an apply will do to each server, as warnings; nothing when somebody cannot be asked.
pub(super) async fn foretell(
    session: &Session,
    trust: &TrustRef,
    cluster: &Cluster,
    declared: &serde_json::Value,
) -> Diagnostics {
    let asking = foretell_within(session, trust, cluster, declared);
    tokio::time::timeout(FORETELLING, asking).await.ok().flatten().unwrap_or_default()
}

async fn foretell_within(
    session: &Session,
    trust: &TrustRef,
    cluster: &Cluster,
    declared: &serde_json::Value,
) -> Option<Diagnostics> {
    // What is signed for a host cannot be made by who may only look, and so not be previewed.
    let authority = session.authority(&trust.name, trust.generations).ok()?;
    let card = session.card(trust).ok()?;
    let hosts: BTreeMap<HostName, HostPort> =
        cluster.present().map(|(host, node)| (host.clone(), node.agent.clone())).collect();
    let mut joined = BTreeMap::new();
    for (host, seen) in look_at(session, &card, &hosts).await.seen {
        let agent = session.agents().connect(&card, hosts.get(&host)?, Some(&host)).await.ok()?;
        let one = Joined::of(agent, seen)?;
        joined.insert(host, one);
    }
    if cluster.gateway && joined.values().any(runs_alone) {
        let detail =
            "Its servers restart one after the other when the `nats_gateway` that lists it takes it in.";
        let joins = format!("Cluster `{}` goes behind a gateway", cluster.name);
        return Some(Diagnostic::warning(joins, detail).into());
    }
    let materials = materials(&authority, &authority.trust(), cluster, &joined).ok()?;
    let release = joined.values().find_map(|one| one.cluster().and_then(|section| section.release));
    let sections = cluster_sections(cluster, &authority.trust(), declared, &materials, release.as_ref());
    let orders = orders(session.writer(), &authority, &owner(cluster.name.as_str()), &joined, &sections);
    let plans = join_all(joined.iter().map(|(host, one)| {
        let sections = orders.get(host).cloned().unwrap_or_default();
        async move { (host.clone(), one.agent.preview(sections).await) }
    }));
    let told = plans.await.into_iter().filter_map(|(host, plan)| foretold(&host, &plan.ok()?));
    Some(told.collect())
}

/// Whether the host's server runs and no gateway has taken it in: without the gateway's section its agent would foretell
/// a stop.
fn runs_alone(one: &Joined) -> bool {
    one.report.run == RunStatus::Running && one.head(SectionKind::Gateway).is_none()
}

/// One host's plan for people.
fn foretold(host: &HostName, plan: &host_state::Plan) -> Option<Diagnostic> {
    let what = match plan.impact {
        Impact::None => return None,
        // A plan does not say whether pins come or go.
        Impact::Reload if names_pins(plan) => {
            "reloads its configuration; links to servers whose key is no longer pinned end"
        }
        Impact::Reload => "reloads its configuration; no connection is lost",
        Impact::Restart => "restarts",
        Impact::Start => "starts",
        Impact::Stop => "stops",
    };
    let mut why = plan.reasons.clone();
    if !plan.settings.is_empty() {
        let settings: Vec<String> = plan.settings.iter().map(|setting| format!("`{setting}`")).collect();
        why.push(format!("settings that change: {}", settings.join(", ")));
    }
    Some(Diagnostic::warning(format!("`{host}` {what}"), why.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_changes_pins_is_not_foretold_as_harmless() {
        let told = |impact, setting: &str| {
            let settings = vec![setting.to_owned()];
            let plan = host_state::Plan { steps: Vec::new(), impact, settings, reasons: Vec::new() };
            foretold(&"east-1".parse().unwrap(), &plan).map(|told| told.summary)
        };
        let pins = "`east-1` reloads its configuration; links to servers whose key is no longer pinned end";
        for setting in ["cluster.tls.pinned_certs", "gateway.tls.pinned_certs"] {
            assert_eq!(told(Impact::Reload, setting).as_deref(), Some(pins));
        }
        let harmless = "`east-1` reloads its configuration; no connection is lost";
        assert_eq!(told(Impact::Reload, "max_payload").as_deref(), Some(harmless));
        assert_eq!(told(Impact::Restart, "cluster.tls.pinned_certs").as_deref(), Some("`east-1` restarts"));
        assert_eq!(told(Impact::None, "cluster.tls.pinned_certs"), None);
    }
}
