//! Plans tried on a model: random hosts, every step done, and then nothing of the drift is left.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod host;
mod steps;

use std::collections::BTreeSet;

use host_state::desired::Run;
use host_state::document::{BinarySource, Profile, Release};
use host_state::observed::{BinaryObserved, FirewallObserved, ProcessObserved, StoreDisk, StoreObserved};
use host_state::plan::{Impact, Part};
use host_state::{Difference, Plan, Step, diff, drift, plan};
use nats_config::ServerConfig;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use host::{Host, host};

/// The differences, and the plan that the host's agent would make of them.
fn planned(host: &Host) -> (Vec<Difference>, Plan) {
    let differences = diff(&host.desired, &host.observed);
    let plan = plan(&host.desired, &host.observed, &differences, host.running_config.as_ref());
    (differences, plan)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn apply_then_no_drift_is_left_and_the_next_plan_is_empty(mut host in host()) {
        let (before, plan) = planned(&host);
        let done: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        for step in &plan.steps {
            steps::apply(step, &mut host);
        }
        let (after, next) = planned(&host);
        prop_assert_eq!(drift(&after).0, Vec::new(), "\nbefore: {:#?}\ndone: {:#?}", before, done);
        prop_assert!(next.is_empty(), "{:?}", next);
    }

    #[test]
    fn no_difference_no_plan_and_findings_alone_do_nothing(host in host()) {
        let (differences, plan) = planned(&host);
        let (drift, findings) = drift(&differences);
        prop_assert_eq!(plan.is_empty(), drift.is_empty(), "{:?} {:?}", drift, plan);
        prop_assert_eq!(differences.is_empty(), drift.is_empty() && findings.is_empty());
        prop_assert_eq!(plan.reasons.is_empty(), drift.is_empty());
    }

    #[test]
    fn nothing_is_started_or_stopped_on_a_store_that_may_be_anothers(host in host()) {
        let (differences, plan) = planned(&host);
        if differences.iter().any(Difference::blocks_start) && host.is_released() {
            for step in &plan.steps {
                let text = step.to_string();
                prop_assert!(!["start nats-server", "restart nats-server", "stop nats-server"].contains(&text.as_str()));
            }
        }
        if differences.iter().any(|one| matches!(one, Difference::StoreDanger(_))) {
            prop_assert!(!plan.steps.contains(&Step::PrepareStore));
        }
    }

    #[test]
    fn what_could_not_be_seen_is_told(host in host()) {
        let (_, findings) = drift(&diff(&host.desired, &host.observed));
        let told = findings.iter().filter(|finding| finding.problem.contains("could not be seen")).count();
        prop_assert_eq!(told, host.unseen(), "{:#?}", findings);
    }
}

/// A host that is in order and runs `running`, of which `desired` is asked.
fn settled(running: ServerConfig, desired: ServerConfig) -> Host {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut host = host().new_tree(&mut runner).unwrap().current();
    host.desired.config = running.clone();
    host.desired.rendered = Some(running.clone());
    host.desired.leaf_not_after = Some(host::NOT_AFTER.to_owned());
    host.desired.run = Run::Released(Release { meta_lineage: "l1".to_owned(), members: BTreeSet::new() });
    host.desired.claims.clear();
    host.desired.unit = None;
    host.desired.server.source =
        BinarySource::File { path: "/x".to_owned(), sha256: host::BINARY.to_owned() };
    host.observed.store = StoreObserved::Missing;
    host.observed.disk = Ok(host::good_disk());
    host.observed.firewall = FirewallObserved::Off;
    (host.desired.lineage, host.desired.formed, host.desired.store_id) = (None, false, None);
    host.running_config = Some(running);
    for step in
        [Step::InstallBinary, Step::PrepareStore, Step::WriteRendition { part: Part::Whole }, Step::Restart]
    {
        steps::apply(&step, &mut host);
    }
    host.desired.config = desired;
    host
}

