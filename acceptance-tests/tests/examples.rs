//! Every example of the documentation is valid, and formatted as `terraform fmt` would.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::{Installation, Workspace};
use acceptance_tests::workspace;

/// Folders whose examples refer to one another: together they are one configuration.
const REFERENCE: [&str; 5] = ["provider", "resources", "data-sources", "ephemeral-resources", "functions"];

fn examples() -> PathBuf {
    workspace::root().join("examples")
}

/// All `.tf` files below `folder`, sorted.
fn configuration(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(configuration(&path));
        } else if path.extension().is_some_and(|extension| extension == "tf") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn check(workspace: &Workspace) {
    workspace.validate().unwrap().succeeded().unwrap();
    workspace.run(&["fmt", "-check", "-diff", "-recursive"]).unwrap().succeeded().unwrap();
}

#[test]
fn the_examples_of_reference_pages_are_one_valid_configuration() {
    let workspace = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
    workspace.remove("terraform.tf").unwrap();
    let files: Vec<_> = REFERENCE.iter().flat_map(|folder| configuration(&examples().join(folder))).collect();
    assert!(files.len() >= 12, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        workspace.write(&format!("{number:02}.tf"), &fs::read_to_string(file).unwrap()).unwrap();
    }
    check(&workspace);
}

#[test]
fn the_scenarios_in_the_examples_are_valid() {
    let mut folders: Vec<_> = fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.retain(|folder| REFERENCE.iter().all(|reference| !folder.ends_with(reference)));
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let workspace = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
        workspace.write_from(&folder).unwrap();
        check(&workspace);
    }
}
