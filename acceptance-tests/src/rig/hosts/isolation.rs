//! Takes this process into namespaces of its own: mounts, network, processes. What is made in them is gone when the
//! process is, because the kernel ends all of it: nothing is left to clean up after a kill.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::execute::run;

/// Set for the process that runs inside.
const INSIDE: &str = "NATS_HOSTS_ISOLATED";

/// Programs that the rig needs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("systemd-nspawn", "systemd-container"),
    ("unshare", "util-linux"),
];

/// Starts this program again inside, with `arguments`, unless it is there already. Whoever starts this program must live
/// as long as it: the kernel ends the program when its parent ends.
///
/// Where it returns, the process is inside: its network holds nothing but a loopback, and it may mount what it likes.
///
/// # Errors
/// When the process is not root, a program is missing, or namespaces cannot be made here.
pub fn enter(arguments: &[String]) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return furnish();
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "hosts with systemd need root: they are mounts and namespaces"
    );
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    ensure!(missing.is_empty(), "install these first, under the names of Debian: {}", missing.join(" "));
    let own = std::env::current_exe().context("find this program")?;
    let error = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork"])
        .args(["--kill-child=KILL", "--mount-proc"])
        .arg(own)
        .args(arguments)
        .env(INSIDE, "1")
        .exec();
    Err(error).context("start `setpriv`")
}

/// Whether the process is inside.
///
/// # Errors
/// When it is not: what the rig does would change this machine.
pub(super) fn ensure_inside() -> Result<()> {
    ensure!(
        std::env::var_os(INSIDE).is_some() && std::process::id() == 1,
        "hosts are laid out in namespaces of their own only: `isolation::enter` comes first"
    );
    Ok(())
}

fn furnish() -> Result<()> {
    ensure_inside()?;
    // Names of network namespaces, apart from those of this machine.
    std::fs::create_dir_all("/run/netns").context("make `/run/netns`")?;
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run/netns"]))?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    Ok(())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_path_buf);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
}
