//! Sets of addresses in one form: the fewest networks that hold them, sorted, IPv4 and IPv6 apart.
//!
//! nft 1.0.6 refuses overlapping elements and ignores `auto-merge` in JSON, so what is handed to it must not overlap;
//! and one form for one set is what lets two of them be compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// How many networks are named to people before the rest is counted.
const SHOWN: usize = 4;

/// A set of addresses. Two that hold the same addresses are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<IpNet>", into = "Vec<IpNet>")]
pub struct Networks {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Networks {
    /// No address.
    #[must_use]
    pub fn nobody() -> Networks {
        Networks::default()
    }

    /// Every address.
    #[must_use]
    pub fn everyone() -> Networks {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);
        Networks { v4: vec![v4], v6: vec![v6] }
    }

    /// The addresses that any of `networks` holds.
    #[must_use]
    pub fn of(networks: impl IntoIterator<Item = IpNet>) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network.trunc()),
                IpNet::V6(network) => v6.push(network.trunc()),
            }
        }
        Networks { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) }
    }

    /// The IPv4 networks, sorted.
    #[must_use]
    pub fn v4(&self) -> &[Ipv4Net] {
        &self.v4
    }

    /// The IPv6 networks, sorted.
    #[must_use]
    pub fn v6(&self) -> &[Ipv6Net] {
        &self.v6
    }

    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// Whether it holds no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether it holds every IPv4 address.
    #[must_use]
    pub fn is_all_v4(&self) -> bool {
        self.v4.first().is_some_and(|network| network.prefix_len() == 0)
    }

    /// Whether it holds every IPv6 address.
    #[must_use]
    pub fn is_all_v6(&self) -> bool {
        self.v6.first().is_some_and(|network| network.prefix_len() == 0)
    }

    /// Whether it holds `address`. An IPv4 address is never one of IPv6, also where it could be written so.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                after > 0 && self.v4[after - 1].contains(&address)
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                after > 0 && self.v6[after - 1].contains(&address)
            }
        }
    }
}

impl From<Vec<IpNet>> for Networks {
    fn from(networks: Vec<IpNet>) -> Networks {
        Networks::of(networks)
    }
}

impl From<Networks> for Vec<IpNet> {
    fn from(networks: Networks) -> Vec<IpNet> {
        networks.iter().collect()
    }
}

impl std::fmt::Display for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_all_v4() && self.is_all_v6() {
            return f.write_str("everywhere");
        }
        if self.is_empty() {
            return f.write_str("this host only");
        }
        let names: Vec<String> = self.iter().take(SHOWN).map(|network| network.to_string()).collect();
        f.write_str(&names.join(", "))?;
        match (self.v4.len() + self.v6.len()).saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
