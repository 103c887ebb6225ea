//! Generators of configurations that keep every rule, for property tests here and against a real server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use data_encoding::BASE64URL_NOPAD;
use proptest::{
    collection::{btree_map, btree_set, vec},
    option::of,
    prelude::*,
};
use serde_json::{Map, Value, json};

use crate::{
    ByteSize, ClientListener, ClusterListener, ClusterName, FullResolver, GatewayListener, HostPort,
    JetStream, JetStreamLimits, LameDuck, ListenerTls, Logging, MonitorListener, NatsDuration, OperatorTrust,
    ServerConfig, ServerLimits, ServerName, Sha256Hex, SyncInterval,
};

/// Names of servers.
pub fn server_name() -> impl Strategy<Value = ServerName> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}".prop_map(|name| name.parse().expect("the pattern is the alphabet"))
}

/// Names of clusters.
pub fn cluster_name() -> impl Strategy<Value = ClusterName> {
    "[a-z0-9][a-z0-9._-]{0,12}".prop_map(|name| name.parse().expect("the pattern is the alphabet"))
}

/// Addresses that can be listened on and dialled, never unspecified.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (1..=223_u8, any::<u8>(), any::<u8>(), 1..=254_u8)
            .prop_map(|(a, b, c, d)| IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        1 => any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| {
            IpAddr::V6(Ipv6Addr::new(0xfd00, b, c, d, e, f, g, h))
        }),
    ]
}

/// Addresses with port of servers elsewhere.
pub fn host_port() -> impl Strategy<Value = HostPort> {
    prop_oneof![
        (address(), 1..=u16::MAX)
            .prop_map(|(address, port)| { HostPort::new(address, port).expect("the port is not 0") }),
        ("[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?(\\.[a-z]{2,6}){0,3}", 1..=u16::MAX)
            .prop_map(|(host, port)| format!("{host}:{port}").parse().expect("the pattern is a DNS name")),
    ]
}

/// Lengths of time above zero, up to about a day.
pub fn duration() -> impl Strategy<Value = NatsDuration> {
    prop_oneof![
        (1..=86_400_u32).prop_map(NatsDuration::from_secs),
        (1..=86_400_000_u32).prop_map(NatsDuration::from_millis),
    ]
}

/// Sizes of at least one byte, up to a pebibyte.
pub fn byte_size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![1..=1_u64 << 50, (0..=50_u32).prop_map(|shift| 1 << shift)]
        .prop_map(|bytes| ByteSize::from_bytes(bytes).expect("a pebibyte fits"))
}

fn sum() -> impl Strategy<Value = Sha256Hex> {
    any::<[u8; 8]>().prop_map(|bytes| Sha256Hex::of(&bytes))
}

/// TLS of one port. The files' names are fixed, so that a test against a real server can put files there.
fn listener_tls(name: &'static str, always_verified: bool) -> impl Strategy<Value = ListenerTls> {
    (any::<bool>(), duration(), btree_set(sum(), 0..3)).prop_map(move |(verify, timeout, pinned_certs)| {
        ListenerTls {
            cert_file: format!("current/{name}.pem"),
            key_file: format!("current/{name}-key.pem"),
            ca_file: "current/ca.pem".to_owned(),
            verify: verify || always_verified || !pinned_certs.is_empty(),
            timeout,
            pinned_certs,
        }
    })
}

fn jetstream_limits() -> impl Strategy<Value = JetStreamLimits> {
    (of(1..=1_000_000_u64), of(1..=1_000_000_u64), of(1..=1_000_000_u64), of(duration())).prop_map(
        |(max_ack_pending, max_ha_assets, max_request_batch, duplicate_window)| JetStreamLimits {
            max_ack_pending,
            max_ha_assets,
            max_request_batch,
            duplicate_window,
        },
    )
}

fn jetstream() -> impl Strategy<Value = JetStream> {
    let sync = prop_oneof![Just(SyncInterval::Always), duration().prop_map(SyncInterval::Every)];
    let places = "/data/[a-z]{1,8}";
    let domain = of("[a-z][a-z0-9_-]{0,8}");
    (places, byte_size(), byte_size(), any::<bool>(), sync, domain, jetstream_limits()).prop_map(
        |(store_dir, max_memory, max_storage, unique, sync, domain, limits)| JetStream {
            store_dir,
            max_memory,
            max_storage,
            unique_tag: unique.then(|| "az:".to_owned()),
            sync,
            domain,
            limits,
        },
    )
}

