//! What the operations of a gateway do: form a system of staged clusters, roll it, hold it, look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host_state::document::{GatewaySection, Release};
use host_state::report::{Report, RunStatus};
use host_state::{SectionKind, chain};
use identity::HostName;
use nats_config::{HostPort, Sha256Hex};
use tfplug::value::decode_state;
use tfplug::{
    Diagnostic, Diagnostics, Failure, Imported, PrivateState, ReadOutcome, ReadResponse, Schema, Value,
};

use crate::agents::{HostEntry, System, same_operator};
use crate::resources::cluster::{
    Look, card, findings, heads, kept_for_silent, look_again, look_at, new_lineage, pasts, replace_heads,
    texts, unanswered,
};
use crate::resources::left::with_hosts;
use crate::resources::natural_id::SystemId;
use crate::resources::trust::TrustRef;
use crate::rollout::audit::Heard;
use crate::rollout::beside::Beside;
use crate::rollout::heads::{AWAITED, Heads, PLANNED};
use crate::rollout::join::{Candidate, Joined, Joiner};
use crate::rollout::lease::Lease;
use crate::rollout::plan::{Course, CourseError, course};
use crate::rollout::progress::Bounds;
use crate::rollout::reach::wait_reached;
use crate::rollout::run::{Conductor, Orders};
use crate::rollout::signing::{Addressee, sign};
use crate::session::Session;
use crate::topology::{Gateway, gateway_section};

/// A gateway to be brought about.
pub(super) struct Conduct<'a> {
    pub(super) session: &'a Session,
    pub(super) trust: &'a TrustRef,
    pub(super) gateway: &'a Gateway,
    pub(super) declared: &'a serde_json::Value,
    /// What the hosts held when this was planned.
    pub(super) planned: Heads,
    pub(super) bounds: &'a Bounds,
    /// What is remembered of the hosts' audit logs, and what they say of them meanwhile.
    pub(super) heard: Heard,
}

fn owner(name: &str) -> String {
    format!("nats_gateway/{name}")
}

impl<'a> Conduct<'a> {
    /// Of a gateway that is wholly known, beginning with what was kept beside its state.
    pub(super) fn new(
        session: &'a Session,
        (trust, gateway, declared): &'a (TrustRef, Gateway, serde_json::Value),
        private: &PrivateState,
        bounds: &'a Bounds,
    ) -> Conduct<'a> {
        let (planned, heard) = Beside::at_work(private);
        Conduct { session, trust, gateway, declared, planned, bounds, heard }
    }
}

