//! The `.deb`: an `ar` of the format's version, a tar of what dpkg reads and a tar of the files.
//!
//! `ar` is written here: 60 bytes before each of three members are less than a crate is. Source: deb(5), dpkg 1.21.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::contents::{Contents, DESCRIPTION, MAINTAINER, NAME, Product, SUMMARY, architecture};

/// What must be there; 247 is the systemd of Debian 11.
const DEPENDS: &str = "systemd (>= 247), dbus, nftables";
/// Debian's own package has a `nats-server.service` too: at `/lib/systemd/system`, which is the same file where `/usr` is
/// merged, and dpkg would not notice; rpm does. Source: Debian 12, nats-server 2.9.10-1.
const CONFLICTS: &str = "nats-server";

/// As Debian names it.
pub(super) fn file_name(product: &Product) -> String {
    format!("{NAME}_{}_{}.deb", product.version, architecture())
}

/// The whole file.
///
/// # Errors
/// When an archive cannot be put together.
pub(super) fn build(product: &Product, contents: &Contents) -> Result<Vec<u8>> {
    let mut control = Archive::new(product)?;
    control.file("control", 0o644, control_text(product, contents).as_bytes())?;
    control.file("preinst", 0o755, contents.before_install.as_bytes())?;
    control.file("postinst", 0o755, contents.after_install.as_bytes())?;
    control.file("prerm", 0o755, contents.before_remove.as_bytes())?;
    control.file("postrm", 0o755, contents.after_remove.as_bytes())?;
    let mut data = Archive::new(product)?;
    let parents: BTreeSet<&str> = contents.entries.iter().flat_map(|entry| parents(&entry.path)).collect();
    for parent in parents {
        data.directory(parent)?;
    }
    for entry in &contents.entries {
        data.file(&entry.path, entry.mode, &entry.bytes)?;
    }
    let mut bytes = b"!<arch>\n".to_vec();
    member(&mut bytes, product, "debian-binary", b"2.0\n");
    member(&mut bytes, product, "control.tar.gz", &control.finish()?);
    member(&mut bytes, product, "data.tar.gz", &data.finish()?);
    Ok(bytes)
}

fn control_text(product: &Product, contents: &Contents) -> String {
    let size: usize = contents.entries.iter().map(|entry| entry.bytes.len().div_ceil(1024)).sum();
    let description: Vec<_> = DESCRIPTION.lines().map(|line| format!(" {line}\n")).collect();
    format!(
        "Package: {NAME}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Depends: {DEPENDS}\nConflicts: {CONFLICTS}\nSection: admin\nPriority: optional\nDescription: {SUMMARY}\n{}",
        product.version,
        architecture(),
        description.concat()
    )
}

/// Every directory above `path`, the outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// Appends one member. Names and numbers are padded to their columns, data to an even length.
fn member(bytes: &mut Vec<u8>, product: &Product, name: &str, data: &[u8]) {
    let header =
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", product.epoch, 0, 0, "100644", data.len());
    bytes.extend(header.into_bytes());
    bytes.extend(data);
    if data.len() % 2 == 1 {
        bytes.push(b'\n');
    }
}

/// A tar of root's files that are all of one time, compressed.
struct Archive {
    tar: tar::Builder<flate2::write::GzEncoder<Vec<u8>>>,
    epoch: u32,
}

impl Archive {
    fn new(product: &Product) -> Result<Self> {
        let level = Compression::new(product.level());
        let gzip = GzBuilder::new().mtime(product.epoch).write(Vec::new(), level);
        let mut archive = Self { tar: tar::Builder::new(gzip), epoch: product.epoch };
        archive.append("./", tar::EntryType::Directory, 0o755, &[])?;
        Ok(archive)
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        self.append(&format!("./{path}/"), tar::EntryType::Directory, 0o755, &[])
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.append(&format!("./{path}"), tar::EntryType::Regular, mode, bytes)
    }

    fn append(&mut self, path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root").and_then(|()| header.set_groupname("root")).context("name root")?;
        header.set_mtime(self.epoch.into());
        header.set_size(bytes.len() as u64);
        // `set_path` would take the leading `./` away, without which dpkg's own listings look different.
        let name = &mut header.as_old_mut().name;
        name.get_mut(..path.len())
            .with_context(|| format!("`{path}` is longer than a tar header's 100 bytes"))?
            .copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.tar.append(&header, bytes).with_context(|| format!("archive `{path}`"))
    }

    fn finish(self) -> Result<Vec<u8>> {
        let gzip = self.tar.into_inner().context("end the archive")?;
        gzip.finish().context("compress the archive")
    }
}
