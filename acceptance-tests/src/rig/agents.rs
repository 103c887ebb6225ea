//! A fleet of agents on loopback addresses: one process and one state folder per host, as if each were a machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, kill_process};

use super::binaries;
use super::loopback::{AGENT_PORT, Block, Folder};
use super::process::{Process, Signal};
use super::wait::wait_until;
use crate::tools;

/// Where an agent has its nats-server write its process id, below its state directory. As in `host_state::layout`, which
/// the rigs do without.
const PID_FILE: &str = "server/nats-server.pid";

/// Hosts, laid out in clusters; their agents run once they are started.
///
/// Dropping it ends every agent and everything the agents started.
#[derive(Debug)]
pub struct Fleet {
    // Fields drop in order: processes before their folder and addresses.
    hosts: Vec<Host>,
    folder: Folder,
    _block: Block,
}

/// One host and its agent.
#[derive(Debug)]
pub struct Host {
    name: String,
    cluster: String,
    address: Ipv4Addr,
    folder: PathBuf,
    nats_server: Option<PathBuf>,
    agent: Option<Process>,
}

impl Fleet {
    /// Lays out hosts `<cluster>-1`, `<cluster>-2` and so on for each `(cluster, number of hosts)`. Starts nothing.
    ///
    /// # Errors
    /// When there are no hosts or more than 254, or no block of addresses is free.
    pub fn lay_out(clusters: &[(&str, usize)]) -> Result<Self> {
        let total: usize = clusters.iter().map(|(_, size)| size).sum();
        let total = u8::try_from(total).context("more hosts than a block holds")?;
        let block = Block::claim(total)?;
        let folder = Folder::new("fleet")?;
        let names =
            clusters.iter().flat_map(|(cluster, size)| (1..=*size).map(move |number| (cluster, number)));
        let mut hosts = Vec::new();
        for ((cluster, number), index) in names.zip(1..=total) {
            let name = format!("{cluster}-{number}");
            let own = folder.path().join(&name);
            fs::create_dir(&own).with_context(|| format!("create the folder of host `{name}`"))?;
            hosts.push(Host {
                name,
                cluster: (*cluster).to_owned(),
                address: block.address(index),
                folder: own,
                nats_server: None,
                agent: None,
            });
        }
        Ok(Self { hosts, folder, _block: block })
    }

    /// Three clusters of three hosts each: `east`, `west` and `north`.
    ///
    /// # Errors
    /// As [`Fleet::lay_out`].
    pub fn supercluster() -> Result<Self> {
        Self::lay_out(&[("east", 3), ("west", 3), ("north", 3)])
    }

    /// All hosts, in the order of their clusters.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The folder that holds every host's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The host called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .with_context(|| format!("no host is called `{name}`"))
    }

    /// The host called `name`, to start or stop its agent.
    ///
    /// # Errors
    /// When there is none.
    pub fn host_mut(&mut self, name: &str) -> Result<&mut Host> {
        self.hosts
            .iter_mut()
            .find(|host| host.name == name)
            .with_context(|| format!("no host is called `{name}`"))
    }

    /// Starts the agents of all hosts and waits until each accepts connections.
    ///
    /// # Errors
    /// When the programs are missing or do not compile, or an agent is not listening after 30 s; the text then holds
    /// the end of its log.
    pub fn start(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.start()?;
        }
        self.hosts.iter_mut().try_for_each(|host| host.await_listening(Duration::from_secs(30)))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All are asked at once, because each stops its nats-server first; their own drops wait for them.
        for agent in self.hosts.iter_mut().filter_map(|host| host.agent.as_mut()) {
            // One that is not asked here is asked by its own drop.
            let _ = agent.signal(Signal::TERM);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.agent.take());
        // An agent that was killed leaves its server behind.
        let _ = self.kill_server();
    }
}

