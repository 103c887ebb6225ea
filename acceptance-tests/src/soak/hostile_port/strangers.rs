//! Attacks of those who have no certificate that the agent takes: all they can send is TLS, or less.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::ClientIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CONNECTIONS;
use super::enemy::{Attack, Enemy};

/// A TLS record of the handshake. Source: RFC 8446, 5.1.
const HANDSHAKE_RECORD: [u8; 3] = [22, 3, 1];

/// All of them.
pub(super) const ATTACKS: &[Attack] = &[
    Attack { name: "raw bytes", workers: 64, run: |enemy| Box::pin(raw_bytes(enemy)) },
    Attack { name: "garbage in TLS records", workers: 64, run: |enemy| Box::pin(garbage_records(enemy)) },
    Attack {
        name: "messages said to have 16 MiB",
        workers: CONNECTIONS,
        run: |enemy| Box::pin(announced(enemy)),
    },
    Attack {
        name: "handshakes of one byte a second",
        workers: CONNECTIONS,
        run: |enemy| Box::pin(slow(enemy)),
    },
    Attack {
        name: "connections that say nothing",
        workers: CONNECTIONS,
        run: |enemy| Box::pin(silent(enemy)),
    },
    Attack { name: "connections opened and dropped", workers: 64, run: |enemy| Box::pin(dropped(enemy)) },
    Attack {
        name: "handshakes that stop half-way",
        workers: CONNECTIONS,
        run: |enemy| Box::pin(half_way(enemy)),
    },
    Attack { name: "TLS without a certificate", workers: 64, run: |enemy| Box::pin(anonymous(enemy)) },
    Attack { name: "certificate chains of 64 KiB", workers: 64, run: |enemy| Box::pin(long_chain(enemy)) },
    Attack {
        name: "certificate chains of 90 KiB",
        workers: 64,
        run: |enemy| Box::pin(too_long_chain(enemy)),
    },
    Attack {
        name: "silence from thousands of addresses",
        workers: CONNECTIONS,
        run: |enemy| Box::pin(anywhere(enemy)),
    },
    Attack {
        name: "TLS without a certificate from thousands of addresses",
        workers: 256,
        run: |enemy| Box::pin(anonymous_anywhere(enemy)),
    },
    Attack {
        name: "handshakes that stop half-way, from the owner's address",
        workers: 48,
        run: |enemy| Box::pin(as_owner(enemy)),
    },
];

/// Reads until the agent closes.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn raw_bytes(enemy: Arc<Enemy>) -> io::Result<()> {
    let mut stream = enemy.dialled().await?;
    stream.write_all(&enemy.bytes(4096)).await?;
    until_closed(&mut stream).await
}

async fn garbage_records(enemy: Arc<Enemy>) -> io::Result<()> {
    let mut stream = enemy.dialled().await?;
    let mut payload = enemy.bytes(1 + enemy.below(2000) as usize);
    // Half of them look like a ClientHello for some bytes more.
    if enemy.below(2) == 0 {
        payload[0] = 1;
    }
    stream.write_all(&record(&payload)).await?;
    until_closed(&mut stream).await
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("records here are small");
    [&HANDSHAKE_RECORD[..], &length.to_be_bytes(), payload].concat()
}

/// A ClientHello that says it is the longest there may be, and sends record after record of it.
async fn announced(enemy: Arc<Enemy>) -> io::Result<()> {
    let mut stream = enemy.dialled().await?;
    stream.write_all(&record(&[1, 0xff, 0xff, 0xff])).await?;
    let part = record(&[0; 16 * 1024]);
    let (mut read, mut write) = stream.split();
    tokio::select! {
        closed = until_closed(&mut read) => closed,
        sent = async {
            loop {
                write.write_all(&part).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        } => sent,
    }
}

/// The ClientHello of a caller who means it.
fn hello(enemy: &Enemy) -> io::Result<Vec<u8>> {
    let name = rustls_pki_types::ServerName::try_from("nats-agent").map_err(io::Error::other)?;
    let mut client =
        rustls::ClientConnection::new(Arc::new(enemy.tls(None)?), name).map_err(io::Error::other)?;
    let mut wire = Vec::new();
    client.write_tls(&mut wire)?;
    Ok(wire)
}

async fn slow(enemy: Arc<Enemy>) -> io::Result<()> {
    let (mut stream, hello) = (enemy.dialled().await?, hello(&enemy)?);
    let (mut read, mut write) = stream.split();
    tokio::select! {
        closed = until_closed(&mut read) => closed,
        sent = async {
            for byte in hello {
                write.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        } => sent,
    }
}

async fn silent(enemy: Arc<Enemy>) -> io::Result<()> {
    until_closed(&mut enemy.dialled().await?).await
}

async fn anywhere(enemy: Arc<Enemy>) -> io::Result<()> {
    until_closed(&mut enemy.dialled_from_anywhere().await?).await
}

async fn dropped(enemy: Arc<Enemy>) -> io::Result<()> {
    let stream = enemy.dialled().await?;
    // With a reset instead of an orderly end, so that no port is kept waiting.
    stream.set_zero_linger()?;
    Ok(())
}

async fn half_way(enemy: Arc<Enemy>) -> io::Result<()> {
    stopping(enemy.dialled().await?, &enemy).await
}

async fn as_owner(enemy: Arc<Enemy>) -> io::Result<()> {
    stopping(enemy.dialled_as_owner().await?, &enemy).await
}

/// Has the agent sign and answer, and then says nothing more.
async fn stopping(mut stream: TcpStream, enemy: &Enemy) -> io::Result<()> {
    stream.write_all(&hello(enemy)?).await?;
    until_closed(&mut stream).await
}

async fn anonymous(enemy: Arc<Enemy>) -> io::Result<()> {
    refused(enemy.dialled().await?, &enemy, None).await
}

async fn anonymous_anywhere(enemy: Arc<Enemy>) -> io::Result<()> {
    refused(enemy.dialled_from_anywhere().await?, &enemy, None).await
}

async fn long_chain(enemy: Arc<Enemy>) -> io::Result<()> {
    refused(enemy.dialled().await?, &enemy, Some(&enemy.long_chain)).await
}

async fn too_long_chain(enemy: Arc<Enemy>) -> io::Result<()> {
    refused(enemy.dialled().await?, &enemy, Some(&enemy.too_long_chain)).await
}

/// A whole handshake, as far as the caller can tell, and the agent's answer to it.
async fn refused(stream: TcpStream, enemy: &Enemy, identity: Option<&ClientIdentity>) -> io::Result<()> {
    stream.set_zero_linger()?;
    let mut stream = enemy.secured(stream, identity).await?;
    until_closed(&mut stream).await
}
