//! Every example of the documentation is valid, and formatted as `terraform fmt` would.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::{Action, Installation, Outcome, Workspace};
use acceptance_tests::workspace;

/// Folders whose examples refer to one another: together they are one configuration.
const REFERENCE: [&str; 5] = ["provider", "resources", "data-sources", "ephemeral-resources", "functions"];

/// The example with providers that are not ours.
const AWS: &str = "aws";
/// Names a folder laid out like a registry's mirror, in which terraform finds such providers.
const PLUGIN_DIR: &str = "TF_PLUGIN_DIR";

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
    folders.retain(|folder| !folder.ends_with(AWS));
    folders.retain(|folder| REFERENCE.iter().all(|reference| !folder.ends_with(reference)));
    assert!(folders.len() >= 3, "{folders:?}");
    for folder in folders {
        let workspace = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
        workspace.write_from(&folder).unwrap();
        check(&workspace);
    }
}

/// The production example with what its README says to give it.
fn production() -> Workspace {
    let mut workspace = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
    let folder = examples().join("production");
    workspace.write_from(&folder).unwrap();
    workspace.set_variable("root_key", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    let sha256 = "ab".repeat(32);
    workspace.set_variable(
        "nats_server",
        &format!(r#"{{ version = "2.15.1", url = "https://mirror.example.com/nats-server.tar.gz", sha256 = "{sha256}" }}"#),
    );
    let hosts = fs::read_to_string(folder.join("hosts.tfvars")).unwrap();
    workspace.write("hosts.auto.tfvars", &hosts).unwrap();
    workspace
}

#[test]
fn the_production_example_plans_a_supercluster_of_hosts_that_are_not_there_yet() {
    let workspace = production();
    workspace.run(&["fmt", "-check", "-diff", "-recursive"]).unwrap().succeeded().unwrap();
    let plan = workspace.plan().unwrap();
    assert_eq!(plan.outcome(), Outcome::Changed, "{plan}");
    assert!(plan.changes.iter().all(|change| change.action == Action::Create), "{plan}");
    let of = |kind: &str| plan.changes.iter().filter(|change| change.address.starts_with(kind)).count();
    let counts = [
        "nats_authority",
        "nats_host_enrollment",
        "terraform_data",
        "nats_cluster",
        "nats_gateway",
        "nats_stream",
    ];
    assert_eq!(counts.map(of), [1, 9, 9, 3, 1, 3], "{plan}");
}

#[test]
fn the_production_example_writes_user_data_before_there_is_a_host() {
    let workspace = production();
    let apply = ["apply", "-auto-approve", "-input=false", "-target=terraform_data.user_data"];
    workspace.run(&apply).unwrap().succeeded().unwrap();
    for host in ["east-1", "west-2", "north-3"] {
        let written =
            |name: String| fs::read_to_string(workspace.module().join("user-data").join(name)).unwrap();
        let (user_data, script) = (written(format!("{host}.yaml")), written(format!("{host}.sh")));
        assert!(user_data.starts_with("#cloud-config\n") && script.starts_with("#!/bin/sh\n"), "{host}");
        assert!(script.contains(&format!("host='{host}'\n")), "{script}");
    }
}

fn aws() -> Workspace {
    let workspace = Workspace::new(&binaries::provider().unwrap(), Installation::DevOverride).unwrap();
    workspace.write_from(&examples().join(AWS)).unwrap();
    workspace
}

#[test]
fn the_example_on_aws_can_be_parsed_and_is_formatted() {
    aws().run(&["fmt", "-check", "-diff", "-recursive"]).unwrap().succeeded().unwrap();
}

/// `terraform providers mirror DIR` in the example's folder fetches what it needs.
#[test]
#[ignore = "needs hashicorp/aws, of many hundred megabytes: run it with TF_PLUGIN_DIR=DIR and --ignored"]
fn the_example_on_aws_is_valid() {
    let plugins = std::env::var(PLUGIN_DIR).expect("TF_PLUGIN_DIR names a registry's mirror");
    let workspace = aws();
    let init = format!("-plugin-dir={plugins}");
    workspace.run(&["init", "-input=false", &init]).unwrap().succeeded().unwrap();
    workspace.validate().unwrap().succeeded().unwrap();
}
