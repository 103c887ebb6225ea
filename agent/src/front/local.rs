//! The socket `agent.sock` in the directory of the agent's sockets: `nats-agent status` and `diff` on the same host ask it.
//!
//! It answers one question, the report, and changes nothing. It is 0600, for the front's user and root; the kernel's word
//! on who is calling is checked besides, so that a directory opened up by mistake does not open this. One request a
//! connection: `report` and a newline, answered by one [`LocalAnswer`] as JSON.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_state::Report;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::roles::Applier;
use crate::unix_socket::{Access, OpenSocketError, UnixSocket};

/// The socket's name in that directory.
pub const SOCKET_NAME: &str = "agent.sock";
/// The one request.
const REQUEST: &str = "report";
/// Longest request line that is read, in bytes.
const MAX_REQUEST_BYTES: u64 = 64;
/// Time a caller has to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time a caller waits for the report; a sweep asks nats-server and hashes its binary.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// Callers served at once.
const MAX_CALLERS: usize = 4;

/// What the socket answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LocalAnswer {
    /// A fresh sweep.
    Report(Box<Report>),
    /// Why there is none.
    Error(String),
}

/// Opens the socket. A socket left by an agent that was killed is replaced, one that answers is not.
///
/// # Errors
/// [`OpenSocketError`].
pub async fn open(sockets: &Path) -> Result<UnixSocket, OpenSocketError> {
    UnixSocket::open(sockets.join(SOCKET_NAME), Access::OwnUser).await
}

/// Answers until `stop`; then the socket is gone.
pub async fn serve(socket: UnixSocket, applier: Arc<dyn Applier>, stop: CancellationToken) {
    let own = rustix::process::geteuid().as_raw();
    let callers = Arc::new(Semaphore::new(MAX_CALLERS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the local socket failed");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let caller = stream.peer_cred().map(|credentials| credentials.uid());
        if !matches!(&caller, Ok(uid) if *uid == own || *uid == 0) {
            tracing::warn!(?caller, "a call to the local socket by another user was refused");
            continue;
        }
        let Ok(permit) = Arc::clone(&callers).try_acquire_owned() else { continue };
        let applier = Arc::clone(&applier);
        tokio::spawn(async move {
            if let Err(error) = answer(stream, applier.as_ref()).await {
                tracing::debug!(%error, "a local caller left early");
            }
            drop(permit);
        });
    }
}

async fn answer(stream: UnixStream, applier: &dyn Applier) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST_BYTES));
    tokio::time::timeout(REQUEST_TIMEOUT, read.read_line(&mut line)).await??;
    let answer = if line.trim_end() == REQUEST {
        match applier.observe().await {
            Ok(report) => LocalAnswer::Report(Box::new(report)),
            Err(error) => LocalAnswer::Error(error.to_string()),
        }
    } else {
        LocalAnswer::Error(format!("the only request is `{REQUEST}`"))
    };
    write.write_all(&serde_json::to_vec(&answer)?).await?;
    write.shutdown().await
}

/// Why the local agent gave no report.
#[derive(Debug, thiserror::Error)]
pub enum LocalReportError {
    /// Nobody answers there.
    #[error(
        "no agent answers at `{path}`; does it run here, as `nats-agent front` or `nats-agent serve`, and are you its user or root?"
    )]
    NoAgent {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took longer than a minute.
    #[error("the agent gave no report within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// It hung up, or said something unknown.
    #[error("the agent's answer cannot be read")]
    Answer(#[source] serde_json::Error),
    /// It could not sweep.
    #[error("the agent cannot tell: {0}")]
    Agent(String),
}

/// Asks the agent whose sockets lie in the directory `sockets` for a report.
///
/// # Errors
/// [`LocalReportError`].
pub async fn report(sockets: &Path) -> Result<Report, LocalReportError> {
    let path = sockets.join(SOCKET_NAME);
    let exchange = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(format!("{REQUEST}\n").as_bytes()).await?;
        let mut raw = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut raw).await?;
        Ok(raw)
    };
    let raw = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| LocalReportError::Timeout)?;
    let raw = raw.map_err(|source| LocalReportError::NoAgent { path, source })?;
    match serde_json::from_slice(&raw).map_err(LocalReportError::Answer)? {
        LocalAnswer::Report(report) => Ok(*report),
        LocalAnswer::Error(text) => Err(LocalReportError::Agent(text)),
    }
}
