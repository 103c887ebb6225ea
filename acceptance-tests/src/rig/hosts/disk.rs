//! A host's own disk: an ext4 image behind a loop device, which goes when this process and every mount of it have.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::execute::run;

/// How large it says it is; only what is written takes room.
const SIZE: u64 = 4 << 30;
/// Attempts against other processes that look for a free device at the same time.
const ATTEMPTS: u32 = 50;

/// A device with an empty ext4.
#[derive(Debug)]
pub struct Disk {
    device: PathBuf,
    /// Held, never read: once nobody holds the device the kernel lets go of the image.
    _open: File,
}

impl Disk {
    /// Makes the image `file` and attaches it.
    ///
    /// # Errors
    /// When it cannot be written, or no loop device can be had.
    pub fn new(file: &Path) -> Result<Self> {
        let image = File::create(file).with_context(|| format!("make `{}`", file.display()))?;
        image.set_len(SIZE).context("size the image")?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(file))?;
        let device = attach(file)?;
        let open = File::open(&device).with_context(|| format!("open `{}`", device.display()))?;
        // Detached once it is no longer held, by us or by a mount.
        run(Command::new("losetup").arg("--detach").arg(&device))?;
        Ok(Self { device, _open: open })
    }

    /// The device, as this process sees it.
    pub fn device(&self) -> &Path {
        &self.device
    }
}

fn attach(file: &Path) -> Result<PathBuf> {
    ensure_node("/dev/loop-control", 'c', 10, 237)?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let device = run(Command::new("losetup").arg("--find"))?.trim().to_owned();
        let number = device.strip_prefix("/dev/loop").and_then(|number| number.parse().ok());
        ensure_node(&device, 'b', 7, number.with_context(|| format!("`{device}` is no loop device"))?)?;
        match run(Command::new("losetup").arg(&device).arg(file)) {
            Ok(_) => return Ok(device.into()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    match last {
        Some(error) => Err(error).context("find a free loop device"),
        None => bail!("find a free loop device"),
    }
}

/// Makes the device's file where this machine has none, as in many containers. Source: Linux, devices.txt.
fn ensure_node(path: &str, kind: char, major: u32, minor: u32) -> Result<()> {
    let is_device = fs::metadata(path)
        .is_ok_and(|meta| meta.file_type().is_block_device() || meta.file_type().is_char_device());
    if !is_device {
        run(Command::new("mknod").args([path, &kind.to_string(), &major.to_string(), &minor.to_string()]))?;
    }
    Ok(())
}
