//! One host: a container with systemd, which can be booted, looked into, and lose its power.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroups;
use super::disk::Disk;
use super::execute::{output_with, run, run_with};
use super::network::{Lan, Network, Place};
use super::trace;
use crate::rig::process::Process;
use crate::rig::wait::{wait_for, wait_until};

/// Folder of a host's disks, below its own.
const DISKS: &str = "disk";
/// How long a host may take to stop everything and be off; a server's lame duck is part of it.
const OFF_TIMEOUT: Duration = Duration::from_secs(200);
/// How long a killed host may take to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// Set where the hosts' own disks are to lie in memory, of which they take some gigabytes: a machine whose disk has other
/// work is not fit for production, and agents say so.
const IN_MEMORY: &str = "NATS_HOSTS_DISKS_IN_MEMORY";
/// What a host is started by.
const NSPAWN: &str = "systemd-nspawn";
/// What a shell of root has; the environment of this process stays outside.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A host. Dropping it cuts its power.
#[derive(Debug)]
pub struct Host {
    name: String,
    place: Place,
    folder: PathBuf,
    packages: PathBuf,
    disk: Disk,
    is_traced: bool,
    running: Option<Running>,
}

/// A container that was started.
#[derive(Debug)]
struct Running {
    nspawn: Process,
    /// Its process 1, as this process numbers it; absent until it is there.
    leader: Option<u32>,
}

/// A process inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its number inside.
    pub pid: u32,
    /// Its user.
    pub user: String,
    /// Its command line.
    pub command: String,
}

