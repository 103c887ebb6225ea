//! What a destroy of a gateway does: all servers stop, and keep names, lineage and stores.

use std::collections::BTreeMap;

use host_state::document::GatewaySection;
use host_state::{SectionKind, chain};
use identity::HostName;
use tfplug::{Diagnostic, Diagnostics};

use super::conduct::Conduct;
use crate::agents::System;
use crate::resources::cluster::{Look, look_again};
use crate::rollout::join::Joined;
use crate::rollout::lease::Lease;
use crate::rollout::run::Orders;

impl Conduct<'_> {
    /// Stops and holds all servers; names, lineage and stores are kept. With `is_lost` hosts that do not answer are
    /// only warned about. Refused when somebody else has changed the gateway since the destroy was planned.
    ///
    /// May be repeated; a crash half-way leaves some servers running.
    pub(super) async fn hold(&self, is_lost: bool) -> Result<Diagnostics, Diagnostics> {
        let mut system = self.system()?;
        let addresses =
            system.hosts.iter().map(|(host, entry)| (host.clone(), entry.agent.clone())).collect();
        let look = look_again(self.session, system.card(), &addresses, &self.heard.newest()).await;
        let mut warnings = Diagnostics::new();
        for (host, why) in &look.silent {
            let told = if is_lost { Diagnostic::warning } else { Diagnostic::error };
            let remedy = "Bring it back, or set `lost = true` when it is gone for ever.";
            warnings.push(told(
                format!("Host `{host}` was not told to stop"),
                format!("`{host}`: {why}. {remedy}"),
            ));
        }
        if warnings.has_errors() {
            return Err(warnings);
        }
        let joined = self.told(&system, look).await?;
        system.hosts.retain(|host, _| joined.contains_key(host));
        self.as_planned(&joined)?;
        if self.held(&system, &joined)?.is_empty() {
            return Ok(warnings);
        }
        let look = || async {
            let addresses =
                system.hosts.iter().map(|(host, entry)| (host.clone(), entry.agent.clone())).collect();
            let look = look_again(self.session, system.card(), &addresses, &self.heard.newest()).await;
            self.told(&system, look).await
        };
        let (joined, lease) = self.leased(&system, joined, look).await?;
        let result = self.stop_all(&system, &joined, &lease).await;
        lease.release().await;
        self.session.invalidate().await;
        result.map(|()| warnings)
    }

    /// Those of the hosts that were ever told of a gateway; others have nothing to hold.
    async fn told(&self, system: &System, look: Look) -> Result<BTreeMap<HostName, Joined>, Diagnostics> {
        let mut joined = BTreeMap::new();
        for (host, seen) in look.seen {
            self.heard.look(&host, &seen.report, seen.audit_hash.as_ref());
            let agent = system.agent(&host).await?;
            if let Some(one) = Joined::of(agent, seen).filter(|one| one.head(SectionKind::Gateway).is_some())
            {
                joined.insert(host, one);
            }
        }
        Ok(joined)
    }

    /// Sections without release, for hosts whose ledger has this gateway with another.
    fn held(&self, system: &System, joined: &BTreeMap<HostName, Joined>) -> Result<Orders, Diagnostic> {
        let mut orders = Orders::new();
        let mine = self.owner();
        for (host, one) in joined {
            let Some(head) = one.head(SectionKind::Gateway).filter(|head| head.header.owner == mine) else {
                continue;
            };
            let mut section: GatewaySection = head.body().map_err(|why| {
                Diagnostic::error(
                    format!("The ledger of `{host}` cannot be read"),
                    format!("{}.", chain(&why)),
                )
            })?;
            section.release = None;
            let of_one = BTreeMap::from([(host.clone(), one.clone())]);
            orders.extend(self.signed(system, &of_one, &section)?);
        }
        Ok(orders)
    }

    async fn stop_all(
        &self,
        system: &System,
        joined: &BTreeMap<HostName, Joined>,
        lease: &Lease,
    ) -> Result<(), Diagnostics> {
        let what = self.owner();
        let conductor = self.conductor(system, joined, &what, lease);
        let stopped = conductor.all_at_once(&self.held(system, joined)?).await;
        stopped.map(drop).map_err(|stopped| stopped.diagnostic(&what).into())
    }
}
