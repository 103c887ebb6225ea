//! Tells which `host:port` this host can reach over TCP. Sends and reads nothing; opens at most 32 connections at once.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use nats_agent_api::order::{MAX_PROBE_TARGETS, ProbeResult};
use tokio::net::TcpStream;

/// Most connections being opened at once.
const CONCURRENT: usize = 32;
/// Shortest time for one target; less is taken to it.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest time for one target; more is taken to it.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest target text: 253 characters of name, a colon, five digits.
const MAX_TARGET_CHARS: usize = 259;

/// More than [`MAX_PROBE_TARGETS`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} targets were asked for, at most {MAX_PROBE_TARGETS} are probed at once")]
pub struct TooManyTargets {
    /// How many.
    pub found: usize,
}

/// Tries each target, answers in the order asked.
///
/// # Errors
/// [`TooManyTargets`]; a target that cannot be reached or read is an answer, not an error.
pub async fn reach(targets: Vec<String>, timeout: Duration) -> Result<Vec<ProbeResult>, TooManyTargets> {
    if targets.len() > MAX_PROBE_TARGETS {
        return Err(TooManyTargets { found: targets.len() });
    }
    let timeout = timeout.clamp(SHORTEST, LONGEST);
    let attempts = stream::iter(targets).map(|target| async move {
        let reached = connect(&target, timeout).await;
        ProbeResult { target, reached }
    });
    Ok(attempts.buffered(CONCURRENT).collect().await)
}

async fn connect(target: &str, timeout: Duration) -> Result<(), String> {
    let port = target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if target.len() > MAX_TARGET_CHARS || port.is_none_or(|port| port == 0) {
        return Err("not a `host:port`".to_owned());
    }
    match tokio::time::timeout(timeout, TcpStream::connect(target)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn each_target_is_told_in_order() {
        let listener = TcpListener::bind("127.71.2.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let targets = [&open, "127.71.2.1:1", "no port", "127.71.2.1:0", "127.71.2.1:70000", &open];
        let answers = reach(targets.map(str::to_owned).to_vec(), Duration::from_secs(1)).await.unwrap();
        let errors: Vec<Option<&str>> =
            answers.iter().map(|answer| answer.reached.as_ref().err().map(String::as_str)).collect();
        assert_eq!(answers.iter().map(|answer| answer.target.as_str()).collect::<Vec<_>>(), targets);
        let form = Some("not a `host:port`");
        assert_eq!(errors, [None, Some("Connection refused (os error 111)"), form, form, form, None]);
    }

    #[tokio::test]
    async fn too_many_targets_are_refused() {
        let error = reach(vec!["127.0.0.1:1".to_owned(); 257], LONGEST).await.unwrap_err();
        assert_eq!(error.to_string(), "257 targets were asked for, at most 256 are probed at once");
    }
}
