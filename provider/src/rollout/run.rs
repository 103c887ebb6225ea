//! Doing it: staging, forming and rolling. Each host is changed by its own agent, which goes back by itself when the
//! change does not pass; what is decided here is who is asked when, and whether to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use host_state::plan::Impact;
use host_state::report::{ApplyEvent, Outcome, Report, RunStatus};
use host_state::{Plan, SectionKind, SignedSection, chain};
use identity::HostName;
use nats_agent_api::CallError;
use nats_agent_api::order::{ApplyMode, ApplyOrder};
use serde_json::json;

use super::audit::Heard;
use super::gate::wait_well;
use super::join::Joined;
use super::lease::Lease;
use super::plan::{HostChange, Wave, waves};
use super::progress::{Bounds, Progress};
use super::stopped::Stopped;
use super::trial;
use crate::agents::System;
use crate::health::ExpectedTopology;
use crate::topology::{Rollout, absent_nodes};

/// How long a system may take to be well before a server is taken down; it is asked to be well, not waited for.
const BEFORE: Duration = Duration::from_secs(120);
/// How long the meta leader may take to hand over. A server that stops while it leads costs about five seconds
/// without one, so it is no reason to give up.
const STEP_DOWN: Duration = Duration::from_secs(10);
/// Attempts to reach an agent whose connection broke during an apply.
const ATTEMPTS: u32 = 5;

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

