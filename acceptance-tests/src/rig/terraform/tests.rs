//! The rig on configuration that needs no provider: terraform's built-in `terraform_data` is enough.

use super::*;
use crate::rig::process::Signal;
use crate::rig::wait::wait_until;

/// A workspace without `required_providers`, whose provider is a file that is never run.
fn workspace() -> (tempfile::TempDir, Workspace) {
    let built = tempfile::tempdir().unwrap();
    let provider = built.path().join("terraform-provider-nats");
    fs::write(&provider, "").unwrap();
    let workspace = Workspace::new(&provider, Installation::DevOverride).unwrap();
    workspace.remove("terraform.tf").unwrap();
    (built, workspace)
}

#[test]
fn create_change_import_and_destroy() {
    let (_built, mut workspace) = workspace();
    workspace.set_variable("word", "first");
    workspace.write("main.tf", "variable \"word\" {}\nresource \"terraform_data\" \"it\" { input = var.word }\noutput \"word\" { value = terraform_data.it.output }\n").unwrap();

    let plan = workspace.plan().unwrap().succeeded().unwrap();
    let create = Change { address: "terraform_data.it".to_owned(), action: Action::Create };
    assert_eq!((plan.outcome(), &plan.changes), (Outcome::Changed, &vec![create]));

    workspace.apply().unwrap().succeeded().unwrap();
    workspace.plan().unwrap().unchanged().unwrap();
    assert_eq!(workspace.output("word").unwrap(), "first");

    workspace.set_variable("word", "second");
    let text = workspace.plan_to("tfplan").unwrap().unchanged().unwrap_err().to_string();
    assert!(
        text.starts_with("the plan is not empty: ") && text.contains("Update terraform_data.it"),
        "{text}"
    );
    assert_eq!(
        workspace.show(Some("tfplan")).unwrap()["planned_values"]["root_module"]["resources"][0]["values"]["input"],
        "second"
    );
    workspace.apply_plan("tfplan").unwrap().succeeded().unwrap();
    assert!(workspace.state_text().unwrap().contains("second"));

    workspace.forget("terraform_data.it").unwrap().succeeded().unwrap();
    workspace.import("terraform_data.it", "by-hand").unwrap().succeeded().unwrap();
    let state = workspace.show(None).unwrap();
    assert_eq!(state["values"]["root_module"]["resources"][0]["values"]["id"], "by-hand");

    workspace.destroy().unwrap().succeeded().unwrap();
    assert_eq!(workspace.show(None).unwrap()["values"], Value::Null);
}

#[test]
fn errors_are_read_from_plan_and_validate() {
    let (_built, workspace) = workspace();
    workspace.write("main.tf", "resource \"terraform_data\" \"it\" { inputt = 1 }\n").unwrap();
    for run in [workspace.plan().unwrap(), workspace.validate().unwrap()] {
        assert_eq!(run.outcome(), Outcome::Failed);
        assert!(run.error_text().starts_with("Unsupported argument: "), "{run}");
        assert!(run.succeeded().unwrap_err().to_string().contains("error: Unsupported argument: "));
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let (_built, mut workspace) = workspace();
    workspace.write("main.tf", "resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" { command = \"exec sleep 600\" }\n}\n").unwrap();
    workspace.set_timeout(Duration::from_secs(3));
    let error = workspace.apply().unwrap_err();
    assert!(format!("{error:#}").contains("not within 3s"), "{error:#}");
}

#[test]
fn a_running_command_can_be_interrupted() {
    let (_built, workspace) = workspace();
    workspace.write("main.tf", "resource \"terraform_data\" \"it\" {\n  provisioner \"local-exec\" { command = \"exec sleep 600\" }\n}\n").unwrap();
    let mut running = workspace.start(&["apply", "-json", "-auto-approve"]).unwrap();
    wait_until("the provisioner", TIMEOUT, || Ok(running.stdout().contains("provision_start"))).unwrap();
    running.signal(Signal::INT).unwrap();
    let run = running.finish(TIMEOUT).unwrap();
    assert_eq!(run.code, 1, "{run}");
}

#[test]
fn an_example_takes_the_place_of_what_was_there() {
    let (_built, workspace) = workspace();
    workspace.write("main.tf", "not terraform").unwrap();
    workspace.write("old.tf", "not terraform").unwrap();
    let example = tempfile::tempdir().unwrap();
    let error = workspace.write_from(example.path()).unwrap_err().to_string();
    assert!(error.ends_with("holds no `.tf` files"), "{error}");

    fs::write(example.path().join("main.tf"), "output \"word\" { value = 1 }\n").unwrap();
    fs::write(example.path().join("README.md"), "# Example\n").unwrap();
    workspace.write_from(example.path()).unwrap();
    assert_eq!(configuration_files(&workspace.module()).unwrap(), ["main.tf"]);
    assert!(!workspace.module().join("README.md").exists());
    workspace.apply().unwrap().succeeded().unwrap();
    assert_eq!(workspace.output("word").unwrap(), 1);
}

#[test]
fn a_mirror_serves_init_and_writes_the_lock_file() {
    let built = tempfile::tempdir().unwrap();
    let provider = built.path().join("terraform-provider-nats");
    fs::write(&provider, "#!/bin/sh\nexit 1\n").unwrap();
    let workspace = Workspace::new(&provider, Installation::Mirror).unwrap();
    workspace.init().unwrap().succeeded().unwrap();
    let lock = fs::read_to_string(workspace.module().join(".terraform.lock.hcl")).unwrap();
    assert!(
        lock.contains(&format!("provider {PROVIDER_SOURCE:?}")) && lock.contains(PROVIDER_VERSION),
        "{lock}"
    );
}
