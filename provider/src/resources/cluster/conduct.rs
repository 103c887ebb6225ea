//! What create and update of a cluster do: join the hosts, sign what each is told, and bring them there.

use std::collections::BTreeMap;
use std::sync::Arc;

use host_state::document::{ClusterSection, Release};
use host_state::report::{Report, RunStatus};
use host_state::{SectionKind, SignedSection, chain};
use identity::{Authority, HostName, Trust};
use nats_config::HostPort;
use tfplug::{Diagnostic, Diagnostics, Failure, PrivateState};
use time::OffsetDateTime;

use crate::agents::{HostEntry, System, random_bytes, same_operator};
use crate::claims::ClaimsWriter;
use crate::resources::left::with_hosts;
use crate::resources::trust::TrustRef;
use crate::rollout::audit::Heard;
use crate::rollout::beside::Beside;
use crate::rollout::heads::{AWAITED, Heads, PLANNED};
use crate::rollout::join::{Candidate, Joined, Joiner};
use crate::rollout::lease::Lease;
use crate::rollout::lost::{Lost, revoked_users};
use crate::rollout::material::material;
use crate::rollout::plan::{Course, Past, course};
use crate::rollout::progress::Bounds;
use crate::rollout::run::{Conductor, Orders};
use crate::rollout::signing::{Addressee, sign};
use crate::session::Session;
use crate::topology::{Cluster, HostMaterial, cluster_sections, host_names};

/// A cluster to be brought about.
pub(super) struct Conduct<'a> {
    pub(super) session: &'a Session,
    pub(super) trust: &'a TrustRef,
    pub(super) cluster: &'a Cluster,
    pub(super) declared: &'a serde_json::Value,
    /// What the hosts held when this was planned.
    pub(super) planned: Heads,
    pub(super) bounds: &'a Bounds,
    /// What is remembered of the hosts' audit logs, and what they say of them meanwhile.
    pub(super) heard: Heard,
}

/// Hosts that were joined, and what signs for them.
pub(super) struct Hosts {
    pub(super) trust: Trust,
    pub(super) system: System,
    pub(super) joined: BTreeMap<HostName, Joined>,
    pub(super) materials: BTreeMap<HostName, HostMaterial>,
}

