//! Files that survive a power cut: written beside, fsynced, renamed, and the directory fsynced.
//!
//! Nothing is ever written in place, but that lines are added to the audit log. A failed fsync is fatal for what was being
//! written; it is never tried again on the same file, because the kernel may have dropped the pages already.

mod directory;
mod reading;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Gid, Mode, OFlags, Uid};

use crate::parts::effects::{Effect, Effects, Moment};
use crate::roles::ServiceUser;

pub use directory::{
    add_directory, hold_directory, keep_directory, make_directory, set_mode, set_owner, sync_directory,
};
pub use reading::{
    Space, UntrustedDirectory, device_number, mode_of, open_untrusted, owner_of, read_bounded,
    read_untrusted, space_of,
};

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
    /// Who owns a file or directory, or its permission bits.
    #[error("cannot set owner and mode of `{path}`")]
    Owner {
        /// The file or directory.
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
    write_into(effects, effect, path, bytes, mode, None)
}

/// As [`write_atomic`], into a directory that `owner` may change as it likes, as a file of that user's.
///
/// The directory is held open, and no link is followed in it: what its owner makes of it meanwhile leads nowhere else.
///
/// # Errors
/// As [`write_atomic`]; also when the directory is a link.
pub fn write_for(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: ServiceUser,
) -> Result<(), FileError> {
    write_into(effects, effect, path, bytes, mode, Some(owner))
}

fn write_into(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<ServiceUser>,
) -> Result<(), FileError> {
    let (parent, name) = split(path)?;
    let hidden = format!(".{name}.tmp");
    let write = |source| FileError::Write { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(write)?;
    let follow = if owner.is_some() { OFlags::NOFOLLOW } else { OFlags::empty() };
    let directory = reading::open_directory(parent, follow).map_err(|errno| write(errno.into()))?;
    let mut file = create_in(&directory, &hidden, mode, owner).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    effects.written(effect, &parent.join(&hidden)).map_err(write)?;
    file.sync_all().map_err(|source| FileError::Sync { path: path.to_owned(), source })?;
    drop(file);
    let rename = |source| FileError::Rename { path: path.to_owned(), source };
    effects.reach(effect, Moment::Prepared).map_err(rename)?;
    rustix::fs::renameat(&directory, hidden.as_str(), &directory, name)
        .map_err(|errno| rename(errno.into()))?;
    rustix::fs::fsync(&directory)
        .map_err(|errno| FileError::Sync { path: parent.to_owned(), source: errno.into() })?;
    effects.reach(effect, Moment::After).map_err(rename)
}

/// Makes `path` a file of `length` allocated bytes, for the owner alone, in a directory that others may change.
///
/// Afterwards it keeps its room durably. May be repeated. A crash half-way leaves the old file, or none, and perhaps a
/// `.NAME.tmp` beside it, which the next call takes over.
///
/// # Errors
/// [`FileError`], naming the path; then nothing more than before is taken from the disk.
pub fn allocate(effects: &Effects, effect: Effect, path: &Path, length: u64) -> Result<(), FileError> {
    let (parent, name) = split(path)?;
    let hidden = format!(".{name}.tmp");
    let write = |source| FileError::Write { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(write)?;
    let directory = reading::open_directory(parent, OFlags::empty()).map_err(|errno| write(errno.into()))?;
    let file = create_in(&directory, &hidden, 0o600, None).map_err(write)?;
    if let Err(errno) = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
        let _first_error_counts = rustix::fs::unlinkat(&directory, hidden.as_str(), AtFlags::empty());
        return Err(write(errno.into()));
    }
    effects.written(effect, &parent.join(&hidden)).map_err(write)?;
    file.sync_all().map_err(|source| FileError::Sync { path: path.to_owned(), source })?;
    let rename = |source| FileError::Rename { path: path.to_owned(), source };
    effects.reach(effect, Moment::Prepared).map_err(rename)?;
    rustix::fs::renameat(&directory, hidden.as_str(), &directory, name)
        .map_err(|errno| rename(errno.into()))?;
    rustix::fs::fsync(&directory)
        .map_err(|errno| FileError::Sync { path: parent.to_owned(), source: errno.into() })?;
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

/// Adds `bytes` to the end of `path`, durably; makes it with the permission bits `mode` where it is missing. With `cut` the
/// file ends after so many bytes first: behind them is what an earlier call did not bring to its end.
///
/// A crash half-way leaves the file as it was and perhaps a beginning of `bytes` behind it.
///
/// # Errors
/// [`FileError`], naming the path; there may be a beginning of `bytes` then, or all of it.
pub fn append(
    effects: &Effects,
    effect: Effect,
    path: &Path,
    cut: Option<u64>,
    bytes: &[u8],
    mode: u32,
) -> Result<(), FileError> {
    let (directory, _) = split(path)?;
    let write = |source| FileError::Write { path: path.to_owned(), source };
    effects.reach(effect, Moment::Before).map_err(write)?;
    let is_new = !path.exists();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(mode));
    let mut file = File::from(file.map_err(|errno| write(errno.into()))?);
    if let Some(keep) = cut {
        file.set_len(keep).map_err(write)?;
    }
    file.write_all(bytes).map_err(write)?;
    effects.written(effect, path).map_err(write)?;
    file.sync_all().map_err(|source| FileError::Sync { path: path.to_owned(), source })?;
    if is_new {
        sync_directory(directory)?;
    }
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
    Ok(try_flock(&file).map_err(fail)?.then(|| File::from(file)))
}

/// Opens the file of a latency probe with `length` bytes of room, which is made where it is missing; `None` while
/// another probe has it. It is locked until the returned handle closes, and written in place: nothing is in it.
///
/// # Errors
/// Those of the system, and injected ones.
pub fn open_probe(effects: &Effects, path: &Path, length: u64) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    effects.run(Effect::WriteProbe, || {
        let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?;
        if !try_flock(&file)? {
            return Ok(None);
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
            // What a file system without it measures is what a server on it meets.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(Some(File::from(file))),
            Err(errno) => Err(errno.into()),
        }
    })
}

