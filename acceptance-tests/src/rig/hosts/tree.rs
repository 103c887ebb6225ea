//! The Debian that all hosts stand on: made once by debootstrap and kept. Needs the network, so it comes before
//! [`super::isolation`].

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::execute::run;
use crate::tools::NATS_SERVER_VERSION;
use crate::workspace;

/// Where the server lies on every host.
pub const NATS_SERVER: &str = "/usr/local/bin/nats-server";

/// What is in it beside debootstrap's smallest selection: what a cloud image has, and what the units need. Without
/// `netbase`, which most images have: so `nft` lists protocols by number here, and by name where tests run on a whole
/// machine.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,nftables,iproute2,ca-certificates,procps";
/// Debian 12.
const SUITE: &str = "bookworm";
/// Counts up when what is made here changes, so that a kept tree is not taken for it.
const REVISION: u32 = 1;

/// Units that would only take time from nine hosts on one machine.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-update-utmp-runlevel.service",
];

/// Mounts the host's own disk, as a cloud's user data would.
const DATA_MOUNT: &str = "\
[Unit]
Description=Disk of the JetStream store

[Mount]
What=/dev/data
Where=/data
Type=ext4
Options=noatime

[Install]
WantedBy=local-fs.target
";

/// Logs outlive a reboot and are all kept.
const JOURNAL: &str = "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=200M\n";

/// The tree, with `nats_server`, of the pinned version, at [`NATS_SERVER`]. Made when it is missing, which takes a
/// minute or two; kept in `NATS_HOSTS_CACHE`, or else under the target folder. May be called by many processes at once:
/// one makes it. A crash half-way leaves no tree under its final name.
///
/// # Errors
/// When debootstrap fails or a file cannot be written.
pub fn prepare(nats_server: &Path) -> Result<PathBuf> {
    let folder = std::env::var_os("NATS_HOSTS_CACHE")
        .map_or_else(|| workspace::target_dir().join("hosts-cache"), PathBuf::from);
    fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("make the lock of the tree")?;
    lock.lock().context("lock the tree")?;
    let tree = folder.join(format!("{SUITE}-{REVISION}-nats-server-{NATS_SERVER_VERSION}"));
    if !tree.is_dir() {
        let new = folder.join("new");
        if new.exists() {
            fs::remove_dir_all(&new).context("remove a tree that was not finished")?;
        }
        bootstrap(&new)?;
        furnish(&new, nats_server)?;
        fs::rename(&new, &tree).context("put the tree in place")?;
    }
    Ok(tree)
}

fn bootstrap(tree: &Path) -> Result<()> {
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(tree);
    if let Some(mirror) = std::env::var_os("NATS_HOSTS_MIRROR") {
        command.arg(mirror);
    }
    run(&mut command)
        .context("make a Debian tree; `NATS_HOSTS_MIRROR` names a mirror other than Debian's own")?;
    Ok(())
}

fn furnish(tree: &Path, nats_server: &Path) -> Result<()> {
    let write = |path: &str, text: &str| {
        let path = tree.join(path);
        fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
    };
    // Each host gets an id of its own at its first boot.
    write("etc/machine-id", "")?;
    write("etc/systemd/system/data.mount", DATA_MOUNT)?;
    fs::create_dir_all(tree.join("etc/systemd/journald.conf.d")).context("make the journal's folder")?;
    write("etc/systemd/journald.conf.d/keep.conf", JOURNAL)?;
    let units = tree.join("etc/systemd/system");
    fs::create_dir_all(units.join("local-fs.target.wants")).context("make a folder of units")?;
    symlink("../data.mount", units.join("local-fs.target.wants/data.mount")).context("enable the disk")?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit)).with_context(|| format!("mask `{unit}`"))?;
    }
    let server = tree.join(NATS_SERVER.trim_start_matches('/'));
    fs::copy(nats_server, &server).with_context(|| format!("copy `{}`", nats_server.display()))?;
    fs::set_permissions(&server, Permissions::from_mode(0o755)).context("make the server a program")
}