impl<'a> Conduct<'a> {
    /// Of a cluster that is wholly known, beginning with what was kept beside its state.
    pub(super) fn new(
        session: &'a Session,
        (trust, cluster, declared): &'a (TrustRef, Cluster, serde_json::Value),
        private: &PrivateState,
        bounds: &'a Bounds,
    ) -> Conduct<'a> {
        let (planned, heard) = Beside::at_work(private);
        Conduct { session, trust, cluster, declared, planned, bounds, heard }
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
        owner(self.cluster.name.as_str())
    }

    /// Brings the cluster about. Returns the hosts' findings.
    ///
    /// Guarantees: hosts that were told are in the old or the new configuration, each by its own agent. May be
    /// repeated; a crash half-way leaves hosts that the next run goes on with.
    ///
    /// # Errors
    /// Why it stopped, and how each host is then.
    pub(super) async fn run(&self, claims: &ClaimsWriter) -> Result<Vec<String>, Diagnostics> {
        match self.bring_about(claims).await {
            Ok(findings) => Ok(findings),
            Err(problems) => {
                let hosts =
                    self.cluster.present().map(|(host, node)| (host.clone(), node.agent.clone())).collect();
                Err(with_hosts(problems, self.session, self.trust, &hosts).await)
            }
        }
    }

    async fn bring_about(&self, claims: &ClaimsWriter) -> Result<Vec<String>, Diagnostics> {
        let hosts = self.join().await?;
        self.as_planned(&hosts.joined)?;
        if hosts.joined.values().any(|one| one.head(SectionKind::Cluster).is_some()) {
            self.session.remember_agents(hosts.system.hosts.values().map(|entry| entry.agent.clone()));
            let authority = hosts.system.authority()?;
            // Before anybody forgets whom to revoke.
            let lost = Lost::of(&hosts.joined)?;
            let without = &lost.hosts | &hosts.system.absent;
            self.heard.warn(claims.keep_trusted(authority, &without).await?);
            self.heard.warn(claims.keep_own_accounts(authority, &lost.users, &without).await?);
        }
        let reports: BTreeMap<HostName, Report> =
            hosts.joined.iter().map(|(host, joined)| (host.clone(), joined.report.clone())).collect();
        let agents: Vec<HostPort> = hosts.system.hosts.values().map(|entry| entry.agent.clone()).collect();
        if self.cluster.gateway {
            self.behind_gateway(hosts).await?
        } else {
            let (hosts, lease) = self.leased(hosts, || self.join()).await?;
            let result = self.alone(&hosts, &lease).await;
            lease.release().await;
            result?
        }
        self.session.remember_agents(agents);
        self.session.invalidate().await;
        Ok(findings(&reports))
    }

    async fn join(&self) -> Result<Hosts, Diagnostics> {
        let Conduct { session, trust, cluster, .. } = *self;
        let authority = session.authority(&trust.name, trust.generations)?;
        same_operator(&authority.trust(), &trust.operator)?;
        let system = self.system(authority)?;
        let remembered = self.heard.newest();
        let candidates = cluster
            .present()
            .map(|(host, node)| {
                let names = Some(host_names(host, node));
                let candidate = Candidate {
                    agent: node.agent.clone(),
                    generation: node.generation,
                    names,
                    audit_seq: remembered.seq(host),
                };
                (host.clone(), candidate)
            })
            .collect();
        let what = self.owner();
        let trust = system.trust.clone();
        let joiner = Joiner {
            authority: system.authority()?,
            trust: &trust,
            card: system.card(),
            agents: session.agents(),
            what: &what,
        };
        let joined = joiner.join_all(&candidates, self.bounds).await?;
        joined.iter().for_each(|(host, one)| self.heard.look(host, &one.report, one.audit_hash.as_ref()));
        let materials = materials(system.authority()?, &trust, cluster, &joined)?;
        Ok(Hosts { trust, system, joined, materials })
    }

    /// Nobody has told these hosts something else since this was planned.
    pub(super) fn as_planned(&self, joined: &BTreeMap<HostName, Joined>) -> Result<(), Diagnostic> {
        self.planned.not_overtaken(PLANNED, joined, SectionKind::Cluster, self.declared)
    }

    pub(super) fn conductor<'a>(
        &'a self,
        system: &'a System,
        hosts: &'a Hosts,
        what: &'a str,
        lease: &'a Lease,
    ) -> Conductor<'a> {
        let hosts = &hosts.joined;
        Conductor {
            system,
            hosts,
            what,
            lease,
            bounds: self.bounds,
            rollout: self.cluster.rollout,
            heard: &self.heard,
        }
    }

    pub(super) fn system(&self, authority: Authority) -> Result<System, Diagnostic> {
        let hosts = self.cluster.present().map(|(host, node)| {
            (host.clone(), HostEntry { cluster: self.cluster.name.to_string(), agent: node.agent.clone() })
        });
        let absent = self.cluster.nodes.iter().filter(|(_, node)| node.absent).map(|(host, _)| host.clone());
        let system = System::new(authority, None, hosts.collect(), Arc::clone(self.session.agents()))?;
        Ok(system.with_absent(absent.collect()))
    }

    /// Sections that differ from the ledgers'.
    fn orders(&self, hosts: &Hosts, release: Option<&Release>) -> Result<Orders, Diagnostic> {
        let sections = cluster_sections(self.cluster, &hosts.trust, self.declared, &hosts.materials, release);
        let authority = hosts.system.authority()?;
        Ok(orders(self.session.writer(), authority, &self.owner(), &hosts.joined, &sections))
    }

    /// The lease, and the hosts as they are under it: `look` is asked again when somebody else held it first.
    pub(super) async fn leased<F>(
        &self,
        hosts: Hosts,
        look: impl FnOnce() -> F,
    ) -> Result<(Hosts, Lease), Diagnostics>
    where
        F: Future<Output = Result<Hosts, Diagnostics>>,
    {
        let agents = hosts.joined.iter().map(|(host, joined)| (host.clone(), joined.agent.clone())).collect();
        let (declared, authority) = (hosts.joined.len(), hosts.system.authority()?);
        let (applicant, what) = (self.session.applicant()?, self.owner());
        let lease = Lease::acquire(&agents, declared, authority, &applicant, &what, self.bounds).await?;
        let are_same = |before: &Hosts, now: &Hosts| {
            let kind = SectionKind::Cluster;
            heads(&before.joined, kind).not_overtaken(AWAITED, &now.joined, kind, self.declared)
        };
        lease.with_hosts(hosts, look, are_same).await
    }

    /// Stages what is new and leaves the roll to the gateway; what changed without the declaration (a renewed issuer)
    /// and drift are rolled here, because no gateway will be planned for them.
    async fn behind_gateway(&self, hosts: Hosts) -> Result<(), Diagnostics> {
        let (staged, rolled) = self.split(&hosts)?;
        if staged.is_empty() && rolled.is_empty() {
            return Ok(());
        }
        let (hosts, lease) = self.leased(hosts, || self.join()).await?;
        let result = self.stage_and_roll(&hosts, &lease).await;
        lease.release().await;
        result
    }

    /// What is to be staged, and what rolled.
    fn split(&self, hosts: &Hosts) -> Result<(Orders, Orders), Diagnostic> {
        let orders = self.orders(hosts, None)?;
        let (mut staged, mut rolled) = (Orders::new(), Orders::new());
        for (host, joined) in &hosts.joined {
            let sections = orders.get(host).cloned().unwrap_or_default();
            let is_confirmed = is_confirmed(&joined.report);
            let is_quiet = joined.cluster().is_some_and(|kept| {
                kept.declared == *self.declared
                    && serde_json::to_value(&hosts.trust).is_ok_and(|trust| trust == kept.trust)
            });
            let is_ours_to_roll = is_quiet && is_confirmed;
            if !sections.is_empty() && !is_ours_to_roll {
                staged.insert(host.clone(), sections);
            } else if is_confirmed && (!sections.is_empty() || !joined.report.drift.is_empty()) {
                rolled.insert(host.clone(), sections);
            }
        }
        Ok((staged, rolled))
    }

    async fn stage_and_roll(&self, hosts: &Hosts, lease: &Lease) -> Result<(), Diagnostics> {
        let (staged, rolled) = self.split(hosts)?;
        // The gate looks at the whole supercluster, which this cluster is a part of.
        let whole = if rolled.is_empty() {
            None
        } else {
            self.session.remember_agents(hosts.system.hosts.values().map(|entry| entry.agent.clone()));
            Some(self.session.system(&self.trust.name).await?)
        };
        let what = self.owner();
        let conductor = self.conductor(whole.as_deref().unwrap_or(&hosts.system), hosts, &what, lease);
        let mut result = if staged.is_empty() { Ok(()) } else { conductor.stage(&staged).await };
        if result.is_ok() && !rolled.is_empty() {
            result = conductor.roll(&rolled).await;
        }
        result.map_err(|stopped| stopped.diagnostic(&what).into())
    }

    /// A cluster of its own is formed or rolled here.
    async fn alone(&self, hosts: &Hosts, lease: &Lease) -> Result<(), Diagnostics> {
        let course = course(&pasts(&hosts.joined, &hosts.system)).map_err(|why| {
            Diagnostic::error(
                "These hosts cannot be one cluster",
                format!("{}. Nothing was changed.", chain(&why)),
            )
        })?;
        let members = hosts.joined.keys().map(ToString::to_string).collect();
        let lineage = match &course {
            Course::Form => new_lineage()?,
            Course::Resume { lineage } | Course::Roll { lineage } => lineage.clone(),
        };
        let release = Release { meta_lineage: lineage, members };
        let what = self.owner();
        let conductor = self.conductor(&hosts.system, hosts, &what, lease);
        match course {
            Course::Form => self.form(hosts, &conductor, &release).await,
            Course::Resume { .. } => {
                let orders = self.everyone(hosts, &release)?;
                conductor.form(&orders).await.map_err(|stopped| stopped.diagnostic(&what).into())
            }
            Course::Roll { .. } => {
                let orders = self.everyone(hosts, &release)?;
                conductor.roll(&orders).await.map_err(|stopped| stopped.diagnostic(&what).into())
            }
        }
    }

    /// Orders for every host, empty where the ledger has it all: they are repaired.
    fn everyone(&self, hosts: &Hosts, release: &Release) -> Result<Orders, Diagnostic> {
        let mut orders = self.orders(hosts, Some(release))?;
        for host in hosts.joined.keys() {
            orders.entry(host.clone()).or_default();
        }
        Ok(orders)
    }

    /// Stages everywhere, checks that all reach each other, then starts all together.
    async fn form(
        &self,
        hosts: &Hosts,
        conductor: &Conductor<'_>,
        release: &Release,
    ) -> Result<(), Diagnostics> {
        let what = self.owner();
        let staged = self.orders(hosts, None)?;
        conductor.stage(&staged).await.map_err(|stopped| stopped.diagnostic(&what))?;
        let urls: BTreeMap<HostName, Vec<String>> = self
            .cluster
            .present()
            .map(|(host, _)| {
                let others = self.cluster.present().filter(|(other, _)| *other != host);
                let port = self.cluster.ports.cluster;
                let url = |address| format!("{}", std::net::SocketAddr::new(address, port));
                (host.clone(), others.map(|(_, node)| url(node.cluster_address)).collect())
            })
            .collect();
        crate::rollout::reach::wait_reached(&what, &hosts.joined, &urls, self.bounds).await?;
        // The staged sections are the ledgers' heads now.
        let mut joined = hosts.joined.clone();
        for (host, sections) in staged {
            if let Some(one) = joined.get_mut(&host) {
                replace_heads(one, sections);
            }
        }
        let sections =
            cluster_sections(self.cluster, &hosts.trust, self.declared, &hosts.materials, Some(release));
        let authority = hosts.system.authority()?;
        let mut released = orders(self.session.writer(), authority, &what, &joined, &sections);
        for host in joined.keys() {
            released.entry(host.clone()).or_default();
        }
        conductor.form(&released).await.map_err(|stopped| stopped.diagnostic(&what).into())
    }
}

