//! What becomes of a packet, said without the kernel: the oracle that the kernel is held against.

use std::net::IpAddr;

use super::FirewallRules;

/// A TCP segment that arrives at the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source address; its family is the packet's.
    pub source: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Whether it came in through the loopback interface.
    pub loopback: bool,
}

/// What our table does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it goes on to the tables of others.
    Accept,
    /// It is dropped without an answer.
    Drop,
}

impl FirewallRules {
    /// What becomes of `packet`. A port that stands under two names must be allowed by both.
    #[must_use]
    pub fn verdict(&self, packet: Packet) -> Verdict {
        let Packet { source, port, loopback } = packet;
        let is_allowed = |rule: &super::PortRule| rule.port != port || rule.from.contains(source);
        if loopback || self.0.values().all(is_allowed) { Verdict::Accept } else { Verdict::Drop }
    }
}
