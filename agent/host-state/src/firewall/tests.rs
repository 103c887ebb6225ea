//! Properties of the rules, and what people are told of a table that others changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::foreign::foreign_drops;
use super::*;

fn address() -> impl Strategy<Value = IpAddr> {
    // Few bits vary, so that networks overlap, touch and hold what is asked about.
    let v4 = prop_oneof![any::<u32>(), (0..64_u32).prop_map(|low| 0x0a00_0000 | low)];
    let v6 = prop_oneof![any::<u128>(), (0..64_u128).prop_map(|low| (0xfd00_u128 << 112) | low)];
    prop_oneof![
        v4.prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        v6.prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

fn network() -> impl Strategy<Value = IpNet> {
    (address(), 0..=128_u8, any::<bool>()).prop_map(|(address, length, is_near)| match address {
        IpAddr::V4(address) => {
            let length = if is_near { 24 + length % 9 } else { length % 33 };
            IpNet::V4(Ipv4Net::new_assert(address, length))
        }
        IpAddr::V6(address) => {
            let length = if is_near { 120 + length % 9 } else { length };
            IpNet::V6(Ipv6Net::new_assert(address, length))
        }
    })
}

pub(super) fn rules() -> impl Strategy<Value = FirewallRules> {
    let rule = (1..=8_u16, proptest::collection::vec(network(), 0..6));
    let name = proptest::sample::select(ManagedPort::ALL);
    proptest::collection::btree_map(name, rule, 0..7).prop_map(|rules| {
        let rule = |(port, from)| PortRule { port, from: Networks::of(from) };
        FirewallRules(rules.into_iter().map(|(name, pair)| (name, rule(pair))).collect())
    })
}

/// The table in which `trial` is on trial as `id`.
pub(super) fn loaded(confirmed: Option<&FirewallRules>, trial: Option<&FirewallRules>, id: &str) -> Table {
    let lifetime = Duration::from_secs(60);
    Table::of(confirmed, trial.map(|rules| OnTrial { id, rules, lifetime }))
}

/// The chain of the sample's rules.
fn chain() -> String {
    let chains = Table::of(Some(&sample()), None).chains;
    chains.into_keys().find(|name| name != "input").unwrap()
}

/// What the kernel would list after `table` was loaded: with handles, and lives that have run down.
fn listing(table: &Table) -> Value {
    let commands = replace_commands(table);
    let added = commands["nftables"].as_array().unwrap()[2..].iter().map(|command| command["add"].clone());
    let numbered = added.enumerate().map(|(at, mut object)| {
        let body = object.as_object_mut().unwrap().values_mut().next().unwrap();
        body["handle"] = json!(at);
        for element in body.get_mut("elem").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(element) = element.get_mut("elem") {
                element["expires"] = json!(1);
            }
        }
        object
    });
    let metainfo = json!({ "metainfo": { "version": "1.0.6" } });
    let objects: Vec<Value> = [metainfo].into_iter().chain(numbered).collect();
    json!({ "nftables": objects })
}

proptest! {
    #[test]
    fn a_set_holds_what_its_networks_hold_and_nothing_else(
        networks in proptest::collection::vec(network(), 0..12),
        asked in proptest::collection::vec(address(), 0..24),
    ) {
        let set = Networks::of(networks.clone());
        let edges = networks.iter().flat_map(|network| [network.network(), network.broadcast()]);
        for address in edges.chain(asked) {
            let is_in = networks.iter().any(|network| network.contains(&address));
            prop_assert_eq!(set.contains(address), is_in, "{}", address);
        }
        let parts: Vec<IpNet> = set.iter().collect();
        for pair in parts.windows(2) {
            prop_assert!(!pair[0].contains(&pair[1]) && pair[0].network() < pair[1].network()
                || pair[0].max_prefix_len() < pair[1].max_prefix_len());
        }
        prop_assert_eq!(Networks::of(parts), set.clone());
        prop_assert_eq!(serde_json::from_str::<Networks>(&canonical(&set)).unwrap(), set);
    }

    #[test]
    fn a_packet_to_any_other_port_is_never_our_matter(rules in rules(), source in address(), port in any::<u16>()) {
        let is_managed = rules.0.values().any(|rule| rule.port == port);
        let verdict = rules.verdict(Packet { source, port, loopback: false });
        prop_assert!(is_managed || verdict == Verdict::Accept);
        prop_assert_eq!(rules.verdict(Packet { source, port, loopback: true }), Verdict::Accept);
    }

    #[test]
    fn what_was_loaded_is_what_is_listed(confirmed in proptest::option::of(rules()), trial in proptest::option::of(rules())) {
        let table = loaded(confirmed.as_ref(), trial.as_ref(), "07");
        let found = parse(listing(&table).to_string().as_bytes()).unwrap();
        prop_assert_eq!(compare(&table, found.as_ref()), Vec::new());
        // And any other rules are told apart.
        let other = Table::of(trial.as_ref(), None);
        let is_same = confirmed == trial;
        prop_assert_eq!(compare(&Table::of(confirmed.as_ref(), None), Some(&other)).is_empty(), is_same);
        prop_assert!(!opens(&table, found.as_ref()));
    }
}

/// `listing` as from a host whose `/etc/protocols` names nothing.
fn numbered(mut listing: Value) -> Value {
    for object in listing["nftables"].as_array_mut().unwrap() {
        for element in object["set"]["elem"].as_array_mut().into_iter().flatten() {
            if element["elem"]["val"] == "tcp" {
                element["elem"]["val"] = json!(6);
            }
        }
    }
    listing
}

#[test]
fn a_protocol_by_its_number_is_the_one_by_its_name() {
    let table = loaded(None, Some(&sample()), "07");
    let listing = numbered(listing(&table));
    assert!(listing.to_string().contains("\"val\":6"), "{listing}");
    let found = parse(listing.to_string().as_bytes()).unwrap();
    assert_eq!(compare(&table, found.as_ref()), Vec::new());
    assert!(!opens(&table, found.as_ref()));
    assert_eq!(replacement(Some(&table), found.as_ref()), Replacement::default());
    let other = listing.to_string().replace("\"val\":6", "\"val\":17");
    let found = parse(other.as_bytes()).unwrap();
    assert_eq!(compare(&table, found.as_ref()).len(), 1);
}

fn sample() -> FirewallRules {
    let from = |texts: &[&str]| Networks::of(texts.iter().map(|text| text.parse().unwrap()));
    FirewallRules(BTreeMap::from([
        (ManagedPort::Client, PortRule { port: 4222, from: from(&["10.0.0.0/8", "fd00::/8"]) }),
        (ManagedPort::Monitor, PortRule { port: 8222, from: Networks::nobody() }),
        (ManagedPort::Agent, PortRule { port: 8442, from: Networks::everyone() }),
    ]))
}

/// `change` of the listing of the sample table, and what is told of it.
fn told(change: impl FnOnce(&mut Vec<Value>)) -> Vec<String> {
    let table = Table::of(Some(&sample()), None);
    let mut listing = listing(&table);
    change(listing["nftables"].as_array_mut().unwrap());
    let found = parse(listing.to_string().as_bytes()).unwrap();
    let text = |one: TableDifference| {
        let side = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        format!("{}: {} -> {}", one.place, side(one.desired), side(one.found)).replace(&chain(), "confirmed")
    };
    compare(&table, found.as_ref()).into_iter().map(text).collect()
}

fn rule(chain: &str, expressions: Value) -> Value {
    json!({ "rule": { "family": "inet", "table": "nats_agent", "chain": chain, "handle": 99, "expr": expressions } })
}

#[test]
fn each_change_by_others_is_told_by_its_place() {
    assert_eq!(told(|_| ()), Vec::<String>::new());
    assert_eq!(told(Vec::clear), ["table inet nats_agent: loaded -> -"]);
    assert_eq!(
        told(|objects| objects.push(rule("input", json!([{ "accept": null }])))),
        ["chain input: - -> accept"]
    );
    assert_eq!(
        told(|objects| objects.retain(|one| one["rule"]["comment"] != "client")),
        [
            "chain confirmed: ip saddr != @confirmed_client4 tcp dport 4222 drop comment \"client\" -> -",
            "chain confirmed: ip6 saddr != @confirmed_client6 tcp dport 4222 drop comment \"client\" -> -",
        ]
    );
    let edit = |objects: &mut Vec<Value>| {
        let found = objects.iter_mut().find(|one| one["rule"]["comment"] == "client").unwrap();
        found["rule"]["expr"][1]["match"]["right"] = json!(4223);
    };
    assert_eq!(
        told(edit),
        ["chain confirmed: ip saddr != @confirmed_client4 tcp dport 4222 drop comment \"client\" -> \
          ip saddr != @confirmed_client4 tcp dport 4223 drop comment \"client\""]
    );
    let element = |objects: &mut Vec<Value>| {
        let found =
            objects.iter_mut().find(|one| one["set"]["name"] == format!("{}_client4", chain())).unwrap();
        found["set"]["elem"].as_array_mut().unwrap().push(json!({ "range": ["11.0.0.0", "11.0.0.3"] }));
    };
    assert_eq!(told(element), ["set confirmed_client4: - -> 11.0.0.0/30"]);
    let policy = |objects: &mut Vec<Value>| {
        let found = objects.iter_mut().find(|one| one["chain"]["name"] == "input").unwrap();
        found["chain"]["policy"] = json!("drop");
    };
    assert_eq!(
        told(policy),
        ["chain input: type filter hook input priority -10 policy accept -> \
          type filter hook input priority -10 policy drop"]
    );
    assert_eq!(told(|objects| objects[1]["table"]["flags"] = json!("inet")), ["table flags: - -> inet"]);
    let map = json!({ "map": { "family": "inet", "table": "nats_agent", "name": "m" } });
    assert_eq!(told(|objects| objects.push(map)), ["table: - -> map m"]);
    let many = (0..100).map(|at| rule("input", json!([{ "mark": at }])));
    assert_eq!(told(|objects| objects.extend(many)).len(), MAX_DIFFERENCES);
}

/// Whether `change` of the listing of the sample table lets everybody in.
fn is_opened(change: impl FnOnce(&mut Vec<Value>)) -> bool {
    let table = Table::of(Some(&sample()), None);
    let mut listing = listing(&table);
    change(listing["nftables"].as_array_mut().unwrap());
    opens(&table, parse(listing.to_string().as_bytes()).unwrap().as_ref())
}

/// A rule of `expressions` in front of all others.
fn inserted(chain: &str, expressions: Value) -> bool {
    is_opened(|objects| objects.insert(0, rule(chain, expressions)))
}

#[test]
fn what_lets_everybody_in_is_told_from_what_is_only_changed() {
    let matching =
        |left: Value, right: Value| json!({ "match": { "op": "==", "left": left, "right": right } });
    let payload =
        |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
    let port = matching(payload("tcp", "dport"), json!(4222));
    let source = |right: Value| matching(payload("ip", "saddr"), right);
    let prefix = |length: u8| json!({ "prefix": { "addr": "0.0.0.0", "len": length } });
    let (accept, drop) = (json!({ "accept": null }), json!({ "drop": null }));
    assert!(!is_opened(|_| ()));
    assert!(is_opened(Vec::clear));
    assert!(is_opened(|objects| objects[1]["table"]["flags"] = json!("inet")), "asleep");
    for chain in ["input", chain().as_str()] {
        assert!(inserted(chain, json!([accept])), "{chain}");
        assert!(inserted(chain, json!([port, accept])), "{chain}");
        assert!(inserted(chain, json!([port, { "goto": { "target": "mine" } }])), "{chain}");
        assert!(inserted(chain, json!([source(prefix(0)), accept])), "{chain}");
        assert!(inserted(chain, json!([source(json!("@mine")), accept])), "{chain}");
        assert!(inserted(chain, json!([{ "xt": null }])), "{chain}: not understood");
        assert!(!inserted(chain, json!([source(json!("192.0.2.7")), accept])), "{chain}: one address");
        assert!(!inserted(chain, json!([source(prefix(8)), port, accept])), "{chain}: one network");
        assert!(
            inserted(
                chain,
                json!([matching(json!({ "meta": { "key": "iifname" } }), json!("eth1")), accept])
            ),
            "{chain}: everybody may come by one interface"
        );
        let half = |first: &str| json!({ "prefix": { "addr": first, "len": 1 } });
        assert!(!inserted(chain, json!([source(half("0.0.0.0")), accept])), "{chain}: half of all");
        let halves = ["0.0.0.0", "128.0.0.0"].map(half);
        assert!(inserted(chain, json!([source(json!({ "set": halves })), accept])), "{chain}: both halves");
        let each = halves.map(|half| rule(chain, json!([source(half), accept])));
        assert!(
            is_opened(|objects| {
                objects.splice(0..0, each);
            }),
            "{chain}: one half after the other"
        );
        let range = |to: &str| json!({ "range": ["0.0.0.0", to] });
        assert!(
            inserted(chain, json!([source(range("255.255.255.255")), accept])),
            "{chain}: a range of all"
        );
        assert!(!inserted(chain, json!([source(range("10.0.0.0")), accept])), "{chain}: a range");
        assert!(
            !inserted(chain, json!([port, { "counter": { "packets": 1, "bytes": 2 } }, drop])),
            "{chain}"
        );
        assert!(
            !is_opened(|objects| objects.push(rule(chain, json!([accept])))),
            "{chain}: behind all others"
        );
        assert!(is_opened(|objects| objects.retain(|one| one["rule"]["chain"] != chain)), "{chain}: flushed");
        assert!(is_opened(
            |objects| objects.retain(|one| one["rule"]["chain"] != chain && one["chain"]["name"] != chain)
        ));
    }
    let one = |name: &'static str| {
        move |objects: &mut Vec<Value>| {
            let at = objects.iter().position(|one| one["rule"]["comment"] == name).unwrap();
            objects.remove(at);
        }
    };
    assert!(is_opened(one("client")) && is_opened(one("monitor")), "one rule of a port");
    let comment = |objects: &mut Vec<Value>| {
        let found = objects.iter_mut().find(|one| one["rule"]["comment"] == "client").unwrap();
        found["rule"]["comment"] = json!("mine");
    };
    assert!(!is_opened(comment));
    let element = |value: Value| {
        move |objects: &mut Vec<Value>| {
            let found =
                objects.iter_mut().find(|one| one["set"]["name"] == format!("{}_client4", chain())).unwrap();
            found["set"]["elem"] = json!([value]);
        }
    };
    assert!(is_opened(element(prefix(0))));
    assert!(is_opened(element(json!({ "concat": [] }))), "not understood");
    assert!(!is_opened(element(json!("192.0.2.7"))));
    assert!(!is_opened(|objects| {
        objects.extend((0..100).map(|at| rule("input", json!([{ "mark": at }]))));
        objects.push(json!({ "chain": { "family": "inet", "table": "nats_agent", "name": "mine" } }));
    }));
    let many = (0..100).map(|at| rule(&chain(), json!([source(json!(format!("192.0.2.{at}"))), accept])));
    assert!(
        is_opened(|objects| {
            objects.splice(0..0, many);
            objects.retain(|one| one["rule"]["comment"] != "monitor");
        }),
        "behind many that are none"
    );
}

