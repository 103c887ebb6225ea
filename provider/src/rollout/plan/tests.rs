//! Orders as cases, and what holds for every order.

use proptest::prelude::*;

use super::*;

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn changes(list: &[(&str, &str, Impact, bool)]) -> BTreeMap<HostName, HostChange> {
    let change = |cluster: &str, impact, is_meta_leader| HostChange {
        cluster: cluster.to_owned(),
        impact,
        is_fresh: true,
        is_meta_leader,
        leaderships: 0,
        changes_pins: false,
    };
    list.iter()
        .map(|(name, cluster, impact, leader)| (host(name), change(cluster, *impact, *leader)))
        .collect()
}

fn told(waves: &[Wave]) -> Vec<String> {
    let one = |wave: &Wave| {
        let hosts: Vec<&str> = wave.hosts.iter().map(HostName::as_str).collect();
        format!(
            "{:?} {}{}",
            wave.impact,
            hosts.join(","),
            if wave.steps_down { " after handing over" } else { "" }
        )
    };
    waves.iter().map(one).collect()
}

#[test]
fn restarts_end_with_the_meta_leader_in_the_last_cluster() {
    use Impact::Restart;
    let changes = changes(&[
        ("a-1", "a", Restart, true),
        ("a-2", "a", Restart, false),
        ("b-1", "b", Restart, false),
        ("b-2", "b", Restart, false),
        ("b-3", "b", Restart, false),
    ]);
    assert_eq!(
        told(&waves(&changes, 1, false)),
        ["Restart b-1", "Restart b-2", "Restart b-3", "Restart a-2", "Restart a-1 after handing over"]
    );
    assert_eq!(
        told(&waves(&changes, 2, false)),
        ["Restart b-1,b-2", "Restart b-3", "Restart a-2", "Restart a-1 after handing over"]
    );
}

#[test]
fn reloads_go_behind_a_canary_unless_pins_change_while_a_host_is_away() {
    let hosts = ["a-1", "a-2", "b-1"].map(|name| (name, &name[..1], Impact::Reload, false));
    let mut changes = changes(&hosts);
    let behind_canary = ["Reload a-1", "Reload a-2,b-1"];
    assert_eq!(told(&waves(&changes, 1, false)), behind_canary);
    assert_eq!(told(&waves(&changes, 1, true)), behind_canary);
    changes.get_mut(&host("b-1")).unwrap().changes_pins = true;
    assert_eq!(told(&waves(&changes, 1, false)), behind_canary);
    assert_eq!(told(&waves(&changes, 1, true)), ["Reload a-1,a-2,b-1"]);
    // Who restarts says nothing of those that reload.
    changes.get_mut(&host("b-1")).unwrap().impact = Impact::Restart;
    assert_eq!(told(&waves(&changes, 1, true)), ["Reload a-1", "Reload a-2", "Restart b-1"]);
}

#[test]
fn pins_change_by_name_or_by_what_a_killed_run_left() {
    let plan = |settings: &[&str]| Plan {
        settings: settings.iter().map(|name| (*name).to_owned()).collect(),
        ..Plan::empty()
    };
    let report = |drift: serde_json::Value| -> Report {
        serde_json::from_value(serde_json::json!({
            "agent_version": "1", "claim": null, "sections": {}, "rendition": null, "run": "running",
            "meta_lineage": null, "formed": true, "server": null, "drift": drift, "findings": [], "mesh": null,
            "certificates": {}, "audit": null, "observed_at": 0,
        }))
        .unwrap()
    };
    let well = report(serde_json::json!([]));
    for pins in ["cluster.tls.pinned_certs", "gateway.tls.pinned_certs", "tls.pinned_certs"] {
        assert!(may_change_pins(&plan(&["max_payload", pins]), &well), "{pins}");
    }
    assert!(!may_change_pins(&plan(&["max_payload", "cluster.tls.timeout"]), &well));
    let difference =
        host_state::Difference::RunningOther { desired: "sha256:a".into(), found: "sha256:b".into() };
    let left = report(serde_json::to_value(difference.told().unwrap()).unwrap());
    assert!(may_change_pins(&plan(&[]), &left));
    assert!(may_change_pins(&plan(&["max_payload"]), &left));
}

#[test]
fn those_that_lead_the_least_restart_first() {
    let mut changes = changes(&[("a-1", "a", Impact::Restart, false), ("a-2", "a", Impact::Restart, false)]);
    changes.get_mut(&host("a-1")).unwrap().leaderships = 3;
    assert_eq!(told(&waves(&changes, 1, false)), ["Restart a-2", "Restart a-1"]);
}

#[test]
fn reloads_go_first_behind_one_canary_and_new_servers_start_last() {
    use Impact::{None, Reload, Restart, Start, Stop};
    let changes = changes(&[
        ("a-1", "a", Reload, true),
        ("a-2", "a", Reload, false),
        ("a-3", "a", Reload, false),
        ("a-4", "a", Start, false),
        ("b-1", "b", Restart, false),
        ("b-2", "b", None, false),
        ("b-3", "b", Stop, false),
    ]);
    assert_eq!(
        told(&waves(&changes, 1, false)),
        ["None b-2", "Reload a-2", "Reload a-1,a-3", "Stop b-3", "Restart b-1", "Start a-4"]
    );
}

#[test]
fn members_that_are_down_start_before_others_restart() {
    use Impact::{Restart, Start};
    let mut changes =
        changes(&[("a-1", "a", Start, false), ("a-2", "a", Start, false), ("a-3", "a", Restart, false)]);
    changes.get_mut(&host("a-1")).unwrap().is_fresh = false;
    assert_eq!(told(&waves(&changes, 1, false)), ["Start a-1", "Restart a-3", "Start a-2"]);
}

