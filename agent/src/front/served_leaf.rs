//! Which certificate a port of nats-server serves, seen by a handshake and nothing more.
//!
//! `/varz` tells when certificates end, not which they are; after a renewal only a handshake shows that the new one
//! is in use. The server logs a handshake error for each look at a port that demands a client certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustls_pki_types::ServerName;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::front::server_tls::{LeafSeen, ServerTlsError};

/// Longest time for one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest INFO line that is read, in bytes. Source: nats-server 2.15.1 sends about 700 and a URL per server.
const MAX_INFO_BYTES: usize = 64 * 1024;

/// Why a port's certificate is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No connection, or it broke.
    #[error("cannot talk to `{address}`")]
    Connection {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No certificate in time.
    #[error("`{address}` showed no certificate within {} s", LOOK_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        address: SocketAddr,
    },
    /// The client port did not begin with INFO.
    #[error("`{address}` did not begin with an INFO line")]
    NoInfo {
        /// Where.
        address: SocketAddr,
    },
    /// TLS ended before a certificate was shown.
    #[error("the TLS handshake with `{address}` failed")]
    Handshake {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Our own configuration was refused.
    #[error("cannot prepare the handshake")]
    Config(#[source] ServerTlsError),
}

/// SHA-256 of the leaf that `address` serves, 64 lower-case hex digits; `after_info` for a client port, where the
/// server speaks first.
///
/// # Errors
/// [`LookError`]. A server that shows its certificate and then turns us away for having none is no error.
pub async fn served_leaf(address: SocketAddr, after_info: bool) -> Result<String, LookError> {
    tokio::time::timeout(LOOK_TIMEOUT, look(address, after_info))
        .await
        .unwrap_or(Err(LookError::Timeout { address }))
}

async fn look(address: SocketAddr, after_info: bool) -> Result<String, LookError> {
    let connection = |source| LookError::Connection { address, source };
    let mut stream = TcpStream::connect(address).await.map_err(connection)?;
    if after_info && !read_info(&mut stream).await.map_err(connection)? {
        return Err(LookError::NoInfo { address });
    }
    let seen = LeafSeen::new();
    let connector = TlsConnector::from(Arc::new(seen.config().map_err(LookError::Config)?));
    let ended = match connector.connect(ServerName::IpAddress(address.ip().into()), stream).await {
        Ok(mut stream) => stream.shutdown().await,
        Err(error) => Err(error),
    };
    match (seen.take(), ended) {
        (Some(leaf), _) => Ok(HEXLOWER.encode(&Sha256::digest(&leaf))),
        (None, Err(source)) => Err(LookError::Handshake { address, source }),
        (None, Ok(())) => Err(LookError::Timeout { address }),
    }
}

/// Reads up to the end of the first line, a byte at a time so that no byte of TLS is taken with it; whether that line
/// is INFO.
async fn read_info(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut line = Vec::with_capacity(1024);
    while line.len() < MAX_INFO_BYTES {
        match stream.read_u8().await? {
            b'\n' => return Ok(line.starts_with(b"INFO ")),
            byte => line.push(byte),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn server(says: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.71.4.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_port_that_is_not_nats_is_told() {
        let address = server(b"SSH-2.0-x\r\n").await;
        let error = served_leaf(address, true).await.unwrap_err();
        assert_eq!(error.to_string(), format!("`{address}` did not begin with an INFO line"));
        let address = server(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = served_leaf(address, false).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the TLS handshake with `{address}` failed"));
    }
}