fn met(rules: Value, policy: &str) -> Vec<String> {
    let mut objects =
        vec![json!({ "chain": { "family": "inet", "table": "f", "name": "in", "type": "filter",
        "hook": "input", "prio": 0, "policy": policy } })];
    for expressions in rules.as_array().unwrap() {
        objects
            .push(json!({ "rule": { "family": "inet", "table": "f", "chain": "in", "expr": expressions } }));
    }
    let listing = json!({ "nftables": objects }).to_string();
    let drops = foreign_drops(listing.as_bytes(), &sample()).unwrap();
    let text = |drop: foreign::ForeignDrop| {
        let ports: Vec<String> = drop.ports.keys().map(ToString::to_string).collect();
        format!("{} {} {}: {} ({})", drop.family, drop.table, drop.chain, drop.what, ports.join(" "))
    };
    drops.into_iter().map(text).collect()
}

#[test]
fn tables_of_others_that_drop_our_ports_are_named_and_no_others() {
    let dport = |right: Value| json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": right } });
    let source = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "saddr" } },
        "right": "192.0.2.7" } });
    let state = |right: Value| json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": right } });
    let (accept, drop) = (json!({ "accept": null }), json!({ "drop": null }));
    let none: [&str; 0] = [];
    // Monitoring is open to nobody, so nobody is kept from it.
    assert_eq!(met(json!([]), "drop"), ["inet f in: policy drop (client agent)"]);
    assert_eq!(met(json!([]), "accept"), none);
    assert_eq!(
        met(
            json!([[state(json!(["established"])), accept], [dport(json!({ "set": [22, 8442] })), accept]]),
            "drop"
        ),
        ["inet f in: policy drop (client)"]
    );
    assert_eq!(
        met(json!([[dport(json!(4222)), drop], [accept]]), "drop"),
        ["inet f in: tcp dport 4222 drop (client)"]
    );
    assert_eq!(met(json!([[source, drop]]), "accept"), none, "a banned address is nobody else's matter");
    assert_eq!(
        met(json!([[source, dport(json!({ "range": [4000, 5000] })), drop]]), "accept"),
        ["inet f in: ip saddr 192.0.2.7 tcp dport {\"range\":[4000,5000]} drop (client)"]
    );
    assert_eq!(met(json!([[state(json!("invalid")), drop], [{ "xt": null }, drop]]), "accept"), none);
    assert_eq!(met(json!([[accept], [drop]]), "drop"), none);
}
