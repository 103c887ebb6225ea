//! The networks: each site has one for clients and one for its cluster, and a router joins them all.
//!
//! Addresses say where they belong. Host 2 of site 1 has `10.77.1.12` and `fd77:0:0:1::12` for clients, `10.78.1.12` and
//! `fd78:0:0:1::12` for its cluster. The operator, which is this process's own network, has `10.77.100.2` and
//! `fd77:0:0:100::2`; a stranger beside it, in the namespace [`STRANGER`], `10.77.200.2` and `fd77:0:0:200::2`.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::SITES;
use super::execute::{run, run_with};

/// Namespace of the router and of every site's bridges.
const ROUTER: &str = "router";
/// Namespace of somebody who is on the network and belongs to nothing.
pub const STRANGER: &str = "stranger";
/// The operator's addresses.
pub const OPERATOR: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 77, 100, 2), Ipv6Addr::new(0xfd77, 0, 0, 0x100, 0, 0, 0, 2));

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of its site, from 1.
    pub site: u8,
    /// Number in its site, from 1.
    pub number: u8,
}

/// One of a host's two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Where clients, operators and agents speak; `client0` on a host.
    Client,
    /// Where nats-servers of one cluster speak; `cluster0` on a host.
    Cluster,
}

impl Network {
    const ALL: [Network; 2] = [Network::Client, Network::Cluster];

    fn name(self) -> &'static str {
        match self {
            Network::Client => "client",
            Network::Cluster => "cluster",
        }
    }

    fn second(self) -> u8 {
        match self {
            Network::Client => 77,
            Network::Cluster => 78,
        }
    }

    fn prefix(self) -> u16 {
        match self {
            Network::Client => 0xfd77,
            Network::Cluster => 0xfd78,
        }
    }
}

impl Place {
    /// Its IPv4 address on `network`.
    #[must_use]
    pub fn v4(self, network: Network) -> Ipv4Addr {
        Ipv4Addr::new(10, network.second(), self.site, 10 + self.number)
    }

    /// Its hardware address on `network`; a host keeps it over boots, as machines do, or its neighbours would send to
    /// one that is gone until they ask again.
    fn mac(self, network: Network) -> String {
        format!("02:{}:00:00:{:02x}:{:02x}", network.second(), self.site, self.number)
    }

    /// Its IPv6 address on `network`; written as the IPv4 one is, so its last group reads the same.
    #[must_use]
    pub fn v6(self, network: Network) -> Ipv6Addr {
        Ipv6Addr::new(network.prefix(), 0, 0, self.site.into(), 0, 0, 0, 0x10 + u16::from(self.number))
    }
}

/// All networks. They end with this, and with the process whatever happens.
#[derive(Debug)]
pub struct Lan {
    _own: (),
}

impl Drop for Lan {
    fn drop(&mut self) {
        // What is left of them ends with this process.
        let _ = own_batch("link del operator\n");
        for name in [ROUTER, STRANGER] {
            let _ = run(Command::new("ip").args(["netns", "del", name]));
        }
    }
}

impl Lan {
    /// Makes router, bridges, the operator's link and the stranger's namespace.
    pub(super) fn new() -> Result<Self> {
        for name in [ROUTER, STRANGER] {
            run(Command::new("ip").args(["netns", "add", name]))?;
            batch(name, "link set lo up\n")?;
        }
        let forward = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
        run(Command::new("ip")
            .args(["netns", "exec", ROUTER, "sysctl", "-q", "-w"])
            .args(forward.split_whitespace()))?;
        let mut bridges = String::new();
        for (site, name) in (1..=255_u8).zip(SITES) {
            for network in Network::ALL {
                let bridge = format!("{name}.{}", network.name());
                bridges += &format!(
                    "link add {bridge} type bridge\nlink set {bridge} up\n\
                     addr add 10.{}.{site}.254/24 dev {bridge}\n\
                     addr add {:x}:0:0:{site}::fe/64 dev {bridge} nodad\n",
                    network.second(),
                    network.prefix(),
                );
            }
        }
        batch(ROUTER, &bridges)?;
        own_batch(
            "link add operator type veth peer name operator.router\nlink set operator.router netns router\n",
        )?;
        own_batch(&end("operator", 100))?;
        batch(ROUTER, &router_end("operator.router", 100))?;
        batch(
            STRANGER,
            "link add stranger type veth peer name stranger.router\nlink set stranger.router netns router\n",
        )?;
        batch(STRANGER, &end("stranger", 200))?;
        batch(ROUTER, &router_end("stranger.router", 200))?;
        Ok(Self { _own: () })
    }

