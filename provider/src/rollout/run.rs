//! Doing it: staging, forming and rolling. Each host is changed by its own agent, which goes back by itself when the
//! change does not pass; what is decided here is who is asked when, and whether to go on.

mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use host_state::document::GatewaySection;
use host_state::plan::Impact;
use host_state::report::{Report, RunStatus};
use host_state::{Plan, SectionKind, SignedSection, chain};
use identity::HostName;
use nats_agent_api::order::ApplyMode;
use serde_json::json;

use self::ask::Results;
use super::audit::Heard;
use super::gate::wait_well;
use super::join::Joined;
use super::lease::Lease;
use super::plan::{HostChange, Wave, may_change_pins, waves};
use super::progress::{Bounds, Progress};
use super::roster::Roster;
use super::stopped::Stopped;
use crate::agents::System;
use crate::health::ExpectedTopology;
use crate::topology::{Rollout, absent_nodes};

/// How long a system may take to be well before a server is taken down; it is asked to be well, not waited for.
const BEFORE: Duration = Duration::from_secs(120);
/// How long the meta leader may take to hand over. A server that stops while it leads costs about five seconds
/// without one, so it is no reason to give up.
const STEP_DOWN: Duration = Duration::from_secs(10);

/// Sections that each host is to take in; a host with none is repaired.
pub type Orders = BTreeMap<HostName, Vec<SignedSection>>;

/// One change of many hosts.
#[derive(Debug)]
pub struct Conductor<'a> {
    /// Where health is asked for and the meta leader is moved.
    pub system: &'a System,
    /// The hosts, as they were when joined.
    pub hosts: &'a BTreeMap<HostName, Joined>,
    /// What is being changed, like `nats_gateway/global`.
    pub what: &'a str,
    /// Held all the while.
    pub lease: &'a Lease,
    /// Its end.
    pub bounds: &'a Bounds,
    /// How careful to be.
    pub rollout: Rollout,
    /// Where it is told what hosts said in the end.
    pub heard: &'a Heard,
}

