//! The JetStream store directory: looked at, made, marked. Nothing here removes or renames anything below it.
//!
//! Which directory may be started on is decided by `host_state::diff`; this file only says what is there and writes
//! the identity file. The directory above must exist already: a missing one is a disk that is not mounted, and
//! making it would start an empty server on the root file system.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use host_state::document::{StoreIdentity, StoreSpec, canonical};
use host_state::layout;
use host_state::observed::{StoreFile, StoreMark, StoreObserved};

use crate::applier::files::{self, FileError};
use crate::parts::effects::{Effect, Effects};
use crate::roles::ServiceUser;

/// Largest identity file that is read.
const MARK_LIMIT: u64 = 64 * 1024;

/// Why a store was not prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The directory above is not there.
    #[error("`{parent}` does not exist, so a disk may not be mounted; make it, then apply again")]
    NoParent {
        /// The directory above the store.
        parent: PathBuf,
    },
    /// Making the directory.
    #[error("cannot make the store directory `{path}`")]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its permission bits.
    #[error("cannot set the mode of the store directory `{path}`")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its owner.
    #[error("cannot give the store directory `{path}` to user {uid}")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The user that nats-server runs as.
        uid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its identity file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Looks at the store.
#[must_use]
pub fn observe(spec: &StoreSpec) -> StoreObserved {
    let directory = Path::new(&spec.directory);
    let unreadable = |error: io::Error| StoreObserved::Unreadable { reason: error.to_string() };
    let metadata = match std::fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return StoreObserved::Missing,
        Err(error) => return unreadable(error),
        Ok(metadata) if !metadata.is_dir() => return unreadable(io::Error::other("it is no directory")),
        Ok(metadata) => metadata,
    };
    let data = match entries(&directory.join(layout::STORE_DATA)) {
        Err(error) => return unreadable(error),
        Ok(data) => data,
    };
    let data_uid = std::fs::metadata(directory.join(layout::STORE_DATA)).map(|metadata| metadata.uid()).ok();
    StoreObserved::Present {
        mode: metadata.permissions().mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        data_uid,
        device: metadata.dev(),
        inode: metadata.ino(),
        identity: mark(directory),
        identity_mode: files::mode_of(&directory.join(layout::STORE_IDENTITY_FILE)).ok(),
        has_data: !data.is_empty(),
        accounts: data.into_iter().filter(|name| is_account(name)).collect(),
    }
}

/// What the identity file is to say beside whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The store's own id, 32 lower-case hex digits.
    pub store_id: String,
    /// Its meta group; absent before the first release.
    pub meta_lineage: Option<String>,
    /// Whether that group ever had a leader.
    pub formed: bool,
}

/// Makes the directory where there is none, sets its mode and writes its identity file. With an `owner` it becomes that
/// user's; what lies in it stays whose it is.
///
/// Only to be called when nothing speaks against the store. Afterwards the identity file is durable. May be
/// repeated. A crash half-way leaves a directory without identity file, which is prepared again while it is empty.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(
    effects: &Effects,
    spec: &StoreSpec,
    mark: &Mark,
    owner: Option<ServiceUser>,
) -> Result<(), PrepareError> {
    let StoreSpec { directory, mode, identity, on_root: _ } = spec;
    let path = PathBuf::from(directory);
    if !path.exists() {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            return Err(PrepareError::NoParent { parent: parent.to_owned() });
        }
        files::add_directory(effects, Effect::CreateStore, &path, *mode)
            .map_err(|source| PrepareError::Create { path: path.clone(), source })?;
    }
    if let Some(owner) = owner {
        let set_owner = |source| PrepareError::Owner { path: path.clone(), uid: owner.uid, source };
        if files::owner_of(&path).map_err(set_owner)? != owner {
            files::set_owner(effects, Effect::SetStoreOwner, &path, owner).map_err(set_owner)?;
        }
    }
    let set_mode = |source| PrepareError::Mode { path: path.clone(), source };
    if files::mode_of(&path).map_err(set_mode)? != *mode {
        files::set_mode(effects, Effect::SetStoreMode, &path, *mode).map_err(set_mode)?;
    }
    write_mark(effects, &path, identity, mark)
}

/// Makes the ballast file of `length` bytes, or a larger one of a smaller one. See [`layout::STORE_BALLAST_FILE`].
///
/// # Errors
/// [`FileError`]; mostly a disk without room.
pub fn make_ballast(effects: &Effects, spec: &StoreSpec, length: u64) -> Result<(), FileError> {
    let path = Path::new(&spec.directory).join(layout::STORE_BALLAST_FILE);
    files::allocate(effects, Effect::MakeBallast, &path, length)
}

fn write_mark(
    effects: &Effects,
    path: &Path,
    identity: &StoreIdentity,
    wanted: &Mark,
) -> Result<(), PrepareError> {
    let Mark { store_id, meta_lineage, formed } = wanted;
    let file = StoreFile {
        store: store_id.clone(),
        identity: identity.clone(),
        meta_lineage: meta_lineage.clone(),
        formed: *formed,
    };
    let is_as_wanted = mark(path) == StoreMark::Found(file.clone());
    let path = path.join(layout::STORE_IDENTITY_FILE);
    if is_as_wanted && files::mode_of(&path).is_ok_and(|mode| mode == layout::PUBLIC_MODE) {
        return Ok(());
    }
    Ok(files::write_atomic(
        effects,
        Effect::WriteStoreMark,
        &path,
        canonical(&file).as_bytes(),
        layout::PUBLIC_MODE,
    )?)
}

