//! Rules of file and directory names.

use std::collections::BTreeMap;

use crate::ServerConfig;

use super::Problems;

/// Whether a name holds something that a path or the server's quoted text cannot.
fn is_clean(path: &str) -> bool {
    !path.is_empty()
        && !path.chars().any(char::is_control)
        && path
            .split('/')
            .enumerate()
            .all(|(index, part)| part != ".." && part != "." && (!part.is_empty() || index == 0))
        && path != "/"
}

const UNCLEAN: &str = "is empty or holds `.`, `..`, `//`, a trailing `/` or control characters";

/// A file below the state directory, so that a candidate is checked in a trial directory byte for byte.
pub(super) fn check_relative(path: &str, file: &str, problems: &mut Problems) {
    if file.starts_with('/') {
        let problem = "is absolute, so a trial of the configuration would read the files of the running one";
        problems.add(path, file, problem, "give a path relative to the state directory");
    }
    if !is_clean(file) {
        problems.add(path, file, UNCLEAN, "give a plain relative path such as `current/server.pem`");
    }
}

/// A directory that must be the same wherever the server is started from.
pub(super) fn check_absolute(path: &str, directory: &str, problems: &mut Problems) {
    if !directory.starts_with('/') {
        let problem = "is relative, so another working directory would mean another, empty store";
        problems.add(path, directory, problem, "give an absolute path such as `/data/jetstream`");
    }
    if !is_clean(directory) {
        problems.add(path, directory, UNCLEAN, "give a plain absolute path such as `/data/jetstream`");
    }
}

/// A file that may lie below the state directory or elsewhere.
pub(super) fn check_either(path: &str, file: &str, problems: &mut Problems) {
    if !is_clean(file) {
        problems.add(path, file, UNCLEAN, "give a plain path");
    }
}

/// Files and directories that the server writes must not be each other, nor lie in the store.
pub(super) fn check_distinct(config: &ServerConfig, problems: &mut Problems) {
    let mut written: Vec<(&str, &str)> = Vec::new();
    written.extend(config.jetstream.iter().map(|one| ("jetstream.store_dir", one.store_dir.as_str())));
    written.extend(config.trust.iter().map(|one| ("trust.resolver.dir", one.resolver.dir.as_str())));
    written.extend(config.logging.log_file.iter().map(|file| ("logging.log_file", file.as_str())));
    written.extend(config.pid_file.iter().map(|file| ("pid_file", file.as_str())));
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, file) in written {
        if let Some(other) = seen.get(file) {
            problems.add(path, file, &format!("is also `{other}`"), "give each its own place");
        }
        let within = |store: &&str| file.strip_prefix(*store).is_some_and(|rest| rest.starts_with('/'));
        let store = config.jetstream.as_ref().map(|one| one.store_dir.as_str()).filter(|store| *store != "/");
        if store.as_ref().is_some_and(within) {
            let problem = "lies in the JetStream store, which belongs to the server's data alone";
            problems.add(path, file, problem, "give a place outside `jetstream.store_dir`");
        }
        seen.insert(file, path);
    }
}
