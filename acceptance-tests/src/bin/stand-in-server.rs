//! The program in the place of nats-server for proofs that start thousands of them; see `soak::kill::stand_in`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "so does the program that it stands for")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use acceptance_tests::soak::kill::stand_in::{STATUS_FILE, Status, remembered};
use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// How often it looks whether its directory is still there: it must not outlive the proof that starts it.
const POLL: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--version"] => println!("nats-server: v2.15.1"),
        ["-t", "-c", path] => {
            let (config, digest) = read(path)?;
            chain(&config)?;
            println!("nats-server: configuration file {path} is valid ({digest})");
        }
        ["-c", path] => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(path))?
        }
        _ => bail!("unknown arguments"),
    }
    Ok(())
}

fn read(path: &str) -> Result<(serde_json::Value, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("nats-server: read `{path}`"))?;
    let digest = nats_config::digest_of_text(&text)?.to_string();
    Ok((serde_json::from_str(&text)?, digest))
}

/// The certificate file; the key and CA files have to be there as well.
fn chain(config: &serde_json::Value) -> Result<String> {
    let file = |name: &str| {
        let path = config["tls"][name].as_str().with_context(|| format!("nats-server: no `tls.{name}`"))?;
        let text = std::fs::read_to_string(path);
        text.with_context(|| format!("nats-server: read `{path}`"))
    };
    file("key_file")?;
    file("ca_file")?;
    file("cert_file")
}

async fn run(path: &str) -> Result<()> {
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let (config, _) = read(path)?;
    let pid = std::process::id();
    if let Some(directory) = config["ports_file_dir"].as_str() {
        chain(&config)?;
        std::fs::write(PathBuf::from(directory).join(format!("stand-in_{pid}.ports")), "{}")?;
    } else {
        // As the full resolver does, it knows what it finds when it starts.
        for entry in
            std::fs::read_dir(host_state::layout::RESOLVER).into_iter().flatten().filter_map(Result::ok)
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(account) = name.strip_suffix(".jwt") {
                std::fs::copy(entry.path(), remembered(pid, account))?;
            }
        }
        show(path, pid)?;
    }
    let mut poll = tokio::time::interval(POLL);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Err(error) = show(path, pid) {
                    eprintln!("[ERR] Failed to reload server configuration: {error:#}");
                }
            }
            _ = term.recv() => {
                let _ = std::fs::remove_file(STATUS_FILE);
                return Ok(());
            }
            _ = poll.tick() => {
                if !Path::new(path).exists() && !Path::new("current").exists() {
                    return Ok(());
                }
            }
        }
    }
}

fn show(path: &str, pid: u32) -> Result<()> {
    let (config, digest) = read(path)?;
    let status = Status { pid, digest, chain: chain(&config)? };
    let temporary = format!(".{STATUS_FILE}.{pid}");
    std::fs::write(&temporary, serde_json::to_vec(&status)?)?;
    Ok(std::fs::rename(temporary, STATUS_FILE)?)
}
