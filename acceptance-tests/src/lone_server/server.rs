//! A nats-server process of a test: checked, started, reloaded, asked, and always ended.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::site::Site;
use crate::tools::nats_server;

/// Longest wait for a server to start, stop or answer a reload.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The file that every server of a site reads.
pub const CONFIG_FILE: &str = "nats-server.json";

/// What `nats-server -t` says about `text`: the digest, or what it complained of.
///
/// # Errors
/// When it cannot be asked.
pub fn check(site: &Site, text: &str) -> Result<Result<String, String>> {
    site.write("candidate.json", text)?;
    let output = Command::new(nats_server()?)
        .args(["-t", "-c", "candidate.json"])
        .current_dir(site.path())
        .output()
        .context("run `nats-server -t`")?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let digest = said.split_once("is valid (").and_then(|(_, rest)| rest.split_once(')'));
    Ok(match digest {
        Some((digest, _)) if output.status.success() => Ok(digest.to_owned()),
        _ => Err(said),
    })
}

/// What a reload led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The server runs the configuration of this digest now.
    Yes(String),
    /// It keeps the old one and logged this line.
    No(String),
}

/// A running nats-server; killed when dropped.
#[derive(Debug)]
pub struct Server<'a> {
    site: &'a Site,
    child: Child,
    monitor: SocketAddr,
}

impl<'a> Server<'a> {
    /// Starts a server on `text` that answers at `monitor`, and waits until it does.
    ///
    /// # Errors
    /// When it ends instead, with what it logged.
    pub fn start(site: &'a Site, text: &str, monitor: (IpAddr, u16)) -> Result<Self> {
        let ready = |log: &str| log.matches("Server is ready").count();
        let before = ready(&logs(site));
        let mut server = Self { site, child: spawn(site, text)?, monitor: monitor.into() };
        let deadline = Instant::now() + PATIENCE;
        // The monitoring port answers before the server is ready to reload.
        while ready(&logs(site)) <= before || server.get("/varz").is_none() {
            server.still_starts(deadline)?;
        }
        Ok(server)
    }

    /// Starts a server on `text` and waits until it has written down the ports that it chose in `folder`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_trial(site: &'a Site, text: &str, folder: &Path) -> Result<Self> {
        // Where it answers is not known yet; nobody asks before it is.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut server = Self { site, child: spawn(site, text)?, monitor: nowhere };
        let ports_file = folder.join(format!("nats-server_{}.ports", server.id()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ports =
                fs::read(&ports_file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            if let Some(url) = ports.as_ref().and_then(|ports| ports["monitoring"][0].as_str()) {
                server.monitor = url.trim_start_matches("http://").parse().context("read its ports")?;
                return Ok(server);
            }
            server.still_starts(deadline)?;
        }
    }

    /// Waits a moment for a server that is starting.
    fn still_starts(&mut self, deadline: Instant) -> Result<()> {
        let ended = self.child.try_wait().context("look whether nats-server has ended")?;
        ensure!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", logs(self.site));
        sleep(PAUSE);
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The JSON at `path` of the monitoring port; none when nobody answers.
    pub fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect_timeout(&self.monitor, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.monitor).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn varz(&self, field: &str) -> Result<String> {
        let varz = self.get("/varz").ok_or_else(|| anyhow!("no answer: {}", logs(self.site)))?;
        Ok(varz[field].as_str().unwrap_or_default().to_owned())
    }

    /// The digest of the configuration that runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn digest(&self) -> Result<String> {
        self.varz("config_digest")
    }

    /// Writes `text` as the server's file, reloads and waits for what comes of it.
    ///
    /// # Errors
    /// When nothing comes of it.
    pub fn reload(&self, text: &str) -> Result<Reloaded> {
        let refusals = |log: &str| log.lines().filter(|line| line.contains("Failed to reload")).count();
        let (loaded, refused) = (self.varz("config_load_time")?, refusals(&logs(self.site)));
        self.site.write(CONFIG_FILE, text)?;
        kill_process(Pid::from_child(&self.child), Signal::HUP).context("send SIGHUP to nats-server")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.varz("config_load_time")? != loaded {
                return Ok(Reloaded::Yes(self.digest()?));
            }
            let log = logs(self.site);
            if refusals(&log) > refused {
                let line = log.lines().rfind(|line| line.contains("Failed to reload")).unwrap_or_default();
                return Ok(Reloaded::No(line.to_owned()));
            }
            ensure!(Instant::now() < deadline, "neither reloaded nor refused: {log}");
            sleep(PAUSE);
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // Only fails when the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the server says when it is started on `text` and is expected to give up.
///
/// # Errors
/// When it does not give up.
pub fn refusal(site: &Site, text: &str) -> Result<String> {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let mut server = Server { site, child: spawn(site, text)?, monitor: nowhere };
    let deadline = Instant::now() + PATIENCE;
    while server.child.try_wait().context("look whether nats-server has ended")?.is_none() {
        if Instant::now() > deadline {
            bail!("the server runs: {}", logs(site));
        }
        sleep(PAUSE);
    }
    Ok(logs(site))
}

fn spawn(site: &Site, text: &str) -> Result<Child> {
    site.write(CONFIG_FILE, text)?;
    let log = File::options().create(true).append(true).open(site.path().join("log/stderr.log"));
    Command::new(nats_server()?)
        .args(["-c", CONFIG_FILE])
        .current_dir(site.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.context("open the server's log")?)
        .spawn()
        .context("start nats-server")
}

/// All that servers of the site have logged, file by file.
pub fn logs(site: &Site) -> String {
    let entries = fs::read_dir(site.path().join("log")).into_iter().flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

/// Waits until `holds`.
///
/// # Errors
/// When it does not come to that, with what was logged.
pub fn eventually(site: &Site, holds: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "{}", logs(site));
        sleep(PAUSE);
    }
    Ok(())
}