impl Conduct<'_> {
    /// As [`Beside::ended`].
    pub(super) fn ended<T>(
        &self,
        result: Result<T, Diagnostics>,
    ) -> Result<(T, PrivateState, Diagnostics), Failure> {
        Beside::ended(&self.planned, &self.heard, result)
    }

    pub(super) fn owner(&self) -> String {
        owner(self.gateway.name.as_str())
    }

    /// Brings the supercluster about. Returns nothing of the hosts' findings: those are their clusters'.
    ///
    /// Guarantees as for a cluster: each host is in the old or the new configuration; may be repeated.
    ///
    /// # Errors
    /// Why it stopped, and how each host is then.
    pub(super) async fn run(&self) -> Result<Vec<String>, Diagnostics> {
        match self.bring_about().await {
            Ok(findings) => Ok(findings),
            Err(problems) => {
                let nodes = self.gateway.nodes();
                let hosts = nodes.map(|(host, _, node)| (host.clone(), node.agent.clone())).collect();
                Err(with_hosts(problems, self.session, self.trust, &hosts).await)
            }
        }
    }

    async fn bring_about(&self) -> Result<Vec<String>, Diagnostics> {
        let system = self.system()?;
        let joined = self.join(&system).await?;
        self.as_planned(&joined)?;
        let (joined, lease) = self.leased(&system, joined, || self.join(&system)).await?;
        let result = self.form_or_roll(&system, &joined, &lease).await;
        lease.release().await;
        self.session.remember_agents(system.hosts.values().map(|entry| entry.agent.clone()));
        self.session.invalidate().await;
        result.map(|()| Vec::new())
    }

    async fn form_or_roll(
        &self,
        system: &System,
        joined: &BTreeMap<HostName, Joined>,
        lease: &Lease,
    ) -> Result<(), Diagnostics> {
        let course = course(&pasts(joined, system)).map_err(|why| not_joined(&why))?;
        let lineage = match &course {
            Course::Form => new_lineage()?,
            Course::Resume { lineage } | Course::Roll { lineage } => lineage.clone(),
        };
        let members = joined.keys().map(ToString::to_string).collect();
        let release = Release { meta_lineage: lineage, members };
        let what = self.owner();
        let conductor = self.conductor(system, joined, &what, lease);
        match course {
            Course::Form => self.form(&conductor, &release).await,
            Course::Resume { .. } => {
                let orders = self.orders(system, joined, Some(&release))?;
                conductor.form(&orders).await.map_err(|stopped| stopped.diagnostic(&what).into())
            }
            Course::Roll { .. } => self.roll(&conductor, &release).await,
        }
    }

    /// Nobody has told these hosts something else since this was planned.
    pub(super) fn as_planned(&self, joined: &BTreeMap<HostName, Joined>) -> Result<(), Diagnostic> {
        self.planned.not_overtaken(PLANNED, joined, SectionKind::Gateway, self.declared)
    }

    pub(super) fn conductor<'a>(
        &'a self,
        system: &'a System,
        hosts: &'a BTreeMap<HostName, Joined>,
        what: &'a str,
        lease: &'a Lease,
    ) -> Conductor<'a> {
        Conductor {
            system,
            hosts,
            what,
            lease,
            bounds: self.bounds,
            rollout: self.gateway.rollout,
            heard: &self.heard,
        }
    }

    pub(super) fn system(&self) -> Result<System, Diagnostic> {
        let authority = self.session.authority(&self.trust.name, self.trust.generations)?;
        same_operator(&authority.trust(), &self.trust.operator)?;
        let hosts = self.gateway.nodes().map(|(host, member, node)| {
            (host.clone(), HostEntry { cluster: member.cluster.to_string(), agent: node.agent.clone() })
        });
        let name = Some(self.gateway.name.to_string());
        System::new(authority, name, hosts.collect(), Arc::clone(self.session.agents()))
    }

    async fn join(&self, system: &System) -> Result<BTreeMap<HostName, Joined>, Diagnostics> {
        let remembered = self.heard.newest();
        let candidates = self
            .gateway
            .nodes()
            .map(|(host, _, node)| {
                let candidate = Candidate {
                    agent: node.agent.clone(),
                    generation: node.generation,
                    names: None,
                    audit_seq: remembered.seq(host),
                };
                (host.clone(), candidate)
            })
            .collect();
        let what = self.owner();
        let joiner = Joiner {
            authority: system.authority()?,
            trust: &system.trust,
            card: system.card(),
            agents: self.session.agents(),
            what: &what,
        };
        let joined = joiner.join_all(&candidates, self.bounds).await?;
        joined.iter().for_each(|(host, one)| self.heard.look(host, &one.report, one.audit_hash.as_ref()));
        let unstaged: Vec<String> = joined
            .iter()
            .filter(|(_, one)| one.cluster().is_none_or(|section| section.gateway.is_none()))
            .map(|(host, _)| format!("`{host}`"))
            .collect();
        if unstaged.is_empty() {
            return Ok(joined);
        }
        Err(Diagnostic::error(
            "Not every host is staged",
            format!(
                "{} were not told of a cluster behind a gateway. Apply their `nats_cluster` first.",
                unstaged.join(", ")
            ),
        )
        .into())
    }

    /// The lease, and the hosts as they are under it: `look` is asked again when somebody else held it first.
    pub(super) async fn leased<F>(
        &self,
        system: &System,
        joined: BTreeMap<HostName, Joined>,
        look: impl FnOnce() -> F,
    ) -> Result<(BTreeMap<HostName, Joined>, Lease), Diagnostics>
    where
        F: Future<Output = Result<BTreeMap<HostName, Joined>, Diagnostics>>,
    {
        let agents = joined.iter().map(|(host, one)| (host.clone(), one.agent.clone())).collect();
        let (applicant, what) = (self.session.applicant()?, self.owner());
        let authority = system.authority()?;
        let lease = Lease::acquire(&agents, joined.len(), authority, &applicant, &what, self.bounds).await?;
        let kind = SectionKind::Gateway;
        let are_same =
            |before: &_, now: &_| heads(before, kind).not_overtaken(AWAITED, now, kind, self.declared);
        lease.with_hosts(joined, look, are_same).await
    }

    /// An order for every host, empty where the ledger has it all.
    fn orders(
        &self,
        system: &System,
        joined: &BTreeMap<HostName, Joined>,
        release: Option<&Release>,
    ) -> Result<Orders, Diagnostic> {
        let pins: BTreeSet<Sha256Hex> =
            joined.values().filter_map(|one| one.keys.leaf_pin().parse::<Sha256Hex>().ok()).collect();
        let section = gateway_section(self.gateway, self.declared, &pins, release);
        self.signed(system, joined, &section)
    }

    pub(super) fn signed(
        &self,
        system: &System,
        joined: &BTreeMap<HostName, Joined>,
        section: &GatewaySection,
    ) -> Result<Orders, Diagnostic> {
        let (owner, writer) = (self.owner(), self.session.writer());
        let authority = system.authority()?;
        let orders = joined
            .iter()
            .map(|(host, one)| {
                let to = Addressee { host, claim_id: &one.claim_id, owner: &owner, writer };
                let signed = sign(authority, to, one.head(SectionKind::Gateway), section);
                (host.clone(), signed.into_iter().collect())
            })
            .collect();
        Ok(orders)
    }

    /// Stages the gateway everywhere, waits until all reach each other, then releases all together.
    async fn form(&self, conductor: &Conductor<'_>, release: &Release) -> Result<(), Diagnostics> {
        let joined = self.stage(conductor, conductor.hosts.keys().cloned().collect()).await?;
        let released = self.orders(conductor.system, &joined, Some(release))?;
        conductor.form(&released).await.map_err(|stopped| stopped.diagnostic(&self.owner()).into())
    }

    /// Stages the gateway on hosts that are held, so that they answer on their gateway ports, and waits until they and
    /// all others reach each other; a server that has no gateway port yet need not be reached on it. Returns the hosts
    /// with what they were told.
    async fn stage(
        &self,
        conductor: &Conductor<'_>,
        held: BTreeSet<HostName>,
    ) -> Result<BTreeMap<HostName, Joined>, Diagnostics> {
        let what = self.owner();
        let mut staged = self.orders(conductor.system, conductor.hosts, None)?;
        staged.retain(|host, _| held.contains(host));
        conductor.stage(&staged).await.map_err(|stopped| stopped.diagnostic(&what))?;
        let listens =
            |host: &HostName| held.contains(host) || conductor.hosts.get(host).is_some_and(has_gateway_port);
        let targets = self.targets(&|host| held.contains(host), &listens);
        wait_reached(&what, conductor.hosts, &targets, self.bounds).await?;
        let mut joined = conductor.hosts.clone();
        for (host, sections) in staged {
            if let Some(one) = joined.get_mut(&host) {
                replace_heads(one, sections);
            }
        }
        Ok(joined)
    }

    /// Rolls the running system; fresh hosts are checked for reach first and start last. A cluster that ran alone gets
    /// its gateway ports by that roll, so they are checked after it and before anybody new starts: who came to a formed
    /// group without reaching all of it would vote without hearing.
    async fn roll(&self, conductor: &Conductor<'_>, release: &Release) -> Result<(), Diagnostics> {
        let what = self.owner();
        let is_held = |(_, one): &(&HostName, &Joined)| one.report.run == RunStatus::Held;
        let held: BTreeSet<HostName> =
            conductor.hosts.iter().filter(is_held).map(|(host, _)| host.clone()).collect();
        let joined = self.stage(conductor, held.clone()).await?;
        let (fresh, running): (Orders, Orders) = self
            .orders(conductor.system, &joined, Some(release))?
            .into_iter()
            .partition(|(host, _)| held.contains(host));
        conductor.roll(&running).await.map_err(|stopped| stopped.diagnostic(&what))?;
        if fresh.is_empty() {
            return Ok(());
        }
        let targets = self.targets(&|host| held.contains(host), &|_| true);
        wait_reached(&what, conductor.hosts, &targets, self.bounds).await?;
        conductor.roll(&fresh).await.map_err(|stopped| stopped.diagnostic(&what).into())
    }

    /// What each host must reach: its neighbours' cluster ports and the gateway ports of others that one of them
    /// `listens` on, of pairs that `concerns` one of.
    fn targets(
        &self,
        concerns: &dyn Fn(&HostName) -> bool,
        listens: &dyn Fn(&HostName) -> bool,
    ) -> BTreeMap<HostName, Vec<String>> {
        let nodes: Vec<_> = self.gateway.nodes().collect();
        let of = |host: &HostName, cluster: &nats_config::ClusterName| {
            let others = nodes.iter().filter(|(other, member, _)| {
                *other != host
                    && (concerns(host) || concerns(other))
                    && (member.cluster == *cluster || listens(other))
            });
            let url = |(_, member, node): &(_, &crate::topology::Member, &crate::topology::MemberNode)| {
                if member.cluster == *cluster {
                    node.cluster_url.to_string()
                } else {
                    node.gateway_url.to_string()
                }
            };
            others.map(url).collect()
        };
        nodes.iter().map(|(host, member, _)| ((*host).clone(), of(host, &member.cluster))).collect()
    }
}

