//! Reads nats-server's monitoring port on loopback: `/varz` and `/healthz`, nothing else.
//!
//! A request is HTTP/1.0 on a connection of its own: then the server neither chunks the body nor keeps the connection,
//! so an answer is everything until the end of the stream and the parser below is all there is. An HTTP/1.1 client
//! library would add about 1 MB of code to an agent that asks twice a minute. Says what the server answered; whether
//! a silent one is a stopped one is the applier's to say, as it knows the process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use host_state::observed::RunningObserved;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time for one question, connecting included.
pub const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer that is read, headers included, in bytes. `/varz` of a server with 9 gateways has about 20 KiB.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest part of an error answer that is shown.
const SHOWN_CHARS: usize = 300;

/// Why a question to the monitoring port has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// No connection.
    #[error("cannot connect to the monitoring port `{address}`")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the monitoring port `{address}` broke")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in [`MONITOR_TIMEOUT`].
    #[error("the monitoring port `{address}` gave no answer within {} s", MONITOR_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        address: SocketAddr,
    },
    /// More than [`MAX_ANSWER_BYTES`].
    #[error("the answer of the monitoring port is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// Not HTTP, or cut off.
    #[error("the answer of the monitoring port is not HTTP: {0}")]
    NotHttp(&'static str),
    /// Another status than 200.
    #[error("the monitoring port answered {status}: {text}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the body says, cut to 300 characters.
        text: String,
    },
    /// A body that is not the JSON of `/varz`.
    #[error("`/varz` cannot be read")]
    Varz(#[source] serde_json::Error),
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status, 100 to 599.
    pub status: u16,
    /// Body, complete.
    pub body: Vec<u8>,
}

/// Asks `/varz`. Any failure is [`RunningObserved::Silent`] with its chain of causes.
pub async fn running(monitor: SocketAddr) -> RunningObserved {
    let answered = async {
        let answer = ask(monitor, "/varz").await?;
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        parse_varz(&answer.body)
    };
    answered.await.unwrap_or_else(|error| RunningObserved::Silent { reason: host_state::chain(&error) })
}

/// Asks `/healthz` with a query such as `js-server-only=true`; empty for none.
///
/// # Errors
/// Why the server is not healthy in its own words, or why it did not answer.
pub async fn healthz(monitor: SocketAddr, query: &str) -> Result<(), String> {
    let target = if query.is_empty() { "/healthz".to_owned() } else { format!("/healthz?{query}") };
    match ask(monitor, &target).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(host_state::chain(&refusal(&answer))),
        Err(error) => Err(host_state::chain(&error)),
    }
}

/// One GET. `target` is ours, never input from outside.
async fn ask(address: SocketAddr, target: &str) -> Result<Answer, MonitorError> {
    let exchange = async {
        let mut stream =
            TcpStream::connect(address).await.map_err(|source| MonitorError::Connect { address, source })?;
        let request = format!("GET {target} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
        let broken = |source| MonitorError::Broken { address, source };
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut raw = Vec::new();
        let limit = MAX_ANSWER_BYTES as u64 + 1;
        stream.take(limit).read_to_end(&mut raw).await.map_err(broken)?;
        parse_answer(&raw)
    };
    tokio::time::timeout(MONITOR_TIMEOUT, exchange).await.unwrap_or(Err(MonitorError::Timeout { address }))
}

/// Takes an HTTP/1.0 or HTTP/1.1 answer apart that ended with its stream. Never panics, whatever the bytes.
///
/// # Errors
/// [`MonitorError::TooLarge`]; [`MonitorError::NotHttp`] for anything else, also for a body shorter or longer than
/// its `Content-Length` and for a chunked one, which nobody may send to HTTP/1.0.
pub fn parse_answer(raw: &[u8]) -> Result<Answer, MonitorError> {
    if raw.len() > MAX_ANSWER_BYTES {
        return Err(MonitorError::TooLarge);
    }
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(MonitorError::NotHttp("its headers have no end"))?;
    let head =
        std::str::from_utf8(&raw[..end]).map_err(|_| MonitorError::NotHttp("its headers are no text"))?;
    let body = &raw[end + 4..];
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(status_of).ok_or(MonitorError::NotHttp("its first line is no status line"))?;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(MonitorError::NotHttp("a header has no colon"))?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(MonitorError::NotHttp("it is chunked"));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse::<usize>().ok();
            if length != Some(body.len()) {
                return Err(MonitorError::NotHttp("its body is not as long as its header says"));
            }
        }
    }
    Ok(Answer { status, body: body.to_vec() })
}