/// `nats_cluster/<name>`.
pub(super) fn owner(name: &str) -> String {
    format!("nats_cluster/{name}")
}

/// What hosts hold of one kind.
pub(in crate::resources) fn heads(joined: &BTreeMap<HostName, Joined>, kind: SectionKind) -> Heads {
    Heads::of(joined.iter().map(|(host, one)| (host, one.sections.as_slice())), kind)
}

/// Puts newer sections in place of a ledger's.
pub(in crate::resources) fn replace_heads(joined: &mut Joined, sections: Vec<SignedSection>) {
    for section in sections {
        joined.sections.retain(|kept| kept.header.section != section.header.section);
        joined.sections.push(section);
    }
}

/// Material of every joined host, as their ledgers have it or new.
pub(super) fn materials(
    authority: &Authority,
    trust: &Trust,
    cluster: &Cluster,
    joined: &BTreeMap<HostName, Joined>,
) -> Result<BTreeMap<HostName, HostMaterial>, Diagnostics> {
    let now = OffsetDateTime::now_utc();
    let revoked = revoked_users(joined)?;
    let mut materials = BTreeMap::new();
    let mut problems = Diagnostics::new();
    for (host, node) in cluster.present() {
        let Some(one) = joined.get(host) else { continue };
        let kept = one.cluster();
        let revoked_at = revoked.get(&one.keys.system_user).copied();
        match material(authority, trust, &one.keys, &host_names(host, node), kept.as_ref(), revoked_at, now) {
            Ok(made) => _ = materials.insert(host.clone(), made),
            Err(why) => problems
                .error(format!("No certificate can be made for `{host}`"), format!("{}.", chain(&why))),
        }
    }
    if problems.is_empty() { Ok(materials) } else { Err(problems) }
}