/// Locks an open file or directory until its handle closes; false while somebody else holds it.
fn try_flock(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(mode))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(File::from(file))
}

/// Makes a file that is nobody's yet: what lies there under its name goes first, be it a pipe that would block.
fn create_in(directory: &OwnedFd, name: &str, mode: u32, owner: Option<ServiceUser>) -> io::Result<File> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))?;
    if let Some(ServiceUser { uid, gid }) = owner {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
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
    fn a_directory_of_another_user_is_written_into_and_no_link_in_it_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (served, elsewhere) = (directory.path().join("server"), directory.path().join("elsewhere"));
        let own = owner_of(directory.path()).unwrap();
        keep_directory(&Effects::default(), &served, 0o2750, Some(own)).unwrap();
        assert_eq!(mode_of(&served).unwrap(), 0o2750);
        keep_directory(&Effects::default(), &served, 0o700, Some(own)).unwrap();
        assert_eq!(mode_of(&served).unwrap(), 0o700);
        std::fs::write(&elsewhere, "theirs").unwrap();
        std::os::unix::fs::symlink(&elsewhere, served.join(".a.jwt.tmp")).unwrap();
        let write =
            |path: &Path| write_for(&Effects::default(), Effect::PutBackClaim, path, b"jwt", 0o640, own);
        write(&served.join("a.jwt")).unwrap();
        assert_eq!(std::fs::read(served.join("a.jwt")).unwrap(), b"jwt");
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"theirs");
        let read = |name: &str| read_untrusted(&served.join(name), 8);
        assert_eq!(read("a.jwt").unwrap().unwrap(), b"jwt");
        assert_eq!(read("b.jwt").unwrap(), None);
        std::os::unix::fs::symlink(&elsewhere, served.join("link")).unwrap();
        rustix::fs::mkfifoat(CWD, served.join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        read("link").unwrap_err();
        read("pipe").unwrap_err();
        std::os::unix::fs::symlink(directory.path(), served.join("resolver")).unwrap();
        write(&served.join("resolver/b.jwt")).unwrap_err();
        assert!(!directory.path().join("b.jwt").exists());
        let link = served.join("resolver");
        let error = keep_directory(&Effects::default(), &link, 0o700, Some(own)).unwrap_err();
        assert_eq!(
            host_state::chain(&error),
            format!("cannot set owner and mode of `{}`: it is a link", link.display())
        );
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