impl Host {
    /// Makes the tree and the disk of a host below `folder`; boots nothing.
    pub(super) fn lay_out(
        name: String,
        place: Place,
        tree: &Path,
        packages: &Path,
        is_traced: bool,
        folder: &Path,
    ) -> Result<Self> {
        let folder = folder.join(&name);
        for part in ["upper", "work", "root"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("make `{}`", path.display()))?;
        }
        let at = |part: &str| folder.join(part).display().to_string();
        let layers = format!("lowerdir={},upperdir={},workdir={}", tree.display(), at("upper"), at("work"));
        run(Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &layers])
            .arg(folder.join("root")))?;
        fs::write(folder.join("root/etc/hostname"), format!("{name}\n")).context("name the host")?;
        let disks = folder.join(DISKS);
        fs::create_dir(&disks).with_context(|| format!("make `{}`", disks.display()))?;
        if std::env::var_os(IN_MEMORY).is_some() {
            run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&disks))?;
        }
        let disk = Disk::new(&disks.join("data.ext4"))?;
        Ok(Self { name, place, folder, packages: packages.to_owned(), disk, is_traced, running: None })
    }

    /// Its name, `<site>-<number>`, which is also the name of its network namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands, which gives its addresses.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The name of its site.
    pub fn site(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Its IPv4 address on the clients' network, where its agent listens too.
    pub fn address(&self) -> std::net::Ipv4Addr {
        self.place.v4(Network::Client)
    }

    /// Its whole tree, as this process sees it; what is mounted over it inside (`/run`, `/tmp`, `/data`) is not there.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// What its processes did, over all its boots, as [`trace`] reads it; not there where it is not traced.
    pub fn trace_file(&self) -> PathBuf {
        self.folder.join("trace.log")
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.nspawn.exit_status(), Ok(None)))
    }

    /// Starts it with a fresh network, and waits for nothing.
    pub(super) fn start(&mut self, lan: &Lan) -> Result<()> {
        self.running = None;
        lan.connect(&self.name, self.place)?;
        let run = self.folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let program = if self.is_traced { "strace" } else { NSPAWN };
        let mut command = cgroups::command_in_own(&run, &self.name, program);
        if self.is_traced {
            command.args(trace::ARGUMENTS).arg(self.trace_file()).arg(NSPAWN);
        }
        command
            // Settings of its own network may be changed inside; those of this machine's kernel may not.
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .args(["-q", "-b", "--register=no", "--keep-unit", "--console=pipe", "-M", &self.name, "-D"])
            .arg(self.folder.join("root"))
            // nspawn keeps it only in networks that it made itself; without it nobody inside could load rules.
            .arg("--capability=CAP_NET_ADMIN")
            .arg(format!("--network-namespace-path=/run/netns/{}", self.name))
            .arg(format!("--bind={}:/dev/data", self.disk.device().display()))
            .arg(format!("--bind-ro={}:{}", self.packages.display(), super::PACKAGES));
        let nspawn = Process::start(&self.name, &mut command, &self.folder.join("console.log"))?;
        self.running = Some(Running { nspawn, leader: None });
        Ok(())
    }

    /// Waits until all that was to start at boot has, or has failed.
    pub(super) fn wait_booted(&mut self, timeout: Duration) -> Result<()> {
        let name = self.name.clone();
        let booted = wait_until(&format!("{name} has booted"), timeout, || {
            self.find_leader()?;
            let state = self.output(&["systemctl", "is-system-running"])?;
            Ok(["running", "degraded"].contains(&String::from_utf8_lossy(&state.stdout).trim()))
        });
        let console = self.running.as_ref().map(|running| running.nspawn.log_end()).unwrap_or_default();
        booted.with_context(|| format!("console of {name}:\n{console}"))
    }

    fn find_leader(&mut self) -> Result<()> {
        let running = self.running.as_mut().context("it was not started")?;
        let status = running.nspawn.exit_status()?;
        ensure!(status.is_none(), "its container has ended");
        running.leader = running.nspawn.children().first().copied();
        Ok(())
    }

    fn leader(&self) -> Result<u32> {
        let leader = self.running.as_ref().and_then(|running| running.leader);
        leader.with_context(|| format!("host `{}` is not running", self.name))
    }

    /// Cuts its power: everything inside is killed at once, and its network is gone with all rules in it. Its disks keep
    /// what reached the page cache.
    ///
    /// # Errors
    /// When it stays.
    pub fn cut_power(&mut self) -> Result<()> {
        if let (Ok(leader), true) = (self.leader(), self.is_running()) {
            let leader = Pid::from_raw(leader.cast_signed()).context("process 0 is no host")?;
            kill_process(leader, Signal::KILL).with_context(|| format!("kill `{}`", self.name))?;
            let running = self.running.as_mut().context("it was running a moment ago")?;
            running.nspawn.wait_exit(GONE_TIMEOUT)?;
        }
        self.running = None;
        Ok(())
    }

    /// Asks it to stop everything in order and to go off; waits for nothing.
    pub(super) fn begin_power_off(&self) -> Result<()> {
        self.run(&["systemctl", "poweroff"]).map(drop)
    }

    /// Waits until it is off.
    pub(super) fn wait_off(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.nspawn.wait_exit(OFF_TIMEOUT)?;
        }
        Ok(())
    }

    /// What brings a program inside; the program and its arguments are to be added.
    fn inside(&self) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader()?.to_string(), "-m", "-p", "-n", "-u", "-i", "-C", "--"]);
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
        Ok(command)
    }

    /// A line for a person's shell outside that leads into the host.
    pub fn way_in(&self) -> String {
        format!("nsenter -at $(pgrep -P $(pgrep -f '^systemd-nspawn .* -M {} ')) bash", self.name)
    }

    /// Runs a program inside, as root, and gives its standard output.
    ///
    /// # Errors
    /// When the host is not running, or the program cannot be run or fails; the text holds what it wrote.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.run_with(words, &[])
    }

    /// As [`Host::run`], with `input` as its standard input.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> Result<String> {
        run_with(self.inside()?.args(words), input).with_context(|| format!("on {}", self.name))
    }

    /// As [`Host::run`], for who wants the status too.
    ///
    /// # Errors
    /// When the host is not running or the program cannot be started.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        output_with(self.inside()?.args(words), &[])
    }

    /// Writes a file inside, with this mode; in place, as an editor's save does not.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.run(&["install", "-D", "-m", &format!("{mode:o}"), "/dev/null", path])?;
        self.run_with(&["tee", path], bytes).map(drop)
    }

    /// Installs a package that lies in [`super::PACKAGES`], as a person would.
    ///
    /// # Errors
    /// When dpkg fails.
    pub fn install(&self, package: &str) -> Result<String> {
        let path = format!("{}/{package}", super::PACKAGES);
        self.run(&["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--install", &path])
    }

    /// What the journal says, of this boot; `arguments` choose.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn journal(&self, arguments: &[&str]) -> Result<String> {
        self.run(&[&["journalctl", "--no-pager", "--boot"], arguments].concat())
    }

    /// Whether systemd calls the unit active.
    ///
    /// # Errors
    /// When the host is not running.
    pub fn is_active(&self, unit: &str) -> Result<bool> {
        Ok(self.output(&["systemctl", "is-active", "--quiet", unit])?.status.success())
    }

    /// Waits until the unit is active.
    ///
    /// # Errors
    /// After `timeout`; the text holds the end of its journal.
    pub fn wait_active(&self, unit: &str, timeout: Duration) -> Result<()> {
        wait_until(&format!("{unit} of {} is active", self.name), timeout, || self.is_active(unit))
            .with_context(|| self.journal(&["--lines=30", "-u", unit]).unwrap_or_default())
    }

    /// The unit's main process inside; `None` while it has none.
    ///
    /// # Errors
    /// When the host is not running.
    pub fn main_pid(&self, unit: &str) -> Result<Option<u32>> {
        let text = self.run(&["systemctl", "show", "--property=MainPID", "--value", unit])?;
        let pid = text.trim().parse().with_context(|| format!("`{text}` is no process"))?;
        Ok(Some(pid).filter(|pid| *pid != 0))
    }

    /// Every process inside, in the order of their numbers.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let listing = self.run(&["ps", "-e", "--no-headers", "-o", "pid=,user:32=,args="])?;
        Ok(listing.lines().filter_map(task).collect())
    }

    /// Waits until `find` gives something.
    ///
    /// # Errors
    /// After `timeout`, with what `find` said last.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut find: impl FnMut(&Host) -> Result<Option<T>>,
    ) -> Result<T> {
        wait_for(&format!("{what} on {}", self.name), timeout, || find(self))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The kernel ends with this process what cannot be ended here.
        let _ = self.cut_power();
        // The disks are a mount only where they are in memory.
        for mount in ["root", DISKS] {
            let _ = run(Command::new("umount").arg("--lazy").arg(self.folder.join(mount)));
        }
    }
}

fn task(line: &str) -> Option<Task> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    let (user, command) = rest.trim_start().split_once(' ')?;
    Some(Task { pid: pid.parse().ok()?, user: user.to_owned(), command: command.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ps_is_a_task() {
        let found =
            task("    213 nats                             /usr/bin/nats-server -c current/nats-server.json");
        let command = "/usr/bin/nats-server -c current/nats-server.json".to_owned();
        assert_eq!(found, Some(Task { pid: 213, user: "nats".to_owned(), command }));
    }
}