impl Conductor<'_> {
    /// Has all hosts take sections in and check them, at once; nothing is switched.
    ///
    /// # Errors
    /// Hosts that refused. May be repeated.
    pub async fn stage(&self, orders: &Orders) -> Result<(), Stopped> {
        let all: BTreeSet<HostName> = orders.keys().cloned().collect();
        // Another writer may have been here between our look and our lease; then nobody is told anything.
        if let Err(failed) = self.previews(orders, &all).await {
            return Err(Stopped { failed, untouched: all, ..Stopped::default() });
        }
        let Results { done, failed } = self.apply(orders, &all, ApplyMode::Stage).await;
        if failed.is_empty() {
            return Ok(());
        }
        Err(Stopped { changed: done.into_keys().collect(), failed, ..Stopped::default() })
    }

    /// Has all hosts switch at once, without order or gates: to start a system together, or to stop it.
    ///
    /// # Errors
    /// Hosts that refused or went back. May be repeated.
    pub async fn all_at_once(&self, orders: &Orders) -> Result<BTreeMap<HostName, Report>, Stopped> {
        let all: BTreeSet<HostName> = orders.keys().cloned().collect();
        let Results { done, failed } = self.apply(orders, &all, ApplyMode::Roll).await;
        if failed.is_empty() {
            Ok(done)
        } else {
            Err(Stopped { changed: done.into_keys().collect(), failed, ..Stopped::default() })
        }
    }

    /// Starts all hosts together and returns when the system has formed and is well.
    ///
    /// # Errors
    /// Hosts that did not start, or what is wrong with the system when the time is over. May be repeated: hosts that
    /// were released keep their lineage.
    pub async fn form(&self, orders: &Orders) -> Result<(), Stopped> {
        let done = self.all_at_once(orders).await?;
        let changed: BTreeSet<HostName> = done.into_keys().collect();
        let mut progress = Progress::new(self.what);
        let mut everyone = Roster::default();
        self.system.hosts.iter().for_each(|(host, entry)| everyone.note(host, &entry.cluster, None));
        let settle = self.rollout.settle.as_duration();
        let stopped =
            |reason: String| Stopped { changed: changed.clone(), reason: Some(reason), ..Stopped::default() };
        let expected = everyone.expected(self.system.hosts.keys(), &self.absent());
        wait_well(self.system, &expected, settle, self.bounds, &mut progress)
            .await
            .map_err(|why| stopped(why.to_string()))?;
        self.wait_formed(&mut progress).await.map_err(stopped)
    }

    /// Hosts that are marked absent, by what is known here or what hosts were told.
    fn absent(&self) -> BTreeSet<HostName> {
        let told = self.hosts.values().filter_map(Joined::cluster).flat_map(|section| absent_nodes(&section));
        self.system.absent.iter().cloned().chain(told).collect()
    }

    /// Whether some host's server may run without the links that it ought to have: it is absent, or it is back and others
    /// keep it out until they reload.
    fn is_one_away(&self) -> bool {
        let runs = |one: &&Joined| one.report.run == RunStatus::Running;
        let pins: Vec<String> = self.hosts.values().filter(runs).map(|one| one.keys.leaf_pin()).collect();
        let told = |one: &Joined| one.head(SectionKind::Gateway)?.body::<GatewaySection>().ok();
        let let_in = self.hosts.values().filter_map(told).map(|section| section.pins);
        !self.absent().is_empty() || is_kept_out(&pins, let_in)
    }

    /// Every agent has seen a meta leader, so that none will ever be formed into another system.
    async fn wait_formed(&self, progress: &mut Progress) -> Result<(), String> {
        loop {
            let looks = join_all(self.hosts.iter().map(|(host, joined)| async move {
                match joined.agent.observe().await {
                    Ok(seen) if seen.report.formed => None,
                    Ok(_) => Some(format!("`{host}` has not seen a meta leader")),
                    Err(why) => Some(format!("`{host}`: {}", chain(&why))),
                }
            }));
            let missing: Vec<String> = looks.await.into_iter().flatten().collect();
            let Some(first) = missing.first() else { return Ok(()) };
            progress.tell(&format!("waiting for every agent to mark its store as formed: {first}"));
            if let Err(ended) = self.bounds.pause(Duration::from_secs(1)).await {
                return Err(format!("{}; {ended}", missing.join("; ")));
            }
        }
    }

    /// Changes the hosts in waves, with gates between them.
    ///
    /// # Errors
    /// Where it stopped and why. May be repeated: what was changed is skipped.
    pub async fn roll(&self, orders: &Orders) -> Result<(), Stopped> {
        let mut left: BTreeSet<HostName> = orders
            .iter()
            .filter(|(host, sections)| self.has_work(host, sections))
            .map(|(host, _)| host.clone())
            .collect();
        let mut changed = BTreeSet::new();
        let changes = match self.changes(orders, &left).await {
            Ok(changes) => changes,
            Err(failed) => return Err(Stopped { failed, untouched: left, ..Stopped::default() }),
        };
        let mut roster = self.roster().await;
        for wave in waves(&changes, self.rollout.max_unavailable, self.is_one_away()) {
            let result = self.go(&wave, orders, &mut roster).await;
            match result {
                Ok(done) => {
                    for host in done {
                        left.remove(&host);
                        changed.insert(host);
                    }
                }
                Err((done, failed, reason)) => {
                    changed.extend(done);
                    left.retain(|host| !changed.contains(host) && !failed.contains_key(host));
                    return Err(Stopped { changed, failed, untouched: left, reason });
                }
            }
        }
        Ok(())
    }

    /// Who runs, of other clusters behind the same gateway too: the gates look at the whole supercluster, and what is not
    /// expected in it keeps them shut. Only a host that says so is not running; one that says nothing is expected.
    async fn roster(&self) -> Roster {
        let mut roster = Roster::default();
        let mut own = BTreeSet::new();
        for (host, joined) in self.hosts {
            let Some(entry) = self.system.hosts.get(host) else { continue };
            own.insert(entry.cluster.as_str());
            roster.note(host, &entry.cluster, Some(&joined.report));
        }
        let others = self.system.hosts.iter().filter(|(_, entry)| !own.contains(entry.cluster.as_str()));
        let asked = join_all(others.map(|(host, entry)| async move {
            let report = match self.system.agent(host).await {
                Ok(agent) => agent.observe().await.ok().map(|seen| seen.report),
                Err(_) => None,
            };
            (host, entry, report)
        }));
        for (host, entry, report) in asked.await {
            roster.note(host, &entry.cluster, report.as_ref());
        }
        roster
    }

    /// Whether there is anything to ask of a host: sections, an unconfirmed one, or drift.
    fn has_work(&self, host: &HostName, sections: &[SignedSection]) -> bool {
        let Some(joined) = self.hosts.get(host) else { return false };
        let report = &joined.report;
        let is_unconfirmed = report
            .sections
            .iter()
            .filter(|(kind, _)| **kind != SectionKind::Claims)
            .any(|(_, section)| section.confirmed != Some(section.generation));
        !sections.is_empty() || is_unconfirmed || !report.drift.is_empty()
    }

    async fn changes(
        &self,
        orders: &Orders,
        hosts: &BTreeSet<HostName>,
    ) -> Result<BTreeMap<HostName, HostChange>, BTreeMap<HostName, String>> {
        let (plans, leader) = tokio::join!(self.previews(orders, hosts), self.meta_leader());
        let change = |(host, plan): (HostName, Plan)| {
            let cluster = self.system.hosts.get(&host).map(|entry| entry.cluster.clone()).unwrap_or_default();
            let report = self.hosts.get(&host).map(|joined| &joined.report);
            let change = HostChange {
                cluster,
                impact: plan.impact,
                is_fresh: report.is_none_or(|report| !report.formed),
                changes_pins: report.is_some_and(|report| may_change_pins(&plan, report)),
                is_meta_leader: leader.as_deref() == Some(host.as_str()),
                leaderships: 0,
            };
            (host, change)
        };
        Ok(plans?.into_iter().map(change).collect())
    }

    /// What each host says an order would do, or why some will not take it.
    async fn previews(
        &self,
        orders: &Orders,
        hosts: &BTreeSet<HostName>,
    ) -> Result<BTreeMap<HostName, Plan>, BTreeMap<HostName, String>> {
        let asked = hosts.iter().filter_map(|host| Some((host, self.hosts.get(host)?, orders.get(host)?)));
        let asked = join_all(asked.map(|(host, joined, sections)| async move {
            (host.clone(), joined.agent.preview(sections.clone()).await)
        }));
        let (mut plans, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for (host, plan) in asked.await {
            match plan {
                Ok(plan) => _ = plans.insert(host, plan),
                Err(why) => _ = failed.insert(host, chain(&why)),
            }
        }
        if failed.is_empty() { Ok(plans) } else { Err(failed) }
    }

    async fn meta_leader(&self) -> Option<String> {
        let topology = ExpectedTopology::of(self.system);
        crate::health::meta_leader(self.system, &topology).await
    }

    /// One wave with its gates: who was changed, or who was, who failed and why.
    async fn go(
        &self,
        wave: &Wave,
        orders: &Orders,
        roster: &mut Roster,
    ) -> Result<Vec<HostName>, (Vec<HostName>, BTreeMap<HostName, String>, Option<String>)> {
        let stop = |reason: String| (Vec::new(), BTreeMap::new(), Some(reason));
        self.bounds.check().map_err(|ended| stop(ended.to_string()))?;
        self.lease.check().map_err(|problem| stop(problem.summary))?;
        let names: Vec<&str> = wave.hosts.iter().map(HostName::as_str).collect();
        let names = names.join(", ");
        let mut progress = Progress::new(self.what);
        if wave.impact == Impact::Restart {
            let mut before = self.bounds.clone();
            before.deadline = before.deadline.min(tokio::time::Instant::now() + BEFORE);
            let expected = roster.expected_to_spare(&wave.hosts, self.system.hosts.keys(), &self.absent());
            wait_well(self.system, &expected, Duration::ZERO, &before, &mut progress)
                .await
                .map_err(|why| stop(format!("before `{names}` was taken down, {why}")))?;
            if wave.steps_down {
                self.step_down(&wave.hosts, roster.running()).await;
            }
        }
        if wave.impact != Impact::None {
            tracing::info!("{}: {} {names}", self.what, verb(wave.impact));
        }
        let Results { done, failed } = self.apply(orders, &wave.hosts, ApplyMode::Roll).await;
        let changed: Vec<HostName> = done.keys().cloned().collect();
        if !failed.is_empty() {
            return Err((changed, failed, None));
        }
        for (host, report) in &done {
            let Some(entry) = self.system.hosts.get(host) else { continue };
            match wave.impact {
                Impact::Start => roster.note(host, &entry.cluster, None),
                Impact::Stop => roster.note(host, &entry.cluster, Some(report)),
                // Who was down and is held now is missed no longer.
                Impact::None if !roster.running().contains_key(host.as_str()) => {
                    roster.note(host, &entry.cluster, Some(report));
                }
                // One that ran has to run on.
                Impact::None | Impact::Reload | Impact::Restart => {}
            }
        }
        if wave.impact != Impact::None && !roster.running().is_empty() {
            let settle = self.rollout.settle.as_duration();
            let (declared, absent) = (self.system.hosts.keys(), self.absent());
            let expected = match wave.impact {
                Impact::Restart => roster.expected_to_spare(&BTreeSet::new(), declared, &absent),
                Impact::None | Impact::Reload | Impact::Start | Impact::Stop => {
                    roster.expected(declared, &absent)
                }
            };
            let after = wait_well(self.system, &expected, settle, self.bounds, &mut progress).await;
            after.map_err(|why| {
                (changed.clone(), BTreeMap::new(), Some(format!("after `{names}` was changed, {why}")))
            })?;
        }
        Ok(changed)
    }

    /// Asks the meta leader to hand over to a server that runs and is not being restarted; that it does not is no
    /// failure.
    async fn step_down(&self, hosts: &BTreeSet<HostName>, running: &BTreeMap<String, String>) {
        let Some(successor) = successor(hosts, running) else { return };
        let payload = json!({ "placement": { "preferred": successor } });
        let asked = async {
            let tunnel = self.system.system_tunnel().await.map_err(|problem| problem.detail)?;
            let request =
                tunnel.request("$JS.API.META.LEADER.STEPDOWN", payload.to_string().into_bytes(), STEP_DOWN);
            request.await.map_err(|why| chain(&why))
        };
        if let Err(why) = asked.await {
            tracing::warn!("{}: the meta leader did not hand over: {why}", self.what);
            return;
        }
        let until = tokio::time::Instant::now() + STEP_DOWN;
        while tokio::time::Instant::now() < until {
            let leader = self.meta_leader().await;
            if leader.is_some_and(|leader| !hosts.iter().any(|host| host.as_str() == leader)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Whether somebody lets in by pins, and not all of those that run.
fn is_kept_out(running: &[String], mut let_in: impl Iterator<Item = BTreeSet<String>>) -> bool {
    let_in.any(|pins| running.iter().any(|pin| !pins.contains(pin)))
}

/// Who is to lead the meta group while `hosts` restart: a running server, of a cluster in which none of them is where
/// there is one; absent when no other runs.
fn successor<'a>(hosts: &BTreeSet<HostName>, running: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let rolling: BTreeSet<&String> = hosts.iter().filter_map(|host| running.get(host.as_str())).collect();
    let others = running.iter().filter(|(name, _)| !hosts.iter().any(|host| host.as_str() == *name));
    others.min_by_key(|(_, cluster)| rolling.contains(cluster)).map(|(name, _)| name.as_str())
}

fn verb(impact: Impact) -> &'static str {
    match impact {
        Impact::None => "telling",
        Impact::Reload => "reloading",
        Impact::Restart => "restarting",
        Impact::Start => "starting",
        Impact::Stop => "stopping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_back_is_kept_out_until_all_have_its_pin() {
        let pins = |list: &[&str]| list.iter().map(|pin| (*pin).to_owned()).collect::<BTreeSet<_>>();
        let running = ["a", "b"].map(str::to_owned);
        for (told, is_kept_out) in [
            (vec![], false),
            (vec![pins(&["a", "b"]), pins(&["a", "b", "held"])], false),
            (vec![pins(&["a", "b"]), pins(&["a"])], true),
        ] {
            assert_eq!(super::is_kept_out(&running, told.clone().into_iter()), is_kept_out, "{told:?}");
        }
    }

    #[test]
    fn the_meta_leader_hands_over_to_a_server_that_runs() {
        let running = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(name, cluster)| ((*name).to_owned(), (*cluster).to_owned())).collect()
        };
        let restarting: BTreeSet<HostName> = ["a-1".parse().unwrap()].into();
        let lone = running(&[("a-1", "a"), ("a-2", "a"), ("a-3", "a")]);
        assert_eq!(successor(&restarting, &lone), Some("a-2"));
        let two = running(&[("a-1", "a"), ("a-2", "a"), ("b-1", "b")]);
        assert_eq!(successor(&restarting, &two), Some("b-1"));
        assert_eq!(successor(&restarting, &running(&[("a-1", "a")])), None);
    }
}
