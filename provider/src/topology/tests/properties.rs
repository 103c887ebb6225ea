//! What holds for every declaration.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{AgentUsers, PeerUsers, Profile};
use nats_config::Sha256Hex;
use proptest::prelude::*;

use super::examples::{authority, cluster, gateway, host, node};
use crate::topology::{Cluster, HostMaterial, cluster_problems, cluster_sections, gateway_problems, member};

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let nodes = prop::collection::vec((1_u8..12, 0_usize..4, any::<bool>(), 1_u32..3), 0..9);
    (nodes, any::<bool>(), any::<bool>(), 1_u16..6, 1_u32..5).prop_map(
        |(nodes, production, gateway, port, down)| {
            let mut cluster = cluster("east", 1);
            cluster.profile = if production { Profile::Production } else { Profile::Development };
            cluster.gateway = gateway;
            cluster.ports.cluster = 5220 + port;
            cluster.ports.gateway = 5223;
            cluster.rollout.max_unavailable = down;
            cluster.nodes = nodes
                .into_iter()
                .enumerate()
                .map(|(index, (address, zone, absent, generation))| {
                    let mut node = node(&format!("10.0.1.{address}"), ["a", "b", "c", ""][zone]);
                    node.absent = absent;
                    node.generation = generation;
                    (host(&format!("east-{index}")), node)
                })
                .collect();
            cluster
        },
    )
}

/// A cluster that keeps every rule.
fn sound_cluster() -> impl Strategy<Value = Cluster> {
    (prop::collection::vec((any::<bool>(), 0_usize..3), 1..9), any::<bool>()).prop_map(|(nodes, gateway)| {
        let mut cluster = cluster("east", 1);
        cluster.profile = Profile::Development;
        cluster.gateway = gateway;
        let one = |(index, (absent, zone)): (usize, (bool, usize))| {
            let mut node = node(&format!("10.0.1.{}", index + 1), ["a", "b", "c"][zone]);
            node.absent = absent && index > 0;
            (host(&format!("east-{index}")), node)
        };
        cluster.nodes = nodes.into_iter().enumerate().map(one).collect();
        // One server on its own is an error; behind a gateway it is not alone.
        cluster.gateway |= cluster.present().count() == 1;
        cluster
    })
}

proptest! {
    #[test]
    fn rules_never_panic_and_judge_the_same_twice(cluster in any_cluster(), is_new in any::<bool>()) {
        let problems = cluster_problems(&cluster, is_new);
        prop_assert_eq!(&problems, &cluster_problems(&cluster, is_new));
        for problem in &problems {
            prop_assert!(!problem.problem.ends_with('.') && problem.remedy.ends_with('.'));
        }
        let gateway = gateway(std::slice::from_ref(&cluster));
        prop_assert_eq!(gateway_problems(&gateway, is_new), gateway_problems(&gateway, is_new));
    }

    #[test]
    fn a_cluster_without_errors_expands_into_consistent_sections(cluster in sound_cluster()) {
        prop_assert!(cluster_problems(&cluster, true).iter().all(|problem| problem.is_advice));
        let materials: BTreeMap<_, _> = cluster.nodes.keys().map(|host| {
            let users = AgentUsers { system_jwt: String::new(), probe_jwt: String::new() };
            let user_keys = PeerUsers { system: String::new(), probe: String::new() };
            (host.clone(), HostMaterial { pin: Sha256Hex::of(host.as_str().as_bytes()), issuer: String::new(), users, user_keys })
        }).collect();
        let sections = cluster_sections(&cluster, &authority().trust(), &serde_json::Value::Null, &materials, None);
        let present: BTreeSet<_> = cluster.present().map(|(host, _)| host.clone()).collect();
        prop_assert_eq!(sections.keys().cloned().collect::<BTreeSet<_>>(), present.clone());
        let told = member(&cluster, "acme", String::new());
        prop_assert_eq!(told.nodes.keys().cloned().collect::<BTreeSet<_>>(), present.clone());
        let mut monitors = BTreeSet::new();
        for section in sections.values() {
            // One URL and one pin for each server, the same on all: the first election counts them.
            let listener = section.config.cluster.as_ref().unwrap();
            prop_assert_eq!(listener.routes.len(), present.len());
            prop_assert_eq!(listener.tls.pinned_certs.len(), present.len());
            prop_assert_eq!(section.gateway.is_some(), cluster.gateway);
            prop_assert!(section.release.is_none());
            prop_assert_eq!(section.config.validate(), Ok(()));
            let monitor = section.config.monitor.as_ref().unwrap();
            prop_assert!(monitor.address.is_loopback());
            monitors.insert((monitor.address, monitor.port));
        }
        prop_assert_eq!(monitors.len(), 1);
    }
}