/// Sections signed in the name of `writer`, for the hosts whose ledger differs.
pub(super) fn orders(
    writer: &str,
    authority: &Authority,
    owner: &str,
    joined: &BTreeMap<HostName, Joined>,
    sections: &BTreeMap<HostName, ClusterSection>,
) -> Orders {
    joined
        .iter()
        .filter_map(|(host, one)| {
            let to = Addressee { host, claim_id: &one.claim_id, owner, writer };
            let signed = sign(authority, to, one.head(SectionKind::Cluster), sections.get(host)?)?;
            Some((host.clone(), vec![signed]))
        })
        .collect()
}

/// What the stores of hosts say of their past.
pub(in crate::resources) fn pasts(
    joined: &BTreeMap<HostName, Joined>,
    system: &System,
) -> BTreeMap<HostName, Past> {
    let past = |(host, one): (&HostName, &Joined)| {
        let cluster = system.hosts.get(host).map_or("", |entry| entry.cluster.as_str());
        (host.clone(), Past::of(&one.report, cluster))
    };
    joined.iter().map(past).collect()
}

/// A name for a new meta group: 32 lower-case hex digits.
pub(in crate::resources) fn new_lineage() -> Result<String, Diagnostic> {
    Ok(data_encoding::HEXLOWER.encode(&random_bytes()?[..16]))
}

/// Whether everything but claims that the host took in is confirmed, and it has run.
fn is_confirmed(report: &Report) -> bool {
    let has_run = !matches!(report.run, RunStatus::Empty | RunStatus::Held);
    let sections = report.sections.iter().filter(|(kind, _)| **kind != SectionKind::Claims);
    let mut sections = sections.peekable();
    has_run
        && sections.peek().is_some()
        && sections.all(|(_, section)| section.confirmed == Some(section.generation))
}

/// Findings of hosts, one text each.
pub(in crate::resources) fn findings(reports: &BTreeMap<HostName, Report>) -> Vec<String> {
    let of = |(host, report): (&HostName, &Report)| {
        let host = host.clone();
        report
            .findings
            .iter()
            .map(move |finding| format!("{host}: {} {}; {}", finding.item, finding.problem, finding.remedy))
            .collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}
