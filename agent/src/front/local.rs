//! The socket `agent.sock` in the state directory: `nats-agent status` and `diff` on the same host ask it.
//!
//! It answers one question, the report, and changes nothing. The directory is private to the agent's user and the
//! socket is 0600; the kernel's word on who is calling is checked besides, so that a directory opened up by mistake
//! does not open this. One request a connection: `report` and a newline, answered by one [`LocalAnswer`] as JSON.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_state::Report;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::roles::Applier;

/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "agent.sock";
/// Longest path of a Unix socket. Source: Linux `sockaddr_un.sun_path`, 108 bytes with the final NUL.
const MAX_SOCKET_PATH: usize = 107;
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

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSocketError {
    /// The state directory's path is too long for a socket in it.
    #[error(
        "`{path}` is longer than {MAX_SOCKET_PATH} bytes, the longest path of a Unix socket; choose a shorter state directory"
    )]
    TooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// Another agent answers on it.
    #[error("another agent already runs with the state directory of `{path}`")]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("`{path}` is in the way: it is not a socket of an earlier run, so it is left alone")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the socket `{path}`")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The open socket; removed from the directory when dropped.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the local socket was already gone");
        }
    }
}

/// Opens the socket. A socket left by an agent that was killed is replaced, one that answers is not.
///
/// # Errors
/// [`OpenSocketError`].
pub async fn open(state_dir: &Path) -> Result<LocalSocket, OpenSocketError> {
    let path = socket_path(state_dir).map_err(|path| OpenSocketError::TooLong { path })?;
    let failed = |source| OpenSocketError::Io { path: path.clone(), source };
    match std::fs::symlink_metadata(&path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(OpenSocketError::NotASocket { path }),
        Ok(_) if UnixStream::connect(&path).await.is_ok() => return Err(OpenSocketError::InUse { path }),
        Ok(_) => std::fs::remove_file(&path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(LocalSocket { listener, path })
}

fn socket_path(state_dir: &Path) -> Result<PathBuf, PathBuf> {
    let path = state_dir.join(SOCKET_NAME);
    if path.as_os_str().len() > MAX_SOCKET_PATH { Err(path) } else { Ok(path) }
}

/// Answers until `stop`; then the socket is gone.
pub async fn serve(socket: LocalSocket, applier: Arc<dyn Applier>, stop: CancellationToken) {
    let own = rustix::process::geteuid().as_raw();
    let callers = Arc::new(Semaphore::new(MAX_CALLERS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
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
    /// The state directory's path is too long for a socket in it.
    #[error("`{path}` is longer than {MAX_SOCKET_PATH} bytes, the longest path of a Unix socket")]
    TooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// Nobody answers there.
    #[error(
        "no agent answers at `{path}`; is `nats-agent serve` running with this state directory, and are you its user or root?"
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

/// Asks the agent that runs with `state_dir` for a report.
///
/// # Errors
/// [`LocalReportError`].
pub async fn report(state_dir: &Path) -> Result<Report, LocalReportError> {
    let path = socket_path(state_dir).map_err(|path| LocalReportError::TooLong { path })?;
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
