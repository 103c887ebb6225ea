//! Finding a system from any agent that answers: the ledgers name every host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use host_state::document::{ClusterSection, GatewaySection};
use host_state::{SectionKind, chain};
use identity::{Authority, AuthorityName, CallerPem, Generations, HostName, RootKey, Trust};
use nats_agent_api::ConnectError;
use nats_agent_api::order::Observation;
use nats_config::HostPort;
use tfplug::Diagnostic;

use super::{Agents, HostEntry, IdentityCard, System, same_operator};
use crate::keys::{Kind, same_authority};
use crate::topology::absent_nodes;

/// How long other seeds may take once one has answered: they may know a newer gateway.
const OTHERS_GRACE: Duration = Duration::from_secs(1);
/// How many rotations of the certificate authorities are tried when nothing says how many there were.
const CA_GENERATIONS: u32 = 8;

/// As whom a system is looked for.
#[derive(Clone, Copy)]
pub(crate) enum Seeker<'a> {
    Root(&'a RootKey),
    Reader(&'a CallerPem),
}

/// Where to ask, and as whom.
pub(crate) struct Search<'a> {
    pub(crate) seeker: Seeker<'a>,
    pub(crate) authority: &'a AuthorityName,
    /// Generations that a resource of this process named; absent when none did.
    pub(crate) generations: Option<Generations>,
    pub(crate) addresses: BTreeSet<HostPort>,
    pub(crate) agents: &'a Arc<Agents>,
}

/// The system that the ledgers of the agents at `addresses` describe.
///
/// # Errors
/// When nobody answers, nobody has a section yet, or the root key is another authority's.
pub(crate) async fn find_system(search: Search<'_>) -> Result<System, Diagnostic> {
    let Search { seeker, authority, generations, addresses, agents } = search;
    let cards = match seeker {
        Seeker::Root(root_key) => cards(root_key, authority, generations)?,
        Seeker::Reader(caller) => {
            same_authority(Kind::Reader, caller.authority(), authority)?;
            vec![IdentityCard::of_caller(caller)]
        }
    };
    let cards = &cards;
    let mut asked: FuturesUnordered<_> =
        addresses.iter().map(|address| async move { (address, ask(agents, cards, address).await) }).collect();
    let mut known = Ledgers::default();
    let mut refusals = Vec::new();
    let mut deadline = None;
    loop {
        let next = match deadline {
            None => asked.next().await,
            Some(deadline) => tokio::time::timeout_at(deadline, asked.next()).await.unwrap_or_default(),
        };
        match next {
            None => break,
            Some((address, Ok(observation))) => match known.take(observation) {
                Ok(()) if known.trust.is_some() => {
                    deadline.get_or_insert_with(|| tokio::time::Instant::now() + OTHERS_GRACE);
                }
                Ok(()) => refusals.push(format!("`{address}`: its host has no cluster yet.")),
                Err(why) => refusals.push(format!("`{address}`: {why}.")),
            },
            Some((_, Err(why))) => refusals.push(format!("{why}.")),
        }
    }
    drop(asked);
    let Some(trust) = &known.trust else {
        refusals.sort();
        return Err(Diagnostic::error(
            format!("No host of authority `{authority}` tells of its system"),
            format!(
                "These agents were asked, and one answer would do:\n{}\nBring one back and apply again. If the hosts are \
                 still to be made, apply their `nats_cluster` first.",
                refusals.join("\n")
            ),
        ));
    };
    let (gateway, hosts) = known.hosts()?;
    match seeker {
        Seeker::Root(root_key) => {
            let derived =
                Authority::derive(root_key, authority.clone(), trust.generations).map_err(|why| {
                    Diagnostic::error("The authority cannot be derived", format!("{}.", chain(&why)))
                })?;
            same_operator(&derived.trust(), trust.operator.as_str())?;
            Ok(System::new(derived, gateway, hosts, Arc::clone(agents))?.with_absent(known.absent()))
        }
        Seeker::Reader(caller) => {
            let card = IdentityCard::of_caller(caller);
            let system = System::for_reader(card, trust.clone(), gateway, hosts, Arc::clone(agents));
            Ok(system.with_absent(known.absent()))
        }
    }
}