/// The status in `HTTP/1.1 200 OK`.
fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.0 ").or_else(|| line.strip_prefix("HTTP/1.1 "))?;
    let digits = rest.get(..3)?;
    let whole = rest.len() == 3 || rest.as_bytes()[3] == b' ';
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())??;
    (whole && (100..=599).contains(&number)).then_some(number)
}

/// The error that a status other than 200 is; nats-server puts its reason into JSON.
pub(crate) fn refusal(answer: &Answer) -> MonitorError {
    #[derive(Deserialize)]
    struct Reason {
        error: Option<String>,
        status: Option<String>,
    }
    let reason = serde_json::from_slice::<Reason>(&answer.body).ok();
    let text = reason.and_then(|reason| reason.error.or(reason.status));
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned());
    MonitorError::Status { status: answer.status, text: text.chars().take(SHOWN_CHARS).collect() }
}

/// What we read of `/varz`. Source: nats-server 2.15.1 server/monitor.go `Varz`.
#[derive(Deserialize)]
struct Varz {
    config_digest: String,
    version: String,
    server_name: String,
    #[serde(default)]
    tls_cert_not_after: Option<String>,
    #[serde(default)]
    cluster: Option<ListenerVarz>,
    #[serde(default)]
    gateway: Option<ListenerVarz>,
    #[serde(default)]
    leaf: Option<ListenerVarz>,
    #[serde(default)]
    websocket: Option<ListenerVarz>,
    #[serde(default)]
    mqtt: Option<ListenerVarz>,
}

/// What we read of one listener in `/varz`.
#[derive(Deserialize)]
struct ListenerVarz {
    #[serde(default)]
    tls_cert_not_after: Option<String>,
}

/// What Go prints for a time that was never set: the listener has no certificate.
const GO_ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Reads a `/varz` body. Listeners are called `client`, `cluster`, `gateway`, `leafnode`, `websocket`, `mqtt`; one
/// without certificate is left out. Never panics, whatever the bytes.
///
/// # Errors
/// [`MonitorError::Varz`] when a field is missing or of another type.
pub fn parse_varz(body: &[u8]) -> Result<RunningObserved, MonitorError> {
    let varz: Varz = serde_json::from_slice(body).map_err(MonitorError::Varz)?;
    let Varz {
        config_digest,
        version,
        server_name,
        tls_cert_not_after,
        cluster,
        gateway,
        leaf,
        websocket,
        mqtt,
    } = varz;
    let inner = |listener: Option<ListenerVarz>| listener.and_then(|listener| listener.tls_cert_not_after);
    let certificates: BTreeMap<String, String> = [
        ("client", tls_cert_not_after),
        ("cluster", inner(cluster)),
        ("gateway", inner(gateway)),
        ("leafnode", inner(leaf)),
        ("websocket", inner(websocket)),
        ("mqtt", inner(mqtt)),
    ]
    .into_iter()
    .filter_map(|(listener, not_after)| Some((listener.to_owned(), not_after?)))
    .filter(|(_, not_after)| not_after != GO_ZERO_TIME)
    .collect();
    Ok(RunningObserved::Answered { digest: config_digest, version, server_name, certificates })
}

#[cfg(test)]
mod tests;
