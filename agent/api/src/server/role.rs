//! Which role may call what: the one table.

use identity::Role;

/// The calls of a claimed agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The host as it is.
    Observe,
    /// What an apply would do.
    Preview,
    /// Whether the host is fit for what it is to run.
    Preflight,
    /// Changes the host.
    Apply,
    /// Makes a trial permanent.
    Confirm,
    /// Ends a trial.
    Cancel,
    /// The lease.
    Lease,
    /// Which addresses the host reaches.
    Probe,
    /// The newest claims section.
    Claims,
    /// Requests to the local nats-server.
    Tunnel,
}

/// Every method.
pub const METHODS: [Method; 10] = [
    Method::Observe,
    Method::Preview,
    Method::Preflight,
    Method::Apply,
    Method::Confirm,
    Method::Cancel,
    Method::Lease,
    Method::Probe,
    Method::Claims,
    Method::Tunnel,
];

/// Whether `role` may call `method`.
pub fn is_allowed(method: Method, role: &Role) -> bool {
    match role {
        Role::Operator => true,
        Role::Reader => match method {
            Method::Observe | Method::Preview | Method::Preflight | Method::Claims | Method::Tunnel => true,
            Method::Apply | Method::Confirm | Method::Cancel | Method::Lease | Method::Probe => false,
        },
        // What an account may reach through the tunnel, its user's JWT says.
        Role::Account(_) => method == Method::Tunnel,
        Role::Peer => method == Method::Claims,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let rows = |role: Role| -> Vec<Method> {
            METHODS.into_iter().filter(|method| is_allowed(*method, &role)).collect()
        };
        assert_eq!(rows(Role::Operator), METHODS);
        assert_eq!(
            rows(Role::Reader),
            [Method::Observe, Method::Preview, Method::Preflight, Method::Claims, Method::Tunnel]
        );
        assert_eq!(rows(Role::Account("orders".parse().unwrap())), [Method::Tunnel]);
        assert_eq!(rows(Role::Peer), [Method::Claims]);
    }
}