/// Certificates to try, in order.
fn cards(
    root_key: &RootKey,
    name: &AuthorityName,
    generations: Option<Generations>,
) -> Result<Vec<IdentityCard>, Diagnostic> {
    let derive = |generations| {
        Authority::derive(root_key, name.clone(), generations)
            .map_err(|why| Diagnostic::error("The authority cannot be derived", format!("{}.", chain(&why))))
    };
    if let Some(generations) = generations {
        return Ok(vec![IdentityCard::of(&derive(generations)?)?]);
    }
    let mut host_ca = String::new();
    for generation in (2..=CA_GENERATIONS).step_by(2) {
        // Each bundle holds this one and the one before.
        let authority = derive(Generations { host_ca: generation, ..Generations::default() })?;
        host_ca.push_str(&authority.trust().host_ca_bundle());
    }
    (1..=CA_GENERATIONS)
        .map(|fleet_ca| {
            let authority = derive(Generations { fleet_ca, ..Generations::default() })?;
            IdentityCard::with_host_ca(&authority, host_ca.clone())
        })
        .collect()
}

/// What the agent at `address` sees, with the first certificate that it takes.
async fn ask(agents: &Agents, cards: &[IdentityCard], address: &HostPort) -> Result<Observation, String> {
    let mut refused = String::new();
    for card in cards {
        match agents.connect(card, address, None).await {
            Ok(agent) => return agent.observe().await.map_err(|why| chain(&why)),
            Err(why @ ConnectError::Refused { .. }) => {
                if refused.is_empty() {
                    refused = chain(&why);
                }
            }
            Err(why) => return Err(chain(&why)),
        }
    }
    Err(refused)
}

/// What the ledgers that were read say, the newest of each.
#[derive(Debug, Default)]
struct Ledgers {
    trust: Option<Trust>,
    trust_generation: u64,
    gateway: Option<(u64, GatewaySection)>,
    clusters: BTreeMap<String, (u64, ClusterSection)>,
}

impl Ledgers {
    fn take(&mut self, observation: Observation) -> Result<(), String> {
        for section in observation.sections {
            let generation = section.header.generation;
            match section.header.section {
                SectionKind::Cluster => {
                    let body: ClusterSection = section.body().map_err(|why| chain(&why))?;
                    if self.trust.is_none() || generation > self.trust_generation {
                        let trust = serde_json::from_value(body.trust.clone());
                        self.trust =
                            Some(trust.map_err(|why| format!("its authority cannot be read: {why}"))?);
                        self.trust_generation = generation;
                    }
                    let known = self.clusters.get(&body.cluster).map(|(generation, _)| *generation);
                    if known.is_none_or(|known| generation > known) {
                        self.clusters.insert(body.cluster.clone(), (generation, body));
                    }
                }
                SectionKind::Gateway => {
                    let body = section.body().map_err(|why| chain(&why))?;
                    if self.gateway.as_ref().is_none_or(|(known, _)| generation > *known) {
                        self.gateway = Some((generation, body));
                    }
                }
                SectionKind::Claims => {}
            }
        }
        Ok(())
    }

    /// Nodes that the clusters declare as absent.
    fn absent(&self) -> BTreeSet<HostName> {
        self.clusters.values().flat_map(|(_, section)| absent_nodes(section)).collect()
    }

    /// The gateway's name and every host.
    fn hosts(&self) -> Result<(Option<String>, BTreeMap<HostName, HostEntry>), Diagnostic> {
        let unreadable = |what: &str, why: &dyn std::fmt::Display| {
            Diagnostic::error("A host of the ledger cannot be read", format!("`{what}`: {why}."))
        };
        let mut hosts = BTreeMap::new();
        let mut add = |host: &str, cluster: &str, agent: &str| {
            let name: HostName = host.parse().map_err(|why| unreadable(host, &why))?;
            let agent: HostPort = agent.parse().map_err(|why| unreadable(host, &why))?;
            hosts.insert(name, HostEntry { cluster: cluster.to_owned(), agent });
            Ok::<_, Diagnostic>(())
        };
        for (_, section) in self.clusters.values() {
            for (host, peer) in &section.peers {
                add(host, &section.cluster, &peer.agent)?;
            }
        }
        if let Some((_, section)) = &self.gateway {
            for (host, told) in &section.hosts {
                add(host, &told.cluster, &told.agent)?;
            }
        }
        Ok((self.gateway.as_ref().map(|(_, section)| section.gateway.clone()), hosts))
    }
}