    /// Gives a host that starts its network: a namespace of its name, empty of rules and with both links up. One of
    /// before is thrown away with all it held, as a power cut would.
    pub(super) fn connect(&self, host: &str, place: Place) -> Result<()> {
        self.disconnect(host);
        run(Command::new("ip").args(["netns", "add", host]))?;
        let mut inside = "link set lo up\n".to_owned();
        let mut router = String::new();
        let site = SITES[usize::from(place.site) - 1];
        for network in Network::ALL {
            let (name, outer) = (network.name(), format!("{host}.{}", network.name()));
            inside += &format!(
                "link add {name}0 type veth peer name {outer}\nlink set {outer} netns {ROUTER}\n\
                 link set {name}0 address {} up\naddr add {}/24 dev {name}0\naddr add {}/64 dev {name}0 nodad\n",
                place.mac(network),
                place.v4(network),
                place.v6(network),
            );
            router += &format!("link set {outer} master {site}.{name} up\n");
        }
        let site = place.site;
        inside += &format!(
            "route add default via 10.77.{site}.254\nroute add ::/0 via fd77:0:0:{site}::fe\n\
             route add 10.78.0.0/16 via 10.78.{site}.254\nroute add fd78::/32 via fd78:0:0:{site}::fe\n"
        );
        batch(host, &inside)?;
        batch(ROUTER, &router)
    }

    /// Takes a host's network away, if it has one.
    pub(super) fn disconnect(&self, host: &str) {
        // Absent at its first start. The links by themselves, because a namespace's own go some time after it.
        for network in Network::ALL {
            let outer = format!("{host}.{}", network.name());
            let _ = run(Command::new("ip").args(["-n", ROUTER, "link", "del", &outer]));
        }
        let _ = run(Command::new("ip").args(["netns", "del", host]));
    }
}

/// Does `work` in a thread of its own whose network is that of `namespace`: a host's name, or [`STRANGER`]. Every
/// socket that it makes is there; files and processes are as everywhere.
///
/// # Errors
/// When there is no such network.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let network = File::open(format!("/run/netns/{namespace}"))
        .with_context(|| format!("open the network of `{namespace}`"))?;
    let enter = || -> Result<T> {
        let only = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(network.as_fd(), only).context("enter a network")?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        scope
            .spawn(enter)
            .join()
            .unwrap_or_else(|_| Err(anyhow!("it panicked in the network of `{namespace}`")))
    })
}

/// One end of a link to the router.
fn end(name: &str, network: u8) -> String {
    format!(
        "link set {name} up\naddr add 10.77.{network}.2/24 dev {name}\n\
         addr add fd77:0:0:{network}::2/64 dev {name} nodad\n\
         route add default via 10.77.{network}.254\nroute add ::/0 via fd77:0:0:{network}::fe\n"
    )
}

fn router_end(name: &str, network: u8) -> String {
    format!(
        "link set {name} up\naddr add 10.77.{network}.254/24 dev {name}\n\
         addr add fd77:0:0:{network}::fe/64 dev {name} nodad\n"
    )
}

/// Runs lines of `ip` in the namespace.
fn batch(namespace: &str, lines: &str) -> Result<()> {
    run_with(Command::new("ip").args(["-n", namespace, "-batch", "-"]), lines.as_bytes()).map(drop)
}

/// Runs lines of `ip` in this process's own network.
fn own_batch(lines: &str) -> Result<()> {
    run_with(Command::new("ip").args(["-batch", "-"]), lines.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_where_they_belong() {
        let place = Place { site: 2, number: 3 };
        assert_eq!(place.v4(Network::Client).to_string(), "10.77.2.13");
        assert_eq!(place.v4(Network::Cluster).to_string(), "10.78.2.13");
        assert_eq!(place.v6(Network::Client).to_string(), "fd77:0:0:2::13");
        assert_eq!(place.v6(Network::Cluster).to_string(), "fd78:0:0:2::13");
    }
}