impl Host {
    /// Its name, such as `east-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it was laid out for.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its own address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where its agent listens, as the provider's configuration writes it.
    pub fn agent_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, AGENT_PORT)
    }

    /// The agent's state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Where its JetStream data may be kept; exists and is empty at first.
    pub fn store_dir(&self) -> PathBuf {
        self.folder.join("jetstream")
    }

    /// Writes the enrolment that the agent reads at its next start. Without it the agent starts unenrolled and waits
    /// for `nats-agent enroll`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn enroll(&self, enrollment: &str) -> Result<()> {
        let path = self.enrollment();
        fs::write(&path, enrollment).with_context(|| format!("write `{}`", path.display()))
    }

    /// Starts the agent, and starts it again when it has ended; state and enrolment are what they were.
    ///
    /// # Errors
    /// When a program is missing or does not compile, or the agent is running already.
    pub fn start(&mut self) -> Result<()> {
        if let Some(agent) = &mut self.agent {
            ensure!(agent.exit_status()?.is_some(), "the agent of `{}` is running already", self.name);
        }
        for folder in [self.state_dir(), self.store_dir()] {
            fs::create_dir_all(&folder)
                .with_context(|| format!("create the folder `{}`", folder.display()))?;
        }
        let mut command = Command::new(binaries::agent()?);
        command.arg("serve").arg("--state-dir").arg(self.state_dir());
        command.args(["--listen", &self.agent_address().to_string(), "--host", &self.name]);
        let nats_server = self.nats_server.as_ref().map_or_else(tools::nats_server, |own| Ok(own.clone()))?;
        command.arg("--nats-server").arg(nats_server);
        if self.enrollment().exists() {
            command.arg("--enrollment").arg(self.enrollment());
        }
        let name = format!("the agent of `{}`", self.name);
        self.agent = Some(Process::start(&name, &mut command, &self.folder.join("agent.log"))?);
        Ok(())
    }

    /// Gives the host a copy of nats-server that no other host runs, from the agent's next start on. Returns where it is.
    ///
    /// # Errors
    /// When nats-server is missing or cannot be copied.
    pub fn own_nats_server(&mut self) -> Result<PathBuf> {
        let copy = self.folder.join("nats-server");
        fs::copy(tools::nats_server()?, &copy).with_context(|| format!("write `{}`", copy.display()))?;
        self.nats_server = Some(copy.clone());
        Ok(copy)
    }

    /// The process id of its nats-server, as that wrote it; absent when none runs in the agent's state folder.
    pub fn server_pid(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.state_dir().join(PID_FILE)).ok()?.trim().parse().ok()?;
        // A number that is used again belongs to a process that works elsewhere.
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let is_alive = !fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") Z ");
        (is_alive && works_in == fs::canonicalize(self.state_dir()).ok()?).then_some(pid)
    }

    /// Kills its nats-server at once. Does nothing when none runs.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_server(&self) -> Result<()> {
        match self.server_pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            Some(pid) => kill_process(pid, Signal::KILL)
                .with_context(|| format!("kill nats-server of `{}`", self.name)),
            None => Ok(()),
        }
    }

    /// Waits until the agent accepts connections.
    ///
    /// # Errors
    /// When it has ended, was not started, or does not listen after `timeout`; the text holds the end of its log.
    pub fn await_listening(&mut self, timeout: Duration) -> Result<()> {
        let (address, what) = (self.agent_address(), format!("the agent of `{}` listening", self.name));
        let agent = self.agent()?;
        let listening = wait_until(&what, timeout, || {
            let ended = agent.exit_status()?.is_some();
            Ok(ended || TcpStream::connect(address).is_ok())
        });
        let alive = listening.and_then(|()| match agent.exit_status()? {
            Some(status) => bail!("it ended with {status}"),
            None => Ok(()),
        });
        alive.with_context(|| format!("{what}; its log:\n{}\n", agent.log_end()))
    }

    /// The agent's process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn agent(&mut self) -> Result<&mut Process> {
        self.agent.as_mut().with_context(|| format!("the agent of `{}` was not started", self.name))
    }

    fn enrollment(&self) -> PathBuf {
        self.folder.join("enrollment")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_host_has_a_name_an_address_and_a_folder_of_its_own() {
        let fleet = Fleet::supercluster().unwrap();
        let names: Vec<_> = fleet.hosts().iter().map(Host::name).collect();
        assert_eq!(
            names,
            ["east-1", "east-2", "east-3", "west-1", "west-2", "west-3", "north-1", "north-2", "north-3"]
        );
        let addresses: BTreeSet<_> = fleet.hosts().iter().map(Host::agent_address).collect();
        let folders: BTreeSet<_> = fleet.hosts().iter().map(Host::state_dir).collect();
        assert_eq!((addresses.len(), folders.len()), (9, 9));
        assert_eq!(fleet.host("west-2").unwrap().cluster(), "west");
        assert_eq!(fleet.host("west-4").unwrap_err().to_string(), "no host is called `west-4`");
    }

    #[test]
    fn an_agent_that_ends_is_shown_with_its_log() {
        let mut fleet = Fleet::lay_out(&[("solo", 1)]).unwrap();
        let folder = fleet.folder().to_path_buf();
        let host = fleet.host_mut("solo-1").unwrap();
        let missing = host.await_listening(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(missing, "the agent of `solo-1` was not started");

        let mut command = Command::new("sh");
        command.args(["-c", "echo no key; exit 7"]);
        host.agent = Some(Process::start("the agent", &mut command, &folder.join("log")).unwrap());
        let error = host.await_listening(Duration::from_secs(10)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the agent of `solo-1` listening; its log:\nno key\n: it ended with exit status: 7"
        );
    }
}
