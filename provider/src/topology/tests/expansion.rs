//! What each host is told, as golden files, and what a change of the declaration changes in it.

use std::collections::{BTreeMap, BTreeSet};

use host_state::document::{AgentUsers, PeerUsers, Release, canonical};
use identity::HostName;
use nats_config::Sha256Hex;
use serde_json::{Value, json};

use super::examples::{authority, cluster, gateway, host, three};
use crate::topology::{
    Cluster, HostMaterial, cluster_sections, gateway_section, host_names, monitor_address, revision,
};

fn materials(cluster: &Cluster) -> BTreeMap<HostName, HostMaterial> {
    let material = |host: &HostName| HostMaterial {
        pin: Sha256Hex::of(host.as_str().as_bytes()),
        issuer: format!("issuer of {host}"),
        users: AgentUsers {
            system_jwt: format!("system user of {host}"),
            probe_jwt: format!("probe user of {host}"),
        },
        user_keys: PeerUsers {
            system: format!("system key of {host}"),
            probe: format!("probe key of {host}"),
        },
    };
    cluster.nodes.keys().map(|host| (host.clone(), material(host))).collect()
}

fn release() -> Release {
    Release {
        meta_lineage: "0123456789abcdef0123456789abcdef".to_owned(),
        members: BTreeSet::from(["east-1".to_owned()]),
    }
}

fn golden(name: &str, value: &Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} differs; UPDATE_GOLDEN=1 rewrites it", path.display());
}

/// The section with long texts, which other crates' tests hold, cut out.
fn section(cluster: &Cluster, of: &str, release: Option<&Release>) -> Value {
    let trust = authority().trust();
    let declared = json!({"name": cluster.name.as_str()});
    let sections = cluster_sections(cluster, &trust, &declared, &materials(cluster), release);
    let mut value: Value = serde_json::from_str(&canonical(&sections[&host(of)])).unwrap();
    assert_eq!(value["trust"], serde_json::to_value(&trust).unwrap());
    assert_eq!(value["tls"]["host_ca"], trust.host_ca_bundle());
    assert_eq!(value["tls"]["fleet_ca"], trust.fleet_ca_bundle());
    let preload = value["config"]["trust"]["preload"].as_object().unwrap();
    assert_eq!(
        preload.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from([trust.system_account.as_str(), trust.probe_account.as_str()])
    );
    value["trust"] = "(trust)".into();
    value["tls"]["host_ca"] = "(host CA)".into();
    value["tls"]["fleet_ca"] = "(fleet CA)".into();
    value["config"]["trust"]["operator_jwt"] = "(operator JWT)".into();
    value["config"]["trust"]["preload"] = "(system and probe account)".into();
    value
}

#[test]
fn a_node_behind_a_gateway() {
    golden("cluster_section.json", &section(&cluster("east", 1), "east-1", Some(&release())));
}

#[test]
fn a_node_of_a_lone_cluster_on_loopback() {
    let mut lone = cluster("east", 1);
    lone.gateway = false;
    for (index, node) in lone.nodes.values_mut().enumerate() {
        node.address = format!("127.0.1.{}", index + 1).parse().unwrap();
        node.store_dir = Some(format!("/tmp/store-{index}"));
    }
    golden("cluster_section_lone.json", &section(&lone, "east-2", Some(&release())));
}

#[test]
fn the_gateway_section() {
    let gateway = gateway(&three());
    let pins = BTreeSet::from([Sha256Hex::of(b"east-1"), Sha256Hex::of(b"west-1")]);
    let section = gateway_section(&gateway, &json!({"name": "global"}), &pins, Some(&release()));
    golden("gateway_section.json", &serde_json::from_str(&canonical(&section)).unwrap());
}

#[test]
fn an_absent_node_is_in_no_list() {
    let mut smaller = cluster("east", 1);
    smaller.nodes.get_mut(&host("east-3")).unwrap().absent = true;
    let sections = cluster_sections(&smaller, &authority().trust(), &Value::Null, &materials(&smaller), None);
    assert_eq!(sections.keys().map(HostName::as_str).collect::<Vec<_>>(), ["east-1", "east-2"]);
    for section in sections.values() {
        let listener = section.config.cluster.as_ref().unwrap();
        assert_eq!(
            listener.routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.1.1:5222", "10.0.1.2:5222"]
        );
        assert_eq!(listener.tls.pinned_certs.len(), 2);
        assert_eq!(section.peers.keys().collect::<Vec<_>>(), ["east-1", "east-2"]);
    }
}

#[test]
fn monitoring_stays_on_loopback() {
    let mut node = cluster("east", 1).nodes[&host("east-1")].clone();
    assert_eq!(monitor_address(&node).to_string(), "127.0.0.1");
    node.address = "127.3.2.1".parse().unwrap();
    assert_eq!(monitor_address(&node).to_string(), "127.3.2.1");
}

#[test]
fn certificates_carry_every_name_of_a_node_once() {
    let mut node = cluster("east", 1).nodes[&host("east-1")].clone();
    node.cluster_address = "10.9.0.1".parse().unwrap();
    node.agent = "east-1.acme.example:8442".parse().unwrap();
    node.extra_names.insert("192.0.2.7".to_owned());
    let names = host_names(&host("east-1"), &node);
    assert_eq!(names.problems(), []);
    assert_eq!(
        names.dns_names().into_iter().collect::<Vec<_>>(),
        ["east-1", "east-1.acme.example", "nats.acme.example"]
    );
    assert_eq!(
        names.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.1.1", "10.9.0.1", "192.0.2.7"]
    );
}

#[test]
fn a_revision_changes_with_declaration_and_trust() {
    let one = revision("1", &json!({"nodes": {"east-1": {"generation": 1}}}));
    assert_eq!(one, revision("1", &json!({"nodes": {"east-1": {"generation": 1}}})));
    assert_ne!(one, revision("1", &json!({"nodes": {"east-1": {"generation": 2}}})));
    assert_ne!(one, revision("2", &json!({"nodes": {"east-1": {"generation": 1}}})));
    assert_eq!(one.len(), 16);
}
