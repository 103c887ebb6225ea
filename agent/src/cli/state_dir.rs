//! The state directory: there, and private to the agent's user.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use host_state::layout;

/// Makes the directory when it is missing (not what is above it) and sees to it that nobody else can look into it, since it
/// holds the host's keys.
pub(super) fn prepare(path: &Path) -> Result<()> {
    check(path)?;
    let shown = path.display();
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot look at the state directory `{shown}`"))?;
    let mode = meta.permissions().mode();
    // As the package makes it, for a nats-server of its own user.
    let is_shared = mode & 0o7777 == layout::SHARED_DIRECTORY_MODE;
    if mode & 0o077 != 0 && !is_shared {
        let private = std::fs::Permissions::from_mode(layout::DIRECTORY_MODE);
        std::fs::set_permissions(path, private)
            .with_context(|| format!("cannot make the state directory `{shown}` private"))?;
    }
    Ok(())
}

/// Makes the directory when it is missing (not what is above it) and checks that it may be used. Who else may look into it
/// stays as it is: on a host nats-server's user reads some of it, and the applier keeps it so.
pub(super) fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    ensure!(path.is_absolute(), "the state directory `{shown}` must be an absolute path");
    if !path.exists() {
        let made = std::fs::DirBuilder::new().mode(layout::DIRECTORY_MODE).create(path);
        made.with_context(|| format!("cannot make the state directory `{shown}`"))?;
    }
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot look at the state directory `{shown}`"))?;
    ensure!(meta.is_dir(), "the state directory `{shown}` is not a directory");
    let own = rustix::process::geteuid();
    ensure!(
        own.is_root() || meta.uid() == own.as_raw(),
        "the state directory `{shown}` belongs to user {}, this is user {}",
        meta.uid(),
        own.as_raw()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_and_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        prepare(&path).unwrap();
        assert_eq!(mode(), 0o700);
        set(0o755);
        check(&path).unwrap();
        assert_eq!(mode(), 0o755, "only checked");
        prepare(&path).unwrap();
        assert_eq!(mode(), 0o700);
        set(0o2750);
        prepare(&path).unwrap();
        assert_eq!(mode(), 0o2750, "shared with nats-server's user, as the package makes it");
    }

    #[test]
    fn what_cannot_be_one_is_named() {
        let error = prepare(Path::new("state")).unwrap_err().to_string();
        assert_eq!(error, "the state directory `state` must be an absolute path");
        let file = tempfile::NamedTempFile::new().unwrap();
        let shown = file.path().display();
        let error = prepare(file.path()).unwrap_err().to_string();
        assert_eq!(error, format!("the state directory `{shown}` is not a directory"));
        let missing = file.path().with_extension("missing").join("state");
        let error = prepare(&missing).unwrap_err().to_string();
        assert_eq!(error, format!("cannot make the state directory `{}`", missing.display()));
    }
}
