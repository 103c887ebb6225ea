//! What the identity crate promises to those who build on it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod accounts;
mod authority;
mod certificates;
mod enrollment;
mod parsers;
mod users;

use std::net::IpAddr;
use std::time::Duration;

use identity::{Authority, Generations, HostNames, HostSecret, HostSeeds, RootKey};
use time::OffsetDateTime;
use time::macros::datetime;
use zeroize::Zeroizing;

/// The day on which the tests happen.
const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const DAY: Duration = Duration::from_secs(86_400);

fn seed(fill: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([fill; 32])
}

fn root(first: u8) -> RootKey {
    RootKey::from_bytes(std::array::from_fn(|i| first.wrapping_add(i as u8))).unwrap()
}

fn authority_of(first: u8, name: &str, generations: Generations) -> Authority {
    Authority::derive(&root(first), name.parse().unwrap(), generations).unwrap()
}

fn acme() -> Authority {
    authority_of(0, "acme", Generations::default())
}

fn host_secret(fill: u8) -> HostSecret {
    HostSecret::from_seeds(&HostSeeds {
        issuer: seed(fill),
        leaf: seed(fill + 1),
        system_user: seed(fill + 2),
        probe_user: seed(fill + 3),
    })
}

fn names(host: &str, dns: &[&str], ips: &[&str]) -> HostNames {
    HostNames {
        host: host.parse().unwrap(),
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        ips: ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect(),
    }
}