fn steps_of(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_longer_list_of_addresses_waits_for_a_restart_and_is_no_drift() {
    let host = settled(host::config(0, 0, 0), host::config(0, 0, 1));
    let (differences, plan) = planned(&host);
    assert_eq!((differences, plan), (Vec::new(), Plan::empty()));
}

#[test]
fn a_reloadable_change_reloads_and_leaves_the_list_as_it_runs() {
    let mut host = settled(host::config(0, 0, 0), host::config(1, 0, 1));
    let (_, plan) = planned(&host);
    let reloadable = "write the part of the configuration that a reload brings";
    assert_eq!(steps_of(&plan), [reloadable, "reload nats-server"]);
    assert_eq!((plan.impact, plan.settings), (Impact::Reload, vec!["max_payload".to_owned()]));
    assert_eq!(plan.reasons, ["configuration `max_payload` is `1024`, should be `2048`"]);
    plan.steps.iter().for_each(|step| steps::apply(step, &mut host));
    assert_eq!(host.running_config, Some(host::config(1, 0, 0)));
}

#[test]
fn a_mixed_change_is_split_and_the_restart_brings_everything() {
    let mut host = settled(host::config(0, 0, 0), host::config(1, 1, 1));
    let (_, plan) = planned(&host);
    assert_eq!(
        steps_of(&plan),
        [
            "write the part of the configuration that a reload brings",
            "reload nats-server",
            "write the configuration",
            "restart nats-server"
        ]
    );
    assert_eq!(plan.impact, Impact::Restart);
    plan.steps.iter().for_each(|step| steps::apply(step, &mut host));
    assert_eq!(host.running_config, Some(host::config(1, 1, 1)));
}

#[test]
fn a_restart_for_another_reason_brings_the_list_along() {
    let mut host = settled(host::config(0, 0, 0), host::config(0, 0, 1));
    host.observed.process =
        ProcessObserved::Running { pid: 1, started_at: 0, binary_sha256: "old".to_owned() };
    let (_, plan) = planned(&host);
    assert_eq!(steps_of(&plan), ["write the configuration", "restart nats-server"]);
}

#[test]
fn what_is_installed_from_an_archive_is_what_runs_afterwards() {
    let mut host = settled(host::config(0, 0, 0), host::config(0, 0, 0));
    host.desired.server.source = host::download();
    steps::apply(&Step::InstallBinary, &mut host);
    assert_eq!(planned(&host), (Vec::new(), Plan::empty()));
    let BinaryObserved::Present { version, .. } = &mut host.observed.binary else { unreachable!() };
    *version = "2.14.0".to_owned();
    let (_, plan) = planned(&host);
    assert_eq!(steps_of(&plan), ["install nats-server", "restart nats-server"]);
}

#[test]
fn a_disk_that_is_gone_stops_no_server_and_starts_none() {
    let mut host = settled(host::config(0, 0, 0), host::config(0, 1, 0));
    host.observed.store = StoreObserved::Missing;
    let (differences, plan) = planned(&host);
    assert!(plan.is_empty(), "{plan:?}");
    let problems: Vec<String> = drift(&differences).1.into_iter().map(|finding| finding.problem).collect();
    assert_eq!(
        problems,
        [
            "`listen` cannot change: it takes a restart, and the server could not be started again",
            "store directory `/data` is gone, this host has data in it"
        ]
    );
    steps::apply(&Step::Stop, &mut host);
    assert!(!planned(&host).1.steps.contains(&Step::Start));
}

#[test]
fn the_model_of_a_host_is_a_configuration_that_reloads() {
    for (payload, port, route) in [(0, 0, 0), (1, 1, 1)] {
        assert_eq!(host::config(payload, port, route).validate(), Ok(()));
    }
}

/// What is said of a settled production host after `change`, drift before findings.
fn told_of_disk(change: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut host = settled(host::config(0, 0, 0), host::config(0, 0, 0));
    host.desired.profile = Profile::Production;
    host.observed.disk = Ok(StoreDisk { ballast: Some(host::BALLAST), ..host::good_disk() });
    change(&mut host);
    let (drift, findings) = drift(&planned(&host).0);
    let drift = drift.iter().map(ToString::to_string);
    drift.chain(findings.into_iter().map(|finding| finding.problem)).collect()
}

fn disk(host: &mut Host) -> &mut StoreDisk {
    host.observed.disk.as_mut().unwrap()
}

#[test]
fn nothing_starts_where_no_disk_is_mounted_or_nothing_can_be_written() {
    let on_root = "store directory `/data` lies on the root file system, /dev/sdb1 (ext4): no disk is mounted at it or \
                   above it";
    assert_eq!(told_of_disk(|_| {}), Vec::<String>::new());
    assert_eq!(told_of_disk(|host| disk(host).on_root = true), [on_root]);
    let allowed = |host: &mut Host| (disk(host).on_root, host.desired.store.on_root) = (true, true);
    assert_eq!(told_of_disk(allowed), Vec::<String>::new());
    let relaxed = |host: &mut Host| {
        (disk(host).on_root, host.desired.profile) = (true, Profile::Development);
    };
    assert_eq!(told_of_disk(relaxed), Vec::<String>::new());
    let unmounted = |host: &mut Host| {
        steps::apply(&Step::Stop, host);
        (disk(host).on_root, disk(host).ballast, host.observed.store) = (true, None, StoreObserved::Missing);
    };
    assert_eq!(
        told_of_disk(unmounted),
        ["store directory `/data` is gone, this host has data in it", on_root]
    );
    assert_eq!(
        told_of_disk(|host| disk(host).mount.options = BTreeSet::from(["ro".to_owned()])),
        ["store directory `/data` cannot be written: /dev/sdb1 (ext4) is mounted read-only at `/data`"]
    );
    assert_eq!(
        told_of_disk(|host| disk(host).free = 0),
        ["store directory `/data` is full: /dev/sdb1 (ext4) has no free byte"]
    );
}

#[test]
fn a_ballast_file_is_made_anew_once_there_is_room() {
    let gone = |host: &mut Host| disk(host).ballast = None;
    assert_eq!(told_of_disk(gone), ["store `ballast` is missing, should be `16 MiB`"]);
    assert_eq!(
        told_of_disk(|host| disk(host).ballast = Some(1 << 20)),
        ["store `ballast` is `1 MiB`, should be `16 MiB`"]
    );
    let tight = |host: &mut Host| (disk(host).ballast, disk(host).free) = (None, host::BALLAST);
    assert_eq!(told_of_disk(tight), ["there is no room for the ballast file of 16 MiB"]);
    let relaxed = |host: &mut Host| {
        (disk(host).ballast, host.desired.profile) = (None, Profile::Development);
    };
    assert_eq!(told_of_disk(relaxed), Vec::<String>::new());
}
