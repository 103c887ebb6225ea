//! What a destroy of a cluster does: its servers stop, its stores stay.

use std::collections::BTreeMap;

use host_state::report::RunStatus;
use identity::HostName;
use tfplug::{Diagnostic, Diagnostics};

use super::conduct::{Conduct, Hosts, materials, orders};
use super::look::look_again;
use crate::agents::same_operator;
use crate::rollout::join::Joined;
use crate::rollout::run::Orders;
use crate::topology::{Cluster, cluster_sections};

impl Conduct<'_> {
    /// Stops the servers and keeps their stores: the sections lose their release, so that an apply of the same
    /// declaration takes the hosts up again. A cluster that a gateway still runs is refused, and one that somebody else has
    /// changed since the destroy was planned.
    ///
    /// May be repeated. A host that does not answer is a warning: its server goes on until its agent is told.
    pub(super) async fn hold(&self) -> Result<Diagnostics, Diagnostics> {
        let (hosts, warnings) = self.reached().await?;
        if self.cluster.gateway {
            return still_run(self.cluster, &hosts.joined)
                .map_or(Ok(warnings), |problem| Err(problem.into()));
        }
        self.as_planned(&hosts.joined)?;
        if self.held(&hosts)?.is_empty() {
            return Ok(warnings);
        }
        let look = || async { self.reached().await.map(|(hosts, _)| hosts) };
        let (hosts, lease) = self.leased(hosts, look).await?;
        let what = self.owner();
        let conductor = self.conductor(&hosts.system, &hosts, &what, &lease);
        let result = match self.held(&hosts) {
            Ok(held) => conductor.all_at_once(&held).await.map_err(|stopped| stopped.diagnostic(&what)),
            Err(problem) => Err(problem),
        };
        lease.release().await;
        self.session.invalidate().await;
        result.map(|_| warnings).map_err(Diagnostics::from)
    }

    /// The hosts that answer, and a warning for each that does not.
    async fn reached(&self) -> Result<(Hosts, Diagnostics), Diagnostics> {
        let Conduct { session, trust, cluster, .. } = *self;
        let authority = session.authority(&trust.name, trust.generations)?;
        same_operator(&authority.trust(), &trust.operator)?;
        let mut system = self.system(authority)?;
        let addresses =
            system.hosts.iter().map(|(host, entry)| (host.clone(), entry.agent.clone())).collect();
        let look = look_again(session, system.card(), &addresses, &self.heard.newest()).await;
        let warnings = look.silent.iter().map(|(host, why)| {
            let detail = format!("`{host}`: {why}. If its server runs, it goes on until its agent is told.");
            Diagnostic::warning(format!("Host `{host}` was not told"), detail)
        });
        let warnings: Diagnostics = warnings.collect();
        let mut joined = BTreeMap::new();
        for (host, seen) in look.seen {
            self.heard.look(&host, &seen.report, seen.audit_hash.as_ref());
            let agent = system.agent(&host).await?;
            if let Some(one) = Joined::of(agent, seen) {
                joined.insert(host, one);
            }
        }
        system.hosts.retain(|host, _| joined.contains_key(host));
        let trust = system.trust.clone();
        let materials = materials(system.authority()?, &trust, cluster, &joined)?;
        Ok((Hosts { trust, system, joined, materials }, warnings))
    }

    /// Sections without release, for hosts whose ledger has another.
    fn held(&self, hosts: &Hosts) -> Result<Orders, Diagnostic> {
        let sections = cluster_sections(self.cluster, &hosts.trust, self.declared, &hosts.materials, None);
        let authority = hosts.system.authority()?;
        Ok(orders(self.session.writer(), authority, &self.owner(), &hosts.joined, &sections))
    }
}

/// Refuses to take a cluster away from a gateway that runs it: its streams and its votes would go with it.
fn still_run(cluster: &Cluster, joined: &BTreeMap<HostName, Joined>) -> Option<Diagnostic> {
    let running = |(host, one): (&HostName, &Joined)| {
        (one.report.run == RunStatus::Running).then(|| format!("`{host}`"))
    };
    let running: Vec<String> = joined.iter().filter_map(running).collect();
    (!running.is_empty()).then(|| {
        Diagnostic::error(
            format!("Cluster `{}` is still part of a running gateway", cluster.name),
            format!(
                "Its servers {} run and vote. Destroy the `nats_gateway` first, which stops all and keeps their stores. \
                 Taking one cluster out of a running gateway is not supported yet.",
                running.join(", ")
            ),
        )
    })
}
