//! `/proc/self/mountinfo`: what is mounted where, and which mount holds a path.
//!
//! Source: Linux, Documentation/filesystems/proc.rst, 3.5: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root
//! rw,errors=continue`, with white space and `\` as three octal digits.

use std::path::Path;

use host_state::observed::Mount;

use super::tree::Tree;

const FILE: &str = "/proc/self/mountinfo";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Major and minor number of the device; major 0: none of its own.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: String,
    /// Options of this mount.
    pub options: String,
    /// File system type.
    pub fs_type: String,
    /// Device, or what the file system calls its source.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

impl Entry {
    /// As it is held against what is wanted.
    #[must_use]
    pub fn mount(&self) -> Mount {
        let Entry { device: _, point, options, fs_type, source, super_options } = self;
        let mut all: std::collections::BTreeSet<String> = [options, super_options]
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect();
        // A mount may be read-only over a file system that is not, and never the other way round.
        if all.contains("ro") {
            all.remove("rw");
        }
        all.remove("");
        Mount { point: point.clone(), source: source.clone(), fs_type: fs_type.clone(), options: all }
    }
}

/// Every mount, in the order in which they were made.
pub(super) fn read(tree: &Tree) -> Result<Vec<Entry>, String> {
    parse(&tree.text(FILE)?).map_err(|line| format!("line {line} of `{FILE}` is not as the kernel writes it"))
}

/// Parses the whole file.
///
/// # Errors
/// The number, from 1, of the first line that is not as the kernel writes it.
pub fn parse(text: &str) -> Result<Vec<Entry>, usize> {
    text.lines().enumerate().map(|(at, line)| entry(line).ok_or(at + 1)).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split(' ');
    let (_id, _parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let (major, minor) = fields.next()?.split_once(':')?;
    let _root = fields.next()?;
    let (point, options) = (unescaped(fields.next()?), fields.next()?.to_owned());
    // Any number of optional fields, then a hyphen.
    fields.by_ref().find(|field| *field == "-")?;
    let (fs_type, source) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let super_options = fields.next().unwrap_or_default().to_owned();
    let device = (number(major)?, number(minor)?);
    Some(Entry { device, point, options, fs_type, source, super_options })
}

/// Digits only: `+7` is no number of the kernel's.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Three octal digits after `\` as the byte that they stand for. What is not one of those is left as it is.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\').and_then(octal);
        out.push(code.unwrap_or(*byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit))
}

/// The mount that holds `path`, which is absolute and without symbolic links: of the longest mount points that lead to
/// it the one that was mounted last, which hides the others.
///
/// # Errors
/// When none does.
pub fn holds<'a>(mounts: &'a [Entry], path: &Path) -> Result<&'a Entry, String> {
    let over = mounts.iter().filter(|entry| path.starts_with(&entry.point));
    over.max_by_key(|entry| Path::new(&entry.point).components().count())
        .ok_or_else(|| format!("`{FILE}` has no mount over `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REAL: &str = r"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
40 27 8:17 / /data rw,noatime shared:7 master:1 - xfs /dev/sdb1 rw,attr2
41 27 0:51 / /mnt/a\040b ro,relatime - nfs4 host:/export\134x rw,vers=4.2
42 40 259:1 / /data/jetstream rw - ext4 /dev/nvme0n1p1 ro
43 40 0:60 / /data/jetstream rw - tmpfs tmpfs rw";

    #[test]
    fn the_kernels_lines_are_read() {
        let mounts = parse(REAL).unwrap();
        let entry = &mounts[3];
        assert_eq!((entry.point.as_str(), entry.source.as_str()), ("/mnt/a b", r"host:/export\x"));
        assert_eq!((mounts[2].device, mounts[2].fs_type.as_str()), ((8, 17), "xfs"));
        assert!(entry.mount().is_read_only() && mounts[4].mount().is_read_only());
        assert!(!mounts[0].mount().is_read_only());
        for wrong in
            ["", "a", "1 2 3 / / rw - x y", "1 2 3:+4 / / rw - x y", "1 2 3:4 / / rw x y z", "1 2 3:4 / /"]
        {
            assert_eq!(parse(&format!("{}\n{wrong}\n", REAL.lines().next().unwrap())), Err(2), "{wrong}");
        }
    }

    #[test]
    fn the_deepest_and_then_the_last_mount_holds_a_path() {
        let mounts = parse(REAL).unwrap();
        let of = |path: &str| holds(&mounts, Path::new(path)).map(|entry| entry.source.as_str());
        assert_eq!(of("/"), Ok("/dev/vda"));
        assert_eq!(of("/database"), Ok("/dev/vda"));
        assert_eq!(of("/data/x"), Ok("/dev/sdb1"));
        assert_eq!(of("/data/jetstream/nats"), Ok("tmpfs"));
        assert!(holds(&[], Path::new("/")).is_err());
    }

    fn escaped(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}"),
            other => char::from(other).to_string(),
        };
        text.bytes().map(escape).collect()
    }

    proptest! {
        #[test]
        fn what_the_kernel_escapes_is_read_back(point in "/[ -~]{0,30}", source in "[!-~ \\t\\n]{1,30}", major: u32) {
            let line = format!("1 2 {major}:7 / {} rw,x shared:1 - ext4 {} rw,y", escaped(&point), escaped(&source));
            let entry = &parse(&line).unwrap()[0];
            prop_assert_eq!((&entry.point, &entry.source, entry.device), (&point, &source, (major, 7)));
            prop_assert!(entry.mount().options.contains("y"));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            if let Ok(mounts) = parse(&text) {
                prop_assert_eq!(mounts.len(), text.lines().count());
            }
        }
    }
}
