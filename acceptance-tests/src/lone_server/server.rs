//! A nats-server process of a test: checked, started, reloaded, asked, and always ended.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

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

/// What `nats-server -t` says about `text`: the digest.
///
/// # Errors
/// What it complained of.
pub fn check(site: &Site, text: &str) -> Result<String, String> {
    site.write("candidate.json", text);
    let output = Command::new(nats_server().unwrap())
        .args(["-t", "-c", "candidate.json"])
        .current_dir(site.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let digest = said.split_once("is valid (").and_then(|(_, rest)| rest.split_once(')'));
    match digest {
        Some((digest, _)) if output.status.success() => Ok(digest.to_owned()),
        _ => Err(said),
    }
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
    /// # Panics
    /// As [`Server::try_start`] fails.
    pub fn start(site: &'a Site, text: &str, monitor: (IpAddr, u16)) -> Self {
        Self::try_start(site, text, monitor).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts a server on `text` that answers at `monitor`, and waits until it does.
    ///
    /// # Errors
    /// When it ends instead, with what it logged.
    pub fn try_start(site: &'a Site, text: &str, monitor: (IpAddr, u16)) -> Result<Self, String> {
        let ready = |log: &str| log.matches("Server is ready").count();
        let before = ready(&logs(site));
        let mut server = Self { site, child: spawn(site, text), monitor: monitor.into() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The monitoring port answers before the server is ready to reload.
            if ready(&logs(site)) > before && server.get("/varz").is_some() {
                return Ok(server);
            }
            let ended = server.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() >= deadline {
                return Err(format!("{ended:?}: {}", logs(site)));
            }
            sleep(PAUSE);
        }
    }

    /// Starts a server on `text` and waits until it has written down the ports that it chose in `folder`.
    pub fn start_trial(site: &'a Site, text: &str, folder: &Path) -> Self {
        let mut child = spawn(site, text);
        let ports_file = folder.join(format!("nats-server_{}.ports", child.id()));
        let deadline = Instant::now() + PATIENCE;
        let monitor = loop {
            let ports =
                fs::read(&ports_file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            if let Some(url) = ports.as_ref().and_then(|ports| ports["monitoring"][0].as_str()) {
                break url.trim_start_matches("http://").parse().unwrap();
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", logs(site));
            sleep(PAUSE);
        };
        Self { site, child, monitor }
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

    fn varz(&self, field: &str) -> String {
        self.get("/varz").unwrap_or_else(|| panic!("no answer: {}", logs(self.site)))[field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The digest of the configuration that runs.
    pub fn digest(&self) -> String {
        self.varz("config_digest")
    }

    /// Writes `text` as the server's file, reloads and waits for what comes of it.
    pub fn reload(&self, text: &str) -> Reloaded {
        let refusals = |log: &str| log.lines().filter(|line| line.contains("Failed to reload")).count();
        let (loaded, refused) = (self.varz("config_load_time"), refusals(&logs(self.site)));
        self.site.write(CONFIG_FILE, text);
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, Signal::HUP).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.varz("config_load_time") != loaded {
                return Reloaded::Yes(self.digest());
            }
            let log = logs(self.site);
            if refusals(&log) > refused {
                let line = log.lines().rfind(|line| line.contains("Failed to reload")).unwrap_or_default();
                return Reloaded::No(line.to_owned());
            }
            assert!(Instant::now() < deadline, "neither reloaded nor refused: {log}");
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
pub fn refusal(site: &Site, text: &str) -> String {
    let mut child = spawn(site, text);
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the server runs: {}", logs(site));
        }
        sleep(PAUSE);
    }
    logs(site)
}

fn spawn(site: &Site, text: &str) -> Child {
    site.write(CONFIG_FILE, text);
    let log = File::options().create(true).append(true).open(site.path().join("log/stderr.log")).unwrap();
    Command::new(nats_server().unwrap())
        .args(["-c", CONFIG_FILE])
        .current_dir(site.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// All that servers of the site have logged, file by file.
pub fn logs(site: &Site) -> String {
    let mut files: Vec<_> =
        fs::read_dir(site.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

/// Waits until `holds`.
pub fn eventually(site: &Site, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{}", logs(site));
        sleep(PAUSE);
    }
}