/// Bounds on what clients may do.
pub fn limits() -> impl Strategy<Value = ServerLimits> {
    let count = || of(1..=1_000_000_u64);
    let small = |most: u64| of((1..=most).prop_map(|size| ByteSize::from_bytes(size).expect("it is small")));
    // The largest payload stays below the smallest number of pending bytes.
    let pending =
        of((8..=64_u64).prop_map(|mebibytes| ByteSize::from_bytes(mebibytes << 20).expect("64 MiB fit")));
    (
        small(8 << 20),
        count(),
        pending,
        small(1 << 20),
        count(),
        of(duration()),
        of(1..=100_u64),
        of(duration()),
    )
        .prop_map(
            |(
                max_payload,
                max_connections,
                max_pending,
                max_control_line,
                max_subscriptions,
                ping_interval,
                ping_max,
                write_deadline,
            )| ServerLimits {
                max_payload,
                max_connections,
                max_pending,
                max_control_line,
                max_subscriptions,
                ping_interval,
                ping_max,
                write_deadline,
            },
        )
}

/// What is logged, and where to.
pub fn logging() -> impl Strategy<Value = Logging> {
    let file = of((of("[a-z]{1,8}"), of(byte_size()), of(1..=100_u64)));
    (any::<bool>(), any::<bool>(), any::<bool>(), file).prop_map(|(debug, trace, utc, file)| {
        let (name, rotate_at, rotated) = file.unwrap_or((None, None, None));
        let log_file = name.map(|name| format!("log/{name}.log"));
        let rotate_at = log_file.as_ref().and(rotate_at);
        Logging { debug, trace, utc, rotated_files: rotate_at.and(rotated), log_file, rotate_at }
    })
}

/// Text that a setting may hold, with everything in it that quoting could break.
pub fn setting_text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{e9}\u{2028}\u{1f600}<>&$\"\\\\]{0,24}"
}

/// Extra settings that a server takes: a free-form map, single settings inside our own sections, and listeners that the
/// model does not know, which mention `address` and bind to ports from `port` on.
pub fn extra(
    has_cluster: bool,
    has_jetstream: bool,
    address: IpAddr,
    port: u16,
) -> impl Strategy<Value = Map<String, Value>> {
    let metadata = of(btree_map("[a-zA-Z][a-zA-Z0-9 _.:-]{0,8}", setting_text(), 0..4));
    let single = (of(1..=100_u64), of(1..=8_u64), of(16..=1024_u64));
    let listeners = (any::<bool>(), of(host_port()), any::<bool>(), any::<bool>());
    (metadata, single, listeners).prop_map(
        move |(metadata, (reports, pool_size, queue), (has_leafnodes, remote, has_websocket, mentions))| {
            let listen = |offset: u16| SocketAddr::new(address, port.saturating_add(offset)).to_string();
            let mut map = Map::new();
            map.extend(metadata.map(|metadata| ("server_metadata".to_owned(), json!(metadata))));
            if mentions {
                map.insert("server_metadata".to_owned(), json!({ "see": format!("http://{}/", listen(0)) }));
            }
            map.extend(reports.map(|count| ("connect_error_reports".to_owned(), json!(count))));
            if has_cluster {
                map.extend(pool_size.map(|size| ("cluster".to_owned(), json!({ "pool_size": size }))));
            }
            if has_jetstream {
                let queue =
                    queue.map(|limit| ("jetstream".to_owned(), json!({ "request_queue_limit": limit })));
                map.extend(queue);
            }
            if has_leafnodes {
                let mut leafnodes = json!({ "listen": listen(4), "no_advertise": true });
                if let Some(remote) = remote {
                    leafnodes["remotes"] = json!([{ "url": format!("nats-leaf://{remote}") }]);
                }
                map.insert("leafnodes".to_owned(), leafnodes);
            }
            if has_websocket {
                map.insert("websocket".to_owned(), json!({ "listen": listen(5), "no_tls": true }));
            }
            map
        },
    )
}

