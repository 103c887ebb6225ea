//! What is read of files, and of the file systems that hold them. Nothing is changed here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::FileError;
use crate::roles::ServiceUser;

/// Reads a whole file of at most `limit` bytes. `None` when there is none.
///
/// # Errors
/// [`FileError::Read`], naming the path, when it cannot be read or is larger.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    bounded(file, limit).map(Some).map_err(read)
}

/// As [`read_bounded`], of a file in a directory that another user may change: no link is followed, and what is no file is
/// not waited for.
///
/// # Errors
/// [`FileError::Read`], naming the path.
pub fn read_untrusted(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let Some(file) = open_untrusted(path).map_err(read)? else { return Ok(None) };
    bounded(file, limit).map(Some).map_err(read)
}

/// As [`read_untrusted`], of a directory that may be a link or another one by the next call: it is opened once, through no
/// link of its own, and its files are those of what was opened.
#[derive(Debug)]
pub struct UntrustedDirectory {
    path: PathBuf,
    opened: OwnedFd,
}

impl UntrustedDirectory {
    /// Opens it; `None` when there is none.
    ///
    /// # Errors
    /// [`FileError::Read`], naming the path; also when it is a link or no directory.
    pub fn open(path: &Path) -> Result<Option<UntrustedDirectory>, FileError> {
        match open_directory(path, OFlags::NOFOLLOW) {
            Ok(opened) => Ok(Some(UntrustedDirectory { path: path.to_owned(), opened })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(FileError::Read { path: path.to_owned(), source: errno.into() }),
        }
    }

    /// Reads the file `name` in it, of at most `limit` bytes; `None` when there is none.
    ///
    /// # Errors
    /// As [`read_untrusted`]; also when `name` leads anywhere else.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
        let read = |source| FileError::Read { path: self.path.join(name), source };
        if name.contains('/') {
            return Err(read(io::Error::other("it is no name of a file")));
        }
        let Some(file) = open_file_in(self.opened.as_fd(), Path::new(name)).map_err(read)? else {
            return Ok(None);
        };
        bounded(file, limit).map(Some).map_err(read)
    }
}

/// Opens a directory to find files in; `follow` says what becomes of a link.
pub(super) fn open_directory(path: &Path, follow: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// Opens a file of such a directory for reading; `None` when there is none.
///
/// # Errors
/// Those of the system, and when it is a link or no file.
pub fn open_untrusted(path: &Path) -> io::Result<Option<File>> {
    open_file_in(CWD, path)
}

fn open_file_in(directory: BorrowedFd<'_>, path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if file.metadata()?.is_file() { Ok(Some(file)) } else { Err(io::Error::other("it is no file")) }
}

/// All of a file, unless it is larger.
fn bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Permission bits of a file.
///
/// # Errors
/// Those of stat.
pub fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Who owns a file or directory; of a link the link itself.
///
/// # Errors
/// Those of stat.
pub fn owner_of(path: &Path) -> io::Result<ServiceUser> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok(ServiceUser { uid: metadata.uid(), gid: metadata.gid() })
}

/// Room of a file system for an ordinary user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all, used and free.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// Room of the file system that holds `path`, without what it reserves for root.
///
/// # Errors
/// Those of statvfs.
pub fn space_of(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(Space { size: bytes(used.saturating_add(found.f_bavail)), free: bytes(found.f_bavail) })
}

/// Major and minor number of the device that a device file stands for.
///
/// # Errors
/// Those of stat.
pub fn device_number(path: &Path) -> io::Result<(u32, u32)> {
    let device = rustix::fs::stat(path)?.st_rdev;
    Ok((rustix::fs::major(device), rustix::fs::minor(device)))
}
