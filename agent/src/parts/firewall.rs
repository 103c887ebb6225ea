//! The firewall. In this mode the agent runs as an ordinary user and manages none; it says so instead of seeming to.

use host_state::Finding;
use host_state::document::FirewallIntent;

/// What the firewall is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallObserved {
    /// Not managed: the agent has no right to change the kernel's rules.
    Off,
}

/// Looks at the firewall.
#[must_use]
pub fn observe() -> FirewallObserved {
    FirewallObserved::Off
}

/// What a person has to know about it; nothing when no network was named and so nothing is to be kept out.
#[must_use]
pub fn finding(intent: &FirewallIntent, observed: FirewallObserved) -> Option<Finding> {
    let FirewallIntent { clients, metrics, management, metrics_port: _ } = intent;
    let is_relied_on = ![clients, metrics, management].iter().all(|networks| networks.is_empty());
    match observed {
        FirewallObserved::Off if !is_relied_on => None,
        FirewallObserved::Off => Some(Finding {
            item: "firewall".to_owned(),
            problem: "the firewall is off: this agent runs as an ordinary user and changes no kernel rules"
                .to_owned(),
            remedy: "keep other networks out by other means, or name none in `firewall`".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_said_to_be_off_only_where_somebody_relies_on_it() {
        let mut intent = FirewallIntent {
            clients: Vec::new(),
            metrics: Vec::new(),
            management: Vec::new(),
            metrics_port: 7777,
        };
        assert_eq!(finding(&intent, observe()), None);
        intent.clients.push("10.0.0.0/8".parse().unwrap());
        assert!(finding(&intent, observe()).unwrap().problem.starts_with("the firewall is off"));
    }
}