/// What hosts did with an order.
#[derive(Debug, Default)]
struct Results {
    done: BTreeMap<HostName, Report>,
    failed: BTreeMap<HostName, String>,
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
        let everyone =
            self.system.hosts.iter().map(|(host, entry)| (host.to_string(), entry.cluster.clone())).collect();
        let settle = self.rollout.settle.as_duration();
        let stopped =
            |reason: String| Stopped { changed: changed.clone(), reason: Some(reason), ..Stopped::default() };
        wait_well(self.system, &self.expected(&everyone), settle, self.bounds, &mut progress)
            .await
            .map_err(|why| stopped(why.to_string()))?;
        self.wait_formed(&mut progress).await.map_err(stopped)
    }

    /// The part of the system that runs now, by name with its cluster; who is declared and does not is absent.
    fn expected(&self, running: &BTreeMap<String, String>) -> ExpectedTopology {
        let told = self.hosts.values().filter_map(Joined::cluster).flat_map(|section| absent_nodes(&section));
        let held = self.system.hosts.keys().cloned();
        let absent = self.system.absent.iter().cloned().chain(told).chain(held).map(|host| host.to_string());
        // Who comes back is absent in what the others were told before, and has a seat before it runs.
        let absent = absent.filter(|host| !running.contains_key(host)).collect();
        ExpectedTopology { servers: running.clone(), absent, taking_down: 0 }
    }

    /// Whether some declared host is absent, by what is known here or what hosts were told.
    fn is_one_away(&self) -> bool {
        let mut told =
            self.hosts.values().filter_map(Joined::cluster).flat_map(|section| absent_nodes(&section));
        !self.system.absent.is_empty() || told.next().is_some()
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
        let mut running: BTreeMap<String, String> = self
            .hosts
            .iter()
            .filter(|(_, joined)| joined.report.run == RunStatus::Running)
            .filter_map(|(host, _)| Some((host.to_string(), self.system.hosts.get(host)?.cluster.clone())))
            .collect();
        running.extend(self.others_running().await);
        for wave in waves(&changes, self.rollout.max_unavailable, self.is_one_away()) {
            let result = self.go(&wave, orders, &mut running).await;
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

    /// Servers of other clusters behind the same gateway: the gates look at the whole supercluster, and what is not
    /// expected in it keeps them shut. Only a host that says so is not running; one that says nothing is expected.
    async fn others_running(&self) -> BTreeMap<String, String> {
        let own: BTreeSet<&str> = self
            .hosts
            .keys()
            .filter_map(|host| Some(self.system.hosts.get(host)?.cluster.as_str()))
            .collect();
        let others = self.system.hosts.iter().filter(|(_, entry)| !own.contains(entry.cluster.as_str()));
        let asked = join_all(others.map(|(host, entry)| async move {
            let is_running = match self.system.agent(host).await {
                Ok(agent) => agent.observe().await.map_or(true, |seen| seen.report.run == RunStatus::Running),
                Err(_) => true,
            };
            is_running.then(|| (host.to_string(), entry.cluster.clone()))
        }));
        asked.await.into_iter().flatten().collect()
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
            let change = HostChange {
                cluster,
                impact: plan.impact,
                is_fresh: self.hosts.get(&host).is_none_or(|joined| !joined.report.formed),
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
        running: &mut BTreeMap<String, String>,
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
            let expected = ExpectedTopology { taking_down: wave.hosts.len(), ..self.expected(running) };
            wait_well(self.system, &expected, Duration::ZERO, &before, &mut progress)
                .await
                .map_err(|why| stop(format!("before `{names}` was taken down, {why}")))?;
            if wave.steps_down {
                self.step_down(&wave.hosts, running).await;
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
        for host in &changed {
            if let (Impact::Start, Some(entry)) = (wave.impact, self.system.hosts.get(host)) {
                running.insert(host.to_string(), entry.cluster.clone());
            }
            if wave.impact == Impact::Stop {
                running.remove(host.as_str());
            }
        }
        if wave.impact != Impact::None && !running.is_empty() {
            let settle = self.rollout.settle.as_duration();
            let after =
                wait_well(self.system, &self.expected(running), settle, self.bounds, &mut progress).await;
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

    async fn apply(&self, orders: &Orders, hosts: &BTreeSet<HostName>, mode: ApplyMode) -> Results {
        let asked = hosts.iter().filter_map(|host| Some((host, self.hosts.get(host)?)));
        let applied = join_all(asked.map(|(host, joined)| async move {
            let sections = orders.get(host).cloned().unwrap_or_default();
            (host.clone(), self.apply_one(host, joined, sections, mode).await)
        }));
        let mut results = Results::default();
        for (host, result) in applied.await {
            match result {
                Ok(report) => _ = results.done.insert(host, report),
                Err(why) => _ = results.failed.insert(host, why),
            }
        }
        results
    }

    /// A connection that breaks is made again: the agent went on, and taking the same sections in twice is one.
    async fn apply_one(
        &self,
        host: &HostName,
        joined: &Joined,
        sections: Vec<SignedSection>,
        mode: ApplyMode,
    ) -> Result<Report, String> {
        let mut attempt = 1;
        loop {
            match self.attempt(host, joined, sections.clone(), mode).await {
                Ok((Outcome::Confirmed | Outcome::Staged, report)) => {
                    let status = report.firewall.as_ref();
                    if let Some(trial) = status.and_then(|firewall| firewall.trial.as_ref()) {
                        trial::confirm(self.system, host, trial).await?;
                    }
                    return Ok(report);
                }
                Ok((Outcome::RolledBack { step, reason }, _)) => {
                    return Err(format!(
                        "it went back to what it ran before, because `{step}` failed: {reason}"
                    ));
                }
                Ok((Outcome::Refused { reason }, _)) => return Err(format!("it refused: {reason}")),
                Err(CallError::Lost { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Err(why) => return Err(chain(&why)),
            }
        }
    }

    async fn attempt(
        &self,
        host: &HostName,
        joined: &Joined,
        sections: Vec<SignedSection>,
        mode: ApplyMode,
    ) -> Result<(Outcome, Report), CallError> {
        let order = ApplyOrder { sections, mode, lease_id: self.lease.id().to_owned() };
        let stream = joined.agent.apply(order).await?;
        let what = self.what;
        let finished = stream
            .finish(|event| match event {
                ApplyEvent::Started { step } => tracing::info!("{what}: `{host}`: {step}"),
                ApplyEvent::Done { step, millis } => {
                    tracing::debug!("{what}: `{host}`: {step} took {millis} ms")
                }
                ApplyEvent::Finished { .. } => {}
            })
            .await;
        if let Ok((_, report)) = &finished {
            self.heard.hear(host, report);
        }
        finished
    }
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
