//! The local health gate: whether the server runs what it was given, and serves the certificate it should.
//!
//! It asks for nothing that needs other servers; whether the cluster is well is the conductor's gate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use host_state::observed::RunningObserved;
use nats_config::{ServerConfig, render};

use crate::parts::nats::process::ServerProcess;
use crate::roles::ServerView;

/// How long a started server may take. It replays its store before it answers.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long a reloaded server may take.
pub(super) const RELOAD_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What a server has to show.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// What it was started or reloaded with.
    pub config: ServerConfig,
    /// SHA-256 of the leaf that every TLS port serves, 64 lower-case hex digits.
    pub leaf: String,
}

/// Why the gate stayed shut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GateError {
    /// The server ended.
    #[error("nats-server ended ({0})")]
    Ended(String),
    /// Something was not as it should be until the deadline.
    #[error("after {seconds} s {reason}")]
    Deadline {
        /// How long it was waited for.
        seconds: u64,
        /// What was still wrong.
        reason: String,
    },
}

/// Waits until everything is as expected, or the server ended, or `deadline` is over. Changes nothing.
///
/// # Errors
/// [`GateError`], with what was wrong last.
pub(super) async fn pass(
    view: &dyn ServerView,
    process: &ServerProcess,
    expected: &Expected,
    deadline: Duration,
) -> Result<(), GateError> {
    let begin = Instant::now();
    loop {
        if let Some(exit) = process.last_exit() {
            return Err(GateError::Ended(exit));
        }
        let reason = tokio::select! {
            exit = process.exited() => return Err(GateError::Ended(exit)),
            outcome = look(view, expected) => match outcome {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            },
        };
        if begin.elapsed() >= deadline {
            return Err(GateError::Deadline { seconds: deadline.as_secs(), reason });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(view: &dyn ServerView, expected: &Expected) -> Result<(), String> {
    let Expected { config, leaf } = expected;
    let Some(monitor) = monitor_address(config) else {
        return Err("the configuration has no monitoring port to look at".to_owned());
    };
    let wanted = render(config).digest.to_string();
    match view.running(monitor).await {
        RunningObserved::Stopped => return Err("nothing answers on its monitoring port".to_owned()),
        RunningObserved::Silent { reason } => return Err(reason),
        RunningObserved::Answered { server_name, .. } if server_name != config.server_name.as_str() => {
            return Err(format!("server `{server_name}` answers on its monitoring port"));
        }
        RunningObserved::Answered { digest, .. } if digest != wanted => {
            return Err(format!("it still runs the configuration `{digest}`, not `{wanted}`"));
        }
        RunningObserved::Answered { .. } => {}
    }
    view.healthz(monitor, "js-server-only=true")
        .await
        .map_err(|reason| format!("it is not well: {reason}"))?;
    for (name, address, after_info) in tls_ports(config) {
        let found = view.served_leaf(address, after_info).await;
        let found =
            found.map_err(|reason| format!("the {name} port `{address}` serves no certificate: {reason}"))?;
        if found != *leaf {
            return Err(format!("the {name} port `{address}` does not serve the new certificate"));
        }
    }
    Ok(())
}

/// Where `/varz` answers; `None` when there is no monitoring port.
#[must_use]
pub(super) fn monitor_address(config: &ServerConfig) -> Option<SocketAddr> {
    config.monitor.as_ref().map(|monitor| SocketAddr::new(monitor.address, monitor.port))
}

/// Where clients on this host connect.
#[must_use]
pub(super) fn client_address(config: &ServerConfig) -> SocketAddr {
    local(config.client.address, config.client.port)
}

/// Ports that other hosts must be able to reach before a release.
#[must_use]
pub(super) fn held_ports(config: &ServerConfig) -> Vec<SocketAddr> {
    let cluster = config.cluster.as_ref().map(|cluster| SocketAddr::new(cluster.address, cluster.port));
    let gateway = config.gateway.as_ref().map(|gateway| SocketAddr::new(gateway.address, gateway.port));
    cluster.into_iter().chain(gateway).collect()
}

fn tls_ports(config: &ServerConfig) -> Vec<(&'static str, SocketAddr, bool)> {
    let mut ports = vec![("client", client_address(config), true)];
    ports.extend(
        config.cluster.as_ref().map(|cluster| ("cluster", local(cluster.address, cluster.port), false)),
    );
    ports.extend(
        config.gateway.as_ref().map(|gateway| ("gateway", local(gateway.address, gateway.port), false)),
    );
    ports
}

/// A listener on every address is reached through loopback.
fn local(address: IpAddr, port: u16) -> SocketAddr {
    let address = match address {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(address, port)
}