fn past(cluster: &str, lineage: Option<&str>, formed: bool) -> Past {
    Past { cluster: cluster.to_owned(), lineage: lineage.map(str::to_owned), formed }
}

#[test]
fn one_formed_system_takes_fresh_ones_in() {
    let mut pasts = BTreeMap::from([
        (host("a-1"), past("a", Some("one"), true)),
        (host("b-1"), past("b", None, false)),
        (host("b-2"), past("b", Some("two"), false)),
    ]);
    assert_eq!(course(&pasts), Ok(Course::Roll { lineage: "one".to_owned() }));
    pasts.insert(host("c-1"), past("c", Some("three"), true));
    assert_eq!(
        course(&pasts).unwrap_err().to_string(),
        "`a-1` of cluster `a` and `c-1` of cluster `c` are formed systems of their own; formed systems are never \
         merged, because each deletes the other's streams"
    );
}

#[test]
fn a_formation_that_was_cut_short_goes_on_with_its_lineage() {
    let pasts =
        BTreeMap::from([(host("a-1"), past("a", None, false)), (host("a-2"), past("a", Some("one"), false))]);
    assert_eq!(course(&pasts), Ok(Course::Resume { lineage: "one".to_owned() }));
    assert_eq!(course(&BTreeMap::from([(host("a-1"), past("a", None, false))])), Ok(Course::Form));
}

fn any_changes() -> impl Strategy<Value = BTreeMap<HostName, HostChange>> {
    let impact = prop::sample::select(vec![
        Impact::None,
        Impact::Reload,
        Impact::Restart,
        Impact::Start,
        Impact::Stop,
    ]);
    let hosts = prop::collection::vec((0_u8..4, impact, 0_u64..4, any::<bool>()), 0..14);
    (hosts, any::<prop::sample::Index>()).prop_map(|(hosts, leader)| {
        let leader = if hosts.is_empty() { 0 } else { leader.index(hosts.len()) };
        let one =
            |(index, (cluster, impact, leaderships, changes_pins)): (usize, (u8, Impact, u64, bool))| {
                let change = HostChange {
                    cluster: format!("c{cluster}"),
                    impact,
                    is_fresh: leaderships == 0,
                    is_meta_leader: index == leader,
                    leaderships,
                    changes_pins,
                };
                (host(&format!("h-{index}")), change)
            };
        hosts.into_iter().enumerate().map(one).collect()
    })
}

proptest! {
    #[test]
    fn every_host_goes_once_and_restarts_stay_within_bounds(
        changes in any_changes(), most in 0_u32..4, is_one_away in any::<bool>()
    ) {
        let waves = waves(&changes, most, is_one_away);
        let mut seen = BTreeSet::new();
        for wave in &waves {
            prop_assert!(!wave.hosts.is_empty());
            for host in &wave.hosts {
                prop_assert!(seen.insert(host.clone()), "{host} twice");
                prop_assert_eq!(changes[host].impact, wave.impact);
            }
            if wave.impact == Impact::Restart {
                let clusters: BTreeSet<_> = wave.hosts.iter().map(|host| &changes[host].cluster).collect();
                prop_assert_eq!(clusters.len(), 1);
                prop_assert!(wave.hosts.len() <= most.max(1) as usize);
            }
            let has_leader = wave.hosts.iter().any(|host| changes[host].is_meta_leader);
            prop_assert_eq!(wave.steps_down, has_leader && wave.impact == Impact::Restart);
        }
        prop_assert_eq!(seen.len(), changes.len());
        // The first to reload is alone, but where pins change while somebody is away.
        if let Some(first) = waves.iter().find(|wave| wave.impact == Impact::Reload) {
            let reloads = || changes.values().filter(|change| change.impact == Impact::Reload);
            let together = is_one_away && reloads().any(|change| change.changes_pins);
            prop_assert_eq!(first.hosts.len(), if together { reloads().count() } else { 1 });
        }
        // Nobody restarts after the meta leader, and reloads come before restarts.
        let last_restart = waves.iter().rposition(|wave| wave.impact == Impact::Restart);
        if let Some(step_down) = waves.iter().position(|wave| wave.steps_down) {
            prop_assert_eq!(Some(step_down), last_restart);
        }
        let first_restart = waves.iter().position(|wave| wave.impact == Impact::Restart);
        if let (Some(reload), Some(restart)) = (waves.iter().rposition(|wave| wave.impact == Impact::Reload), first_restart) {
            prop_assert!(reload < restart);
        }
    }

    #[test]
    fn a_course_never_joins_two_formed_systems(
        pasts in prop::collection::vec((prop::option::of(0_u8..3), any::<bool>()), 0..9)
    ) {
        let pasts: BTreeMap<_, _> = pasts.into_iter().enumerate().map(|(index, (lineage, formed))| {
            let lineage = lineage.map(|number| format!("lineage-{number}"));
            (host(&format!("h-{index}")), Past { cluster: "c".to_owned(), lineage, formed })
        }).collect();
        let formed: BTreeSet<_> = pasts.values().filter(|past| past.formed).filter_map(|past| past.lineage.clone()).collect();
        match course(&pasts) {
            Ok(Course::Roll { lineage }) => prop_assert_eq!(formed, BTreeSet::from([lineage])),
            Ok(Course::Resume { lineage }) => {
                prop_assert!(formed.is_empty());
                prop_assert!(pasts.values().any(|past| past.lineage.as_ref() == Some(&lineage)));
            }
            Ok(Course::Form) => prop_assert!(pasts.values().all(|past| past.lineage.is_none())),
            Err(CourseError::TwoFormed { both }) => prop_assert_eq!(both.len(), formed.len()),
        }
    }
}
