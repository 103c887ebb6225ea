//! A unix socket in a directory that only this user can enter, removed when dropped.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;

/// Why there is no socket.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("cannot make a private directory in `{place}`")]
    Directory {
        place: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on `{path}`")]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The socket's place; dropping removes socket and directory.
pub(super) struct PrivateSocket {
    directory: PathBuf,
    path: PathBuf,
}

impl PrivateSocket {
    /// Makes a new directory of mode 0700 in `place` (or the system's temporary place) and listens in it.
    /// A directory that exists is never used, whoever made it.
    pub(super) fn bind(place: Option<&Path>) -> Result<(Self, UnixListener), SocketError> {
        let place = place.map_or_else(std::env::temp_dir, Path::to_owned);
        let process = std::process::id();
        let mut attempt = 0_u32;
        let directory = loop {
            let directory = place.join(format!("tfplug-{process}-{attempt}"));
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => break directory,
                // Left behind by a process of the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
                Err(source) => return Err(SocketError::Directory { place, source }),
            }
        };
        let path = directory.join("plugin");
        let socket = Self { directory, path };
        let listener = UnixListener::bind(&socket.path)
            .map_err(|source| SocketError::Listen { path: socket.path.clone(), source })?;
        Ok((socket, listener))
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // What cannot be removed lies empty in a temporary place.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn is_private_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (first, _listener) = PrivateSocket::bind(Some(place.path())).unwrap();
        let (second, _listener) = PrivateSocket::bind(Some(place.path())).unwrap();
        assert_ne!(first.path(), second.path());
        let mode = fs::metadata(first.path().parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop((first, second));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
