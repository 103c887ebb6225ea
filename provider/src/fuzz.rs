//! Every reader here of what servers, state and people say, each as one body for any bytes: for the fuzz targets and for
//! tests (feature `fuzz`).

use std::cell::LazyCell;

use tfplug::fuzz::Called;

use crate::health::fuzz as monitoring;
use crate::jetstream::fuzz as jetstream;
use crate::provider::NatsProvider;
use crate::resources::natural_id::{AccountId, StreamId, SystemId, UserId};

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("monitoring", monitoring, || {
        vec![
            br#"{"server":{"name":"east-1","id":"NA","cluster":"east"},"data":{"version":"2.15.1","uptime":"3s",
            "connections":2,"jetstream":{"config":{"max_memory":64,"max_storage":1024},"stats":{"memory":1}}}}"#.to_vec(),
            br#"{"server":{"name":"east-1"},"data":{"meta_cluster":{"leader":"east-1","cluster_size":3,"replicas":[
            {"name":"east-2","current":true,"lag":0}]},"account_details":[{"name":"orders","stream_detail":[{"name":"S",
            "config":{"num_replicas":3},"cluster":{"leader":"east-1","replicas":[]}}]}]}}"#.to_vec(),
            br#"{"server":{"name":"east-1"},"data":{"outbound_gateways":{"west":{}},"inbound_gateways":{"west":[]},
            "routes":[{"remote_name":"east-2"}]}}"#.to_vec(),
        ]
    }),
    ("jetstream_answer", jetstream, || {
        vec![
            br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#.to_vec(),
            br#"{"total":1,"config":{"name":"S","subjects":["a.>"],"max_bytes":1,"num_replicas":3,"max_age":1000000000,
            "metadata":{"a":"b"},"placement":{"cluster":"east","tags":["a"]}},"state":{"messages":1,"bytes":2}}"#.to_vec(),
        ]
    }),
    ("natural_id", natural_id, || [&b"acme/orders/service"[..], b"acme/east"].map(<[u8]>::to_vec).into()),
    (
        "provider_request",
        |bytes| PROVIDER.with(|provider| provider.request(bytes)),
        || PROVIDER.with(|provider| provider.requests()),
    ),
    (
        "resource_block",
        |bytes| PROVIDER.with(|provider| provider.block(bytes)),
        || {
            (0..16)
                .map(|which| (0..120_u8).map(|byte| byte.wrapping_mul(37).wrapping_add(which)).collect())
                .collect()
        },
    ),
];

thread_local! {
    /// Never configured: it reaches nobody.
    static PROVIDER: LazyCell<Called> = LazyCell::new(|| Called::new(NatsProvider::without_environment()));
}

fn natural_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (text.parse::<SystemId>(), text.parse::<StreamId>());
    if let Ok(id) = text.parse::<UserId>() {
        assert_eq!(id.to_string().parse::<UserId>().ok(), Some(id), "an id says itself");
    }
    if let Ok(id) = text.parse::<AccountId>() {
        assert_eq!(id.to_string(), text, "an id says itself");
    }
}