/// Why servers that must not meet are not released.
pub(super) fn not_joined(why: &CourseError) -> Diagnostic {
    let detail = format!(
        "{}. Nothing was released. Join clusters of which at most one runs: destroy the other's streams and servers and \
         let its hosts begin with empty stores, or keep both systems apart, each with its own `nats_gateway`.",
        chain(why)
    );
    Diagnostic::error("These clusters cannot be joined", detail)
}

/// Whether the host's server runs with a gateway: one that ran alone has none before it is rolled.
fn has_gateway_port(one: &Joined) -> bool {
    let section = one.report.sections.get(&SectionKind::Gateway);
    section.is_some_and(|section| section.confirmed.is_some())
}

pub(super) async fn read(session: &Session, state: Value, private: PrivateState) -> ReadResponse {
    let (trust, gateway, declared) = match super::whole(&state) {
        Ok(whole) => whole,
        Err(problems) => return ReadResponse::unanswered(problems),
    };
    let card = match card(session, &trust) {
        Ok(card) => card,
        Err(problem) => return ReadResponse::unanswered(problem.into()),
    };
    let hosts: BTreeMap<HostName, HostPort> =
        gateway.nodes().map(|(host, _, node)| (host.clone(), node.agent.clone())).collect();
    session.remember_agents(hosts.values().cloned());
    let mut diagnostics = Diagnostics::new();
    let before = Beside::kept(&private, &mut diagnostics);
    let look = look_again(session, &card, &hosts, &before.audit).await;
    diagnostics.extend(unanswered(&look));
    let drift = drift(&gateway, &declared, &look);
    // Findings of hosts are their clusters'; what only this resource remembers of them is its own.
    let (kept, found) = look.held_against(before, SectionKind::Gateway);
    let private = kept.to_private();
    if !found.is_empty() {
        let detail = format!("An apply cannot remove these:\n{}", found.join("\n"));
        diagnostics.warning(format!("Gateway `{}` has findings", gateway.name), detail);
    }
    let found = kept_for_silent(state.attr("findings"), found, &look.silent);
    let state = state.with("drift", texts(drift)).with("findings", texts(found));
    ReadResponse { outcome: ReadOutcome::Found { state, private }, diagnostics }
}

