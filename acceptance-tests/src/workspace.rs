//! Where this workspace stands and where cargo builds to. Must not start a process.

use std::path::{Path, PathBuf};

/// The folder of the root `Cargo.toml`, absolute, as it was when this crate was compiled.
pub fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member
        .parent()
        .expect("`acceptance-tests` is a folder of the workspace, so it has a parent")
        .to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR` (relative to the workspace when relative), else `target`.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}