/// How many streams and consumers lie in the store; what cannot be read counts as none.
/// Source: nats-server 2.15.1 server/filestore.go: `<account>/streams/<stream>/obs/<consumer>`.
#[must_use]
pub fn assets(spec: &StoreSpec) -> usize {
    let data = Path::new(&spec.directory).join(layout::STORE_DATA);
    let below =
        |path: PathBuf| entries(&path).unwrap_or_default().into_iter().map(move |name| path.join(name));
    let streams: Vec<PathBuf> = below(data).flat_map(|account| below(account.join("streams"))).collect();
    let consumers: usize = streams.iter().map(|stream| below(stream.join("obs")).count()).sum();
    streams.len() + consumers
}

fn mark(directory: &Path) -> StoreMark {
    // nats-server's user owns the directory.
    match files::read_untrusted(&directory.join(layout::STORE_IDENTITY_FILE), MARK_LIMIT) {
        Ok(None) => StoreMark::Missing,
        Err(error) => StoreMark::Unreadable { reason: host_state::chain(&error) },
        Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(file) => StoreMark::Found(file),
            Err(error) => StoreMark::Unreadable { reason: error.to_string() },
        },
    }
}

/// Names in a directory, sorted; none when it is missing.
fn entries(path: &Path) -> io::Result<BTreeSet<String>> {
    match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

fn is_account(name: &str) -> bool {
    name.parse::<identity::AccountPublicKey>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::preflight::{self, tree::Tree};

    fn spec(directory: &Path) -> StoreSpec {
        StoreSpec {
            directory: directory.display().to_string(),
            mode: 0o700,
            on_root: false,
            identity: StoreIdentity {
                authority: "O".into(),
                cluster: "east".into(),
                server_name: "east-1".into(),
                system_account: "A".into(),
            },
        }
    }

    fn mark_of(formed: bool) -> Mark {
        Mark { store_id: "5".repeat(32), meta_lineage: formed.then(|| "7".repeat(32)), formed }
    }

    #[test]
    fn a_store_is_made_marked_and_marked_again_without_touching_data() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(&directory.path().join("store"));
        assert_eq!(observe(&spec), StoreObserved::Missing);
        prepare(&Effects::default(), &spec, &mark_of(false), None).unwrap();
        let data = directory.path().join("store/jetstream/x/streams/S/obs/C");
        std::fs::create_dir_all(&data).unwrap();
        prepare(&Effects::default(), &spec, &mark_of(true), None).unwrap();
        let StoreObserved::Present { mode, identity: StoreMark::Found(file), has_data, accounts, .. } =
            observe(&spec)
        else {
            panic!("the store is there")
        };
        assert_eq!((mode, has_data, accounts.len()), (0o700, true, 0));
        assert_eq!(
            (file.store, file.formed, file.meta_lineage),
            ("5".repeat(32), true, Some("7".repeat(32)))
        );
        assert_eq!(assets(&spec), 2);
        assert!(data.is_dir());
    }

    #[test]
    fn an_identity_file_that_others_may_write_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(&directory.path().join("store"));
        let mode = || match observe(&spec) {
            StoreObserved::Present { identity_mode, .. } => identity_mode,
            other => panic!("{other:?}"),
        };
        prepare(&Effects::default(), &spec, &mark_of(true), None).unwrap();
        let file = directory.path().join("store").join(layout::STORE_IDENTITY_FILE);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(mode(), Some(0o666));
        prepare(&Effects::default(), &spec, &mark_of(true), None).unwrap();
        assert_eq!(mode(), Some(layout::PUBLIC_MODE));
    }

    #[test]
    fn a_ballast_file_takes_its_room_and_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(directory.path());
        let ballast = || preflight::disk(&Tree::default(), directory.path()).unwrap().ballast;
        assert_eq!(ballast(), None);
        for length in [2 << 20, 2 << 20, 3 << 20] {
            make_ballast(&Effects::default(), &spec, length).unwrap();
            assert_eq!(ballast(), Some(length));
        }
        let holes = std::fs::File::create(directory.path().join(layout::STORE_BALLAST_FILE)).unwrap();
        holes.set_len(3 << 20).unwrap();
        assert_eq!(ballast(), Some(0), "a file of holes keeps no room");
        let error = make_ballast(&Effects::default(), &spec, 1 << 55).unwrap_err();
        assert!(error.to_string().contains("nats-agent-ballast"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_mount_point_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(&directory.path().join("disk/store"));
        let error = prepare(&Effects::default(), &spec, &mark_of(false), None).unwrap_err().to_string();
        assert!(error.contains("disk` does not exist, so a disk may not be mounted"), "{error}");
        assert!(!directory.path().join("disk").exists());
    }

    #[test]
    fn a_damaged_identity_file_is_neither_missing_nor_believed() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(directory.path());
        std::fs::write(directory.path().join(layout::STORE_IDENTITY_FILE), "{}").unwrap();
        let StoreObserved::Present { identity, .. } = observe(&spec) else { panic!("the store is there") };
        assert!(matches!(identity, StoreMark::Unreadable { .. }));
    }

    #[test]
    fn an_identity_file_that_is_a_pipe_or_a_link_is_not_waited_for_nor_followed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(layout::STORE_IDENTITY_FILE);
        let seen = || match observe(&spec(directory.path())) {
            StoreObserved::Present { identity, .. } => identity,
            other => panic!("{other:?}"),
        };
        let (mode, cwd) = (rustix::fs::Mode::from_raw_mode(0o600), rustix::fs::CWD);
        rustix::fs::mknodat(cwd, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(seen(), StoreMark::Unreadable { .. }));
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        assert!(matches!(seen(), StoreMark::Unreadable { .. }));
    }
}