/// Operator mode with JWTs that have the right form and claims but no true signature: enough for this crate, not
/// for a server.
pub fn unsigned_trust() -> impl Strategy<Value = OperatorTrust> {
    (vec(0..32_u8, 55), 1..=3600_u32, any::<bool>(), 1..=1000_u64).prop_map(
        |(digits, interval, allow_delete, limit)| {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let rest: String = digits.iter().map(|digit| char::from(letters[usize::from(*digit)])).collect();
            let account = format!("A{rest}");
            let jwt = |subject: &str, kind: &str| {
                let claims = json!({ "sub": subject, "nats": { "type": kind } }).to_string();
                format!("e30.{}.e30", BASE64URL_NOPAD.encode(claims.as_bytes()))
            };
            OperatorTrust {
                operator_jwt: jwt("O", "operator"),
                preload: BTreeMap::from([(account.clone(), jwt(&account, "account"))]),
                system_account: account,
                resolver: FullResolver {
                    dir: "resolver".to_owned(),
                    allow_delete,
                    interval: NatsDuration::from_secs(interval),
                    timeout: NatsDuration::from_millis(1900),
                    limit,
                },
            }
        },
    )
}

fn cluster(address: IpAddr, port: u16) -> impl Strategy<Value = ClusterListener> {
    let routes = btree_set(host_port(), 1..5);
    (cluster_name(), of(host_port()), any::<bool>(), routes, listener_tls("cluster", true)).prop_map(
        move |(name, advertise, no_advertise, routes, tls)| ClusterListener {
            name,
            address,
            port,
            advertise,
            no_advertise,
            routes,
            tls,
        },
    )
}

fn gateway(address: IpAddr, port: u16) -> impl Strategy<Value = GatewayListener> {
    let remotes = btree_map(cluster_name(), btree_set(host_port(), 1..4), 0..4);
    (of(host_port()), any::<bool>(), remotes, listener_tls("gateway", true)).prop_map(
        move |(advertise, reject_unknown, remotes, tls)| GatewayListener {
            address,
            port,
            advertise,
            reject_unknown,
            remotes: with_own_addresses(remotes),
            tls,
        },
    )
}

/// Takes an address away from all but the first cluster that has it, and clusters that are left with none.
fn with_own_addresses(
    remotes: BTreeMap<ClusterName, BTreeSet<HostPort>>,
) -> BTreeMap<ClusterName, BTreeSet<HostPort>> {
    let mut seen = BTreeSet::new();
    let kept = remotes.into_iter().map(|(name, addresses)| {
        (name, addresses.into_iter().filter(|address| seen.insert(address.clone())).collect::<BTreeSet<_>>())
    });
    kept.filter(|(_, addresses)| !addresses.is_empty()).collect()
}

/// `strategy`'s values, or none at all.
fn only_if<S>(yes: bool, strategy: S) -> BoxedStrategy<Option<S::Value>>
where
    S: Strategy + 'static,
    S::Value: Clone,
{
    if yes { strategy.prop_map(Some).boxed() } else { Just(None).boxed() }
}

/// Whole configurations that [`ServerConfig::validate`] accepts, from a lone server to a member of a
/// supercluster. `trust` gives operator mode where it gives one.
pub fn server_config(
    trust: impl Strategy<Value = Option<OperatorTrust>> + Clone + 'static,
) -> impl Strategy<Value = ServerConfig> {
    let shape = (address(), 1..=65_000_u16, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    shape.prop_flat_map(move |(address, port, has_monitor, has_cluster, has_gateway, has_jetstream)| {
        let listeners = (
            (of(host_port()), listener_tls("client", false)),
            only_if(has_cluster, cluster(address, port + 1)),
            only_if(has_cluster && has_gateway, gateway(address, port + 2)),
        );
        let rest = (
            server_name(),
            only_if(has_jetstream, jetstream()),
            trust.clone(),
            limits(),
            logging(),
            btree_set("disk:[a-z]{1,4}|region:[a-z0-9]{1,4}", 0..3),
            (30..=600_u32, 0..=29_u32),
            of(Just("nats-server.pid".to_owned())),
            extra(has_cluster, has_jetstream, address, port),
        );
        (listeners, rest).prop_map(move |((client, cluster, gateway), rest)| {
            let (server_name, jetstream, trust, limits, logging, mut tags, lame_duck, pid_file, mut extra) =
                rest;
            if gateway.is_some() && trust.is_none() {
                extra.remove("leafnodes");
            }
            tags.insert("az:a".to_owned());
            ServerConfig {
                server_name,
                client: ClientListener { address, port, advertise: client.0, tls: client.1 },
                monitor: has_monitor
                    .then(|| MonitorListener { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: port + 3 }),
                cluster,
                gateway,
                jetstream,
                trust,
                limits,
                logging,
                tags,
                lame_duck: LameDuck {
                    duration: NatsDuration::from_secs(lame_duck.0),
                    grace_period: NatsDuration::from_secs(lame_duck.1),
                },
                pid_file,
                extra,
            }
        })
    })
}
