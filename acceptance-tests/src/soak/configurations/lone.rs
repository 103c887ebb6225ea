//! Any configuration that the model can hold, also with what no topology expands into.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nats_config::{NatsDuration, OperatorTrust, ServerConfig, arbitrary};
use proptest::option::of;
use proptest::prelude::*;

use crate::lone_server::site::{authority_of, trust_in};

/// Operator mode that a server believes, with every setting of the resolver.
fn trust() -> impl Strategy<Value = OperatorTrust> + Clone {
    (0..4_usize, any::<bool>(), any::<bool>(), 1..=3600_u32, 100..=5000_u32, 1..=1000_u64).prop_map(
        |(root, is_plain, allow_delete, interval, timeout, limit)| {
            let mut trust = trust_in(&AUTHORITIES.with(|all| all[root].clone()));
            if !is_plain {
                "claims/here".clone_into(&mut trust.resolver.dir);
            }
            trust.resolver.allow_delete = allow_delete;
            trust.resolver.interval = NatsDuration::from_secs(interval);
            trust.resolver.timeout = NatsDuration::from_millis(timeout);
            trust.resolver.limit = limit;
            trust
        },
    )
}

thread_local! {
    /// Deriving keys takes longer than all else here.
    static AUTHORITIES: [identity::Trust; 4] = [5, 6, 7, 8].map(|root| authority_of(root, 1));
}

/// Any configuration that keeps every rule.
pub(super) fn configuration() -> impl Strategy<Value = ServerConfig> {
    (arbitrary::server_config(of(trust())), any::<[bool; 3]>(), 1..=254_u8).prop_map(
        |(mut config, [other_pid, other_tag, is_ipv6], last)| {
            if other_pid && let Some(file) = &mut config.pid_file {
                "run.pid".clone_into(file);
            }
            if other_tag && let Some(jetstream) = &mut config.jetstream {
                jetstream.unique_tag = jetstream.unique_tag.as_ref().map(|_| "az".to_owned());
            }
            if let Some(monitor) = &mut config.monitor {
                monitor.address = if is_ipv6 {
                    IpAddr::V6(Ipv6Addr::LOCALHOST)
                } else {
                    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
                };
            }
            config
        },
    )
}