/// What is the gateway's to repair: sections that were staged and not rolled, and servers that were not released.
/// What differs on a host otherwise is its cluster's.
fn drift(gateway: &Gateway, declared: &serde_json::Value, look: &Look) -> Vec<String> {
    let mut drift = Vec::new();
    for (host, seen) in &look.seen {
        let Report { sections, run, .. } = &seen.report;
        for (kind, section) in sections.iter().filter(|(kind, _)| **kind != SectionKind::Claims) {
            if section.confirmed != Some(section.generation) {
                drift.push(format!(
                    "{host}: `{kind}` section {} is staged and was not rolled out",
                    section.generation
                ));
            }
        }
        let head = seen.sections.iter().find(|section| section.header.section == SectionKind::Gateway);
        match head.map(|head| (head, head.body::<GatewaySection>())) {
            None => drift.push(format!("{host}: it was never told of gateway `{}`", gateway.name)),
            Some((_, Err(why))) => drift.push(format!("{host}: {}", chain(&why))),
            Some((head, Ok(body))) if body.declared != *declared => {
                drift.push(format!("{host}: `{}` declared something else", head.header.writer));
            }
            Some((_, Ok(_))) if *run == RunStatus::Held => drift.push(format!("{host}: nats-server is held")),
            Some((_, Ok(_))) => {}
        }
    }
    drift.sort();
    drift
}

pub(super) async fn import(session: &Session, id: &str, schema: &Schema) -> Result<Imported, Failure> {
    let failed = |why: &dyn std::error::Error| {
        Failure::new("The gateway cannot be imported", format!("{}.", chain(why)))
    };
    let id: SystemId = id.parse().map_err(|why: crate::resources::natural_id::IdError| failed(&why))?;
    let system = session.system(&id.authority).await?;
    let hosts = system.hosts.iter().map(|(host, entry)| (host.clone(), entry.agent.clone())).collect();
    let look = look_at(session, system.card(), &hosts).await;
    let sections = look.seen.values().flat_map(|seen| &seen.sections);
    let newest = sections
        .filter(|section| {
            section.header.section == SectionKind::Gateway && section.header.owner == owner(&id.name)
        })
        .max_by_key(|section| section.header.generation)
        .ok_or_else(|| {
            Failure::new(
                format!("There is no gateway `{}`", id.name),
                format!("No host that answers tells of it in the system of authority `{}`.", id.authority),
            )
        })?;
    let body: GatewaySection = newest.body().map_err(|why| failed(&why))?;
    let state = decode_state(body.declared.to_string().as_bytes(), &schema.block().implied_type())
        .map_err(|why| failed(&why))?;
    let reports = BTreeMap::new();
    Ok(state
        .with("id", id.to_string())
        .with("drift", Vec::<String>::new())
        .with("findings", findings(&reports))
        .into())
}
