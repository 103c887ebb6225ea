//! What systemd is told of a command that runs long: that it is ready, how it is, that it lives.
//!
//! Where systemd did not start the process there is nobody to tell, and nothing happens.

use std::time::Duration;

use nats_agent::roles::{ClaimState, Claimed, OpenDoor};
use sd_notify::NotifyState;

/// How often systemd is told without a watchdog.
const PAUSE: Duration = Duration::from_secs(10);

/// The process does what it is for from now on.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process begins to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells how the process is, for as long as this is polled. The watchdog is fed exactly when `health` says how well it is;
/// an error is told and starves it.
pub(super) async fn keep_telling<F: Future<Output = Result<String, String>>>(
    health: impl Fn() -> F,
) -> std::convert::Infallible {
    let pause = sd_notify::watchdog_enabled().map_or(PAUSE, |deadline| deadline / 3);
    let mut told = String::new();
    loop {
        let seen = health().await;
        if let Err(reason) = &seen {
            tracing::error!(reason, "the process is not well");
        }
        let (status, is_well) = match seen {
            Ok(status) => (status, true),
            Err(reason) => (format!("not well: {reason}"), false),
        };
        let fed = is_well.then_some(NotifyState::Watchdog);
        let news = (status != told).then_some(NotifyState::Status(&status));
        tell(&fed.into_iter().chain(news).collect::<Vec<_>>());
        told = status;
        tokio::time::sleep(pause).await;
    }
}

/// Whose host it is, in one line.
pub(super) fn whose(state: &ClaimState) -> String {
    match state {
        ClaimState::Closed => "not claimed; `nats-agent enroll` opens the door".to_owned(),
        ClaimState::Open(OpenDoor { enrollment, expires_at: _ }) => {
            format!("waiting for authority `{}` to claim host `{}`", enrollment.authority, enrollment.host)
        }
        ClaimState::Claimed(claimed) => {
            let Claimed { host, trust, .. } = claimed.as_ref();
            format!("host `{host}` of authority `{}`", trust.authority)
        }
        ClaimState::Unreadable { reason } => format!("the claim cannot be read: {reason}"),
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if states.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the process is");
    }
}
