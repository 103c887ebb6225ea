//! A release of nats-server as its makers give it away: packed, summed, and served over HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::tools::NATS_SERVER_VERSION;

/// The archive of a release that holds `binary`; it is packed in `folder`.
///
/// # Errors
/// When a file cannot be written or `tar` fails.
pub fn packed(folder: &Path, binary: &Path) -> Result<Vec<u8>> {
    let name = format!("nats-server-v{NATS_SERVER_VERSION}-linux-amd64");
    fs::create_dir(folder.join(&name)).context("make the release's folder")?;
    fs::copy(binary, folder.join(&name).join("nats-server")).context("copy nats-server")?;
    let archive = folder.join("release.tar.gz");
    let status = Command::new("tar").arg("-C").arg(folder).arg("-czf").arg(&archive).arg(&name).status();
    ensure!(status.context("start tar")?.success(), "tar failed");
    fs::read(archive).context("read the archive")
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn sum(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Serves these files, by their paths, at a free port of `address` until this process ends; returns `http://address:port`.
///
/// # Errors
/// When nothing can listen there.
pub fn serve(address: Ipv4Addr, files: BTreeMap<&'static str, Vec<u8>>) -> Result<String> {
    let listener = TcpListener::bind((address, 0)).context("listen for downloads")?;
    let base = format!("http://{}", listener.local_addr().context("ask for the port")?);
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = Arc::clone(&files);
            // Who hangs up has its own error to tell.
            std::thread::spawn(move || answer(stream, &files).ok());
        }
    });
    Ok(base)
}

fn answer(mut stream: TcpStream, files: &BTreeMap<&'static str, Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let file = request.split(' ').nth(1).and_then(|path| files.get(path));
    let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
    let body = file.map(Vec::as_slice).unwrap_or_default();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}
