//! Directories: made durable, with the owner and mode that they must have.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};

use super::reading::{mode_of, open_directory, owner_of};
use super::{FileError, try_flock};
use crate::parts::effects::{Effect, Effects, Moment};
use crate::roles::ServiceUser;

/// How often somebody else's hold on a directory is waited for, and how long each time.
const HOLD_TRIES: u32 = 200;
const HOLD_PAUSE: Duration = Duration::from_millis(10);

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

/// Makes a directory where there is none, and has it be `owner`'s with exactly the permission bits `mode`; without an
/// owner it stays whose it is. Nothing below it is touched. May be repeated.
///
/// # Errors
/// [`FileError`], naming the path; also when it is a link. A mode that the system does not let the agent set is only
/// warned of: set-group-id is the package's to set.
pub fn keep_directory(
    effects: &Effects,
    path: &Path,
    mode: u32,
    owner: Option<ServiceUser>,
) -> Result<(), FileError> {
    make_directory(effects, path, mode)?;
    let fail = |source| FileError::Owner { path: path.to_owned(), source };
    if std::fs::symlink_metadata(path).map_err(fail)?.is_symlink() {
        return Err(fail(io::Error::other("it is a link")));
    }
    if let Some(owner) = owner
        && owner_of(path).map_err(fail)? != owner
    {
        set_owner(effects, Effect::SetOwner, path, owner).map_err(fail)?;
    }
    if mode_of(path).map_err(fail)? != mode
        && let Err(error) = set_mode(effects, Effect::SetMode, path, mode)
    {
        tracing::warn!(path = %path.display(), %error, "a directory keeps other permission bits than {mode:04o}");
    }
    Ok(())
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

/// Makes `owner` own a file or directory, and nothing below it. A link is changed itself.
///
/// # Errors
/// Those of the system, and injected ones.
pub fn set_owner(effects: &Effects, effect: Effect, path: &Path, owner: ServiceUser) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    effects
        .run(effect, || Ok(rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Holds a directory against whoever else asks to, in this process or another, until the returned handle closes: for a file
/// that is read and written again. Waits for two seconds at the longest; those who hold it write one file.
///
/// # Errors
/// [`FileError::Write`], naming the directory; also when somebody holds it all the while.
pub fn hold_directory(path: &Path) -> Result<File, FileError> {
    let fail = |source| FileError::Write { path: path.to_owned(), source };
    let directory = open_directory(path, OFlags::empty()).map_err(|errno| fail(errno.into()))?;
    for _ in 0..HOLD_TRIES {
        if try_flock(&directory).map_err(fail)? {
            return Ok(File::from(directory));
        }
        std::thread::sleep(HOLD_PAUSE);
    }
    Err(fail(io::Error::other("another process holds it")))
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

fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode & 0o777))?;
    // The umask may have taken bits away. Set-group-id comes from the directory above, and an applier may not set it.
    if mode_of(path)? == mode {
        return Ok(());
    }
    Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?)
}
