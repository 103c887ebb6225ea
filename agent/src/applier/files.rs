//! Files that survive a power cut: written beside, fsynced, renamed, and the directory fsynced.
//!
//! Nothing is ever written in place. A failed fsync is fatal for what was being written; it is never tried again
//! on the same file, because the kernel may have dropped the pages already.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};

use crate::parts::effects::{Effect, Effects, Moment};

/// Why a file could not be made to be what it should.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The temporary file beside it.
    #[error("cannot write `{path}`")]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// fsync of a file or directory.
    #[error("cannot make `{path}` durable")]
    Sync {
        /// File or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The rename that makes it visible.
    #[error("cannot put `{path}` in place")]
    Rename {
        /// The name it was to get.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory.
    #[error("cannot make the directory `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory that was to go.
    #[error("cannot remove `{path}`")]
    Remove {
        /// What was to go.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that was to be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes `bytes` as `path` with exactly the permission bits `mode`.
///
/// Afterwards the file holds `bytes` durably. May be repeated. A crash half-way leaves the old file, or none, and
/// perhaps a `.NAME.tmp` beside it, which the next write takes over.
///
/// # Errors
/// [`FileError`], naming the path; then the old content is still there, unless only the last fsync failed.
pub fn write_atomic(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), FileError> {
    let (directory, name) = split(path)?;
    let temporary = directory.join(format!(".{name}.tmp"));
    let write = |source| FileError::Write { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(write)?;
    let mut file = create(&temporary, mode).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    effects.written(effect, &temporary).map_err(write)?;
    file.sync_all().map_err(|source| FileError::Sync { path: path.to_owned(), source })?;
    drop(file);
    let rename = |source| FileError::Rename { path: path.to_owned(), source };
    effects.reach(effect, Moment::Prepared).map_err(rename)?;
    rustix::fs::renameat(CWD, &temporary, CWD, path).map_err(|errno| rename(errno.into()))?;
    sync_directory(directory)?;
    effects.reach(effect, Moment::After).map_err(rename)
}

/// Writes a file of a directory that nobody looks at yet: no rename, but fsynced, with exactly `mode`.
///
/// # Errors
/// [`FileError`], naming the path; the directory is then of no use.
pub fn write_new(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), FileError> {
    let write = |source| FileError::Write { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(write)?;
    let mut file = create(path, mode).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    effects.written(effect, path).map_err(write)?;
    file.sync_all().map_err(|source| FileError::Sync { path: path.to_owned(), source })?;
    effects.reach(effect, Moment::After).map_err(write)
}

/// Points the symbolic link `link` at `target`, durably, in one rename.
///
/// # Errors
/// [`FileError`], naming the link; then it points where it did.
pub fn swap_link(effects: &Effects, effect: Effect, link: &Path, target: &Path) -> Result<(), FileError> {
    let (directory, name) = split(link)?;
    let temporary = directory.join(format!(".{name}.tmp"));
    let rename = |source| FileError::Rename { path: link.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(rename)?;
    remove_if_there(&temporary)?;
    rustix::fs::symlinkat(target, CWD, &temporary).map_err(|errno| rename(errno.into()))?;
    effects.reach(effect, Moment::Prepared).map_err(rename)?;
    rustix::fs::renameat(CWD, &temporary, CWD, link).map_err(|errno| rename(errno.into()))?;
    sync_directory(directory)?;
    effects.reach(effect, Moment::After).map_err(rename)
}

/// Gives a finished directory its final name, durably.
///
/// # Errors
/// [`FileError`]; `to` must not be there.
pub fn rename_directory(effects: &Effects, effect: Effect, from: &Path, to: &Path) -> Result<(), FileError> {
    let (directory, _) = split(to)?;
    let rename = |source| FileError::Rename { path: to.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(rename)?;
    rustix::fs::renameat(CWD, from, CWD, to).map_err(|errno| rename(errno.into()))?;
    sync_directory(directory)?;
    effects.reach(effect, Moment::After).map_err(rename)
}

/// Removes a file, durably. One that is not there is a success.
///
/// # Errors
/// [`FileError`], naming the path.
pub fn remove_file(effects: &Effects, effect: Effect, path: &Path) -> Result<(), FileError> {
    let (directory, _) = split(path)?;
    let remove = |source| FileError::Remove { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(remove)?;
    remove_if_there(path)?;
    sync_directory(directory)?;
    effects.reach(effect, Moment::After).map_err(remove)
}

/// Removes a directory that the agent itself filled, with everything in it. One that is not there is a success.
///
/// # Errors
/// [`FileError`], naming the path.
pub fn remove_directory(effects: &Effects, effect: Effect, path: &Path) -> Result<(), FileError> {
    let remove = |source| FileError::Remove { path: path.to_owned(), source };
    effects
        .run(effect, || match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .map_err(remove)
}

/// Makes a directory with exactly the permission bits `mode` where there is none.
///
/// # Errors
/// [`FileError`], naming the path.
pub fn make_directory(effects: &Effects, path: &Path, mode: u32) -> Result<(), FileError> {
    let fail = |source| FileError::Directory { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    effects.reach(Effect::MakeDirectory, Moment::Before).map_err(fail)?;
    create_directory(path, mode).map_err(fail)?;
    sync_directory(path)?;
    path.parent().map_or(Ok(()), sync_directory)?;
    effects.reach(Effect::MakeDirectory, Moment::After).map_err(fail)
}

/// Makes a directory that must not be there yet, with exactly the permission bits `mode`, durably.
///
/// # Errors
/// Those of the system, and injected ones.
pub fn add_directory(effects: &Effects, effect: Effect, path: &Path, mode: u32) -> io::Result<()> {
    effects.run(effect, || {
        create_directory(path, mode)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        sync_directory(parent).map_err(io::Error::other)
    })
}

/// Sets the permission bits of a file or directory.
///
/// # Errors
/// Those of the system, and injected ones.
pub fn set_mode(effects: &Effects, effect: Effect, path: &Path, mode: u32) -> io::Result<()> {
    effects.run(effect, || Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?))
}

/// Opens a file for what a server prints, which is appended; makes it, for the owner alone, where it is missing.
///
/// # Errors
/// Those of the system, and injected ones.
pub fn open_output(effects: &Effects, path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    effects.run(Effect::OpenOutput, || {
        Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?))
    })
}

/// Locks the file `path`, which is made where it is missing, until the returned handle closes; `None` when somebody
/// else holds it.
///
/// # Errors
/// [`FileError`], naming the path.
pub fn lock(effects: &Effects, path: &Path) -> Result<Option<File>, FileError> {
    let fail = |source| FileError::Write { path: path.to_owned(), source };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || Ok(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?);
    let file = effects.run(Effect::LockState, open).map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(File::from(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(fail(errno.into())),
    }
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// [`FileError::Sync`], naming the directory.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let sync = |source| FileError::Sync { path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| sync(errno.into()))?;
    rustix::fs::fsync(&directory).map_err(|errno| sync(errno.into()))
}

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
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > limit {
        return Err(read(io::Error::other(format!("more than {limit} bytes"))));
    }
    Ok(Some(bytes))
}

/// Permission bits of a file.
///
/// # Errors
/// Those of stat.
pub fn mode_of(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    let bits = Mode::from_raw_mode(mode);
    rustix::fs::mkdirat(CWD, path, bits)?;
    // The umask may have taken bits away.
    Ok(rustix::fs::chmodat(CWD, path, bits, AtFlags::empty())?)
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(mode))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(File::from(file))
}

fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn split(path: &Path) -> Result<(&Path, &str), FileError> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(directory), Some(name)) => Ok((directory, name)),
        _ => Err(FileError::Write {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::parts::effects::Faults;

    struct At(Moment);

    impl Faults for At {
        fn reach(&self, _: Effect, moment: Moment) -> io::Result<()> {
            if moment == self.0 { Err(io::Error::other("injected")) } else { Ok(()) }
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_a_repeated_one_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim.json");
        write_atomic(&Effects::default(), Effect::WriteClaim, &path, b"old", 0o600).unwrap();
        for moment in [Moment::Before, Moment::Written, Moment::Prepared] {
            let effects = Effects::with_faults(Arc::new(At(moment)));
            let error = write_atomic(&effects, Effect::WriteClaim, &path, b"new", 0o600).unwrap_err();
            assert!(error.to_string().contains("claim.json"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
        }
        write_atomic(&Effects::default(), Effect::WriteClaim, &path, b"new", 0o640).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode_of(&path).unwrap(), 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_swapped_whole() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("current");
        swap_link(&Effects::default(), Effect::SwapCurrent, &link, Path::new("a")).unwrap();
        let effects = Effects::with_faults(Arc::new(At(Moment::Prepared)));
        swap_link(&effects, Effect::SwapCurrent, &link, Path::new("b")).unwrap_err();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("a"));
        swap_link(&Effects::default(), Effect::SwapCurrent, &link, Path::new("b")).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("b"));
    }

    #[test]
    fn reading_is_bounded_and_absence_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(read_bounded(&path, 4).unwrap().is_none());
        std::fs::write(&path, b"12345").unwrap();
        assert!(read_bounded(&path, 4).is_err());
        assert_eq!(read_bounded(&path, 5).unwrap().unwrap(), b"12345");
    }
}
