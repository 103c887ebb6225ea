//! Two network namespaces with a cable between them: a host, and everybody else.
//!
//! Everybody else may speak from any address of [`POOL4`] and [`POOL6`]. Beside our own table the host has a witness: a
//! table that accepts everything and notes what arrived before our table and what passed it.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// IPv4 addresses that everybody else speaks from.
pub(super) const POOL4: &str = "10.0.0.0/8";
/// The same of IPv6.
pub(super) const POOL6: &str = "fd00::/8";
/// The host.
pub(super) const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The same in IPv6.
pub(super) const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// A namespace, which lives as long as this.
#[derive(Debug)]
pub(super) struct Namespace {
    holder: Child,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It holds nothing but the namespace; one that is gone already is gone.
        let _ = self.holder.kill().and_then(|()| self.holder.wait());
    }
}

impl Namespace {
    fn new() -> Result<Namespace> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo ready; exec sleep 86400"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run `unshare`; install util-linux")?;
        let mut word = [0_u8; 6];
        let read = holder.stdout.as_mut().map(|out| out.read_exact(&mut word));
        let namespace = Namespace { holder };
        ensure!(
            matches!(read, Some(Ok(()))) && word == *b"ready\n",
            "cannot make a network namespace; this needs root"
        );
        Ok(namespace)
    }

    /// Process id by which others name it.
    pub(super) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// A program that will run in it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.id())).arg("--").arg(program);
        command
    }

    /// Runs a program in it to its end.
    pub(super) fn run(&self, words: &str) -> Result<Output> {
        let mut words = words.split(' ');
        let program = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let output = self.command(program).args(&arguments).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "`{program} {}` failed: {complaint}", arguments.join(" "));
        Ok(output)
    }

    /// Has `nft` take a text; returns the process id it had.
    pub(super) fn nft(&self, text: &str) -> Result<u32> {
        let child = self.command("/usr/sbin/nft").arg(text).stderr(Stdio::piped()).spawn()?;
        let id = child.id();
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "`nft {text}` failed: {complaint}");
        Ok(id)
    }

    /// Does `work` on a thread that is in it: sockets that it opens and programs that it starts are.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.id()))?;
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            work()
        };
        std::thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Both, connected.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) host: Namespace,
    pub(super) others: Namespace,
}

impl Pair {
    pub(super) fn new() -> Result<Pair> {
        let (host, others) = (Namespace::new()?, Namespace::new()?);
        host.run(&format!("ip link add cable type veth peer name cable netns {}", others.id()))?;
        for (end, digit) in [(&host, 1), (&others, 2)] {
            end.run("ip link set lo up")?;
            end.run(&format!("ip addr add 192.0.2.{digit}/24 dev cable"))?;
            end.run(&format!("ip -6 addr add 2001:db8::{digit}/64 dev cable nodad"))?;
            end.run(&format!("ip link set cable address 02:00:00:00:00:0{digit}"))?;
            end.run("ip link set cable up")?;
        }
        // Fixed, so that no first packet waits until a neighbour is found.
        for (end, other) in [(&host, 2), (&others, 1)] {
            let hardware = format!("lladdr 02:00:00:00:00:0{other} dev cable nud permanent");
            end.run(&format!("ip neigh replace 192.0.2.{other} {hardware}"))?;
            end.run(&format!("ip -6 neigh replace 2001:db8::{other} {hardware}"))?;
        }
        host.run(&format!("ip route add {POOL4} via 192.0.2.2"))?;
        host.run(&format!("ip -6 route add {POOL6} via 2001:db8::2"))?;
        others.run(&format!("ip route add local {POOL4} dev lo"))?;
        others.run(&format!("ip -6 route add local {POOL6} dev lo"))?;
        Ok(Pair { host, others })
    }
}
