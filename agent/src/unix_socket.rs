//! Unix sockets that lie in a directory: opened over what a killed process left, gone with whoever opened them.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Longest path of a Unix socket, in bytes. Source: Linux `sockaddr_un.sun_path`, 108 bytes with the final NUL.
pub const MAX_SOCKET_PATH: usize = 107;
/// Of a socket for its own user and root.
const OWN_MODE: u32 = 0o600;
/// Of a socket that a group may connect to as well.
const GROUP_MODE: u32 = 0o660;

/// Who may connect, beside root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The user of this process.
    OwnUser,
    /// The user of this process and everybody in the group with this id.
    Group(u32),
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSocketError {
    /// The path is too long.
    #[error(
        "`{path}` is longer than {MAX_SOCKET_PATH} bytes, the longest path of a Unix socket; choose a shorter directory"
    )]
    TooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// Somebody answers on it.
    #[error("another agent already answers at `{path}`")]
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

/// An open socket; removed from its directory when dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket was already gone");
        }
    }
}

impl UnixSocket {
    /// Opens the socket at `path`. One left by a process that was killed is replaced, one that answers is not.
    ///
    /// # Errors
    /// [`OpenSocketError`].
    pub async fn open(path: PathBuf, access: Access) -> Result<UnixSocket, OpenSocketError> {
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(OpenSocketError::TooLong { path });
        }
        let failed = |source| OpenSocketError::Io { path: path.clone(), source };
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(OpenSocketError::NotASocket { path }),
            Ok(_) if UnixStream::connect(&path).await.is_ok() => return Err(OpenSocketError::InUse { path }),
            Ok(_) => std::fs::remove_file(&path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let socket = UnixSocket { listener, path: path.clone() };
        open_to(&path, access).map_err(failed)?;
        Ok(socket)
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Those of the system; the socket stays open.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

fn open_to(path: &Path, access: Access) -> io::Result<()> {
    let set_mode = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    match access {
        Access::OwnUser => set_mode(OWN_MODE),
        Access::Group(group) => {
            std::os::unix::fs::chown(path, None, Some(group))?;
            set_mode(GROUP_MODE)
        }
    }
}
