//! The toy provider under the real `terraform`, and its socket against strangers.

#![expect(clippy::unwrap_used, reason = "a test may end on any surprise")]

#[path = "terraform/plugin.rs"]
mod plugin;
#[path = "terraform/rig.rs"]
mod rig;

use std::fs;
use std::time::Duration;

use rig::Rig;
use serde_json::json;

const BASE: &str = r#"
resource "toy_thing" "one" {
  name = "one"
  size = "1024B"
  tags = ["b", "a"]
  parts = { left = { text = "hi" }, right = { text = "ho", weight = 3 } }
}
"#;

#[test]
fn a_resource_lives_its_whole_life() {
    let rig = Rig::new(BASE);
    rig.apply();
    let one = rig.resource("toy_thing.one");
    assert_eq!(one["id"], "one");
    assert_eq!(one["size"], "1024B", "written in another form than the default, so kept as written");
    assert_eq!(one["tags"], json!(["a", "b"]));
    assert_eq!(one["parts"]["left"], json!({ "text": "hi", "weight": 1, "id": "one/left" }));
    rig.plans_empty();

    // Means the same, so nothing changes.
    rig.write(&BASE.replace("1024B", "1KB"));
    rig.plans_empty();

    // An update in place keeps what does not change and computes what is new.
    rig.write(&BASE.replace("right = { text = \"ho\"", "middle = { text = \"ho\""));
    let plan = rig.plan_json();
    let change = &plan["resource_changes"][0]["change"];
    assert_eq!(change["actions"], json!(["update"]));
    assert_eq!(change["after_unknown"]["parts"]["middle"]["id"], true);
    assert_eq!(change["after"]["parts"]["left"]["id"], "one/left");
    rig.apply();
    rig.plans_empty();

    // A new name is a new object.
    rig.write(&BASE.replace("name = \"one\"", "name = \"two\""));
    let plan = rig.plan_json();
    assert_eq!(plan["resource_changes"][0]["change"]["actions"], json!(["delete", "create"]));
    assert_eq!(plan["resource_changes"][0]["change"]["replace_paths"], json!([["name"]]));
    rig.apply();
    assert!(!rig.cloud("one").exists() && rig.cloud("two").exists());

    // Gone outside: planned anew.
    fs::remove_file(rig.cloud("two")).unwrap();
    assert_eq!(rig.plan_json()["resource_changes"][0]["change"]["actions"], json!(["create"]));
    rig.apply();
    rig.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(!rig.cloud("two").exists());
}

#[test]
fn terraform_reads_the_schema_as_meant() {
    let rig = Rig::new("");
    let schema = serde_json::to_string_pretty(&rig.json(&["providers", "schema", "-json"])).unwrap() + "\n";
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/toy_schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &schema).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    assert_eq!(schema, expected, "differs from {}; UPDATE_GOLDEN=1 rewrites it", golden.display());
}

#[test]
fn an_import_plans_empty() {
    let rig = Rig::new("resource \"toy_thing\" \"one\" {\n  name = \"one\"\n}\n");
    fs::write(rig.cloud("one"), "").unwrap();
    rig.ok(&["import", "-no-color", "toy_thing.one", "one"]);
    rig.plans_empty();
    let missing = rig.fails(&["import", "-no-color", "toy_thing.one", "none"]);
    assert!(missing.contains("No thing `none`") || missing.contains("already managed"), "{missing}");
}

#[test]
fn errors_point_at_the_attribute() {
    let rig = Rig::new(&BASE.replace("\"hi\"", "\"\"").replace("1024B", "large"));
    let error = rig.fails(&["plan", "-no-color", "-input=false"]);
    assert!(error.contains("Empty part"), "{error}");
    assert!(error.contains("This is about `parts[\"left\"].text`."), "{error}");
    assert!(error.contains("Not a size") && error.contains("size = \"large\""), "{error}");
}

#[test]
fn write_only_values_reach_apply_and_no_state() {
    let rig = Rig::new(
        "ephemeral \"toy_secret\" \"s\" {\n  seed = \"abc\"\n}\n\
         resource \"toy_thing\" \"one\" {\n  name = \"one\"\n  password = ephemeral.toy_secret.s.value\n  \
         password_version = 1\n}\n",
    );
    rig.ok(&["plan", "-no-color", "-input=false", "-out=saved"]);
    rig.ok(&["apply", "-no-color", "saved"]);
    assert_eq!(rig.resource("toy_thing.one")["password"], json!(null));
    assert!(!rig.state().contains("hush"), "the secret is in state");
    let saved = fs::read(rig.directory().join("saved")).unwrap();
    assert!(!saved.windows(4).any(|window| window == b"hush"), "the secret is in the plan");
    assert!(!fs::read_to_string(rig.cloud("one")).unwrap().contains("hush"));
    assert_eq!(fs::read_to_string(rig.cloud("closed")).unwrap(), "open", "closed with its private bytes");
    rig.plans_empty();
}

#[test]
fn functions_and_data_sources_answer() {
    let rig = Rig::new(
        "data \"toy_look\" \"one\" {\n  name = \"one\"\n}\n\
         output \"there\" {\n  value = data.toy_look.one.exists\n}\n\
         output \"loud\" {\n  value = provider::toy::shout(\"hi\")\n}\n",
    );
    rig.apply();
    let outputs = rig.json(&["output", "-json", "-no-color"]);
    assert_eq!(outputs["loud"]["value"], "HI");
    assert_eq!(outputs["there"]["value"], false);
    rig.write("output \"loud\" {\n  value = provider::toy::shout(\"\")\n}\n");
    let error = rig.fails(&["plan", "-no-color", "-input=false"]);
    assert!(error.contains("nothing to shout"), "{error}");
}

#[test]
fn a_failed_update_keeps_the_prior_state_and_a_failed_create_leaves_none() {
    let rig = Rig::new(BASE);
    rig.apply();
    fs::write(rig.cloud("one.refuse"), "").unwrap();
    rig.write(&BASE.replace("\"hi\"", "\"hello\""));
    let error = rig.fails(&["apply", "-auto-approve", "-no-color"]);
    assert!(error.contains("Update refused"), "{error}");
    assert_eq!(rig.resource("toy_thing.one")["parts"]["left"]["text"], "hi");
    fs::remove_file(rig.cloud("one.refuse")).unwrap();
    rig.apply();
    rig.plans_empty();

    let rig = Rig::new("resource \"toy_thing\" \"one\" {\n  name = \"one\"\n  password = \"\"\n}\n");
    let error = rig.fails(&["apply", "-auto-approve", "-no-color"]);
    assert!(error.contains("Empty password"), "{error}");
    assert!(!rig.state().contains("toy_thing"), "state after a failed create: {}", rig.state());
}

#[test]
fn a_destroy_can_be_refused_at_plan() {
    let rig = Rig::new("resource \"toy_thing\" \"one\" {\n  name = \"one\"\n  locked = true\n}\n");
    rig.apply();
    let error = rig.fails(&["plan", "-destroy", "-no-color"]);
    assert!(error.contains("Thing is locked"), "{error}");
}

/// To the whole process group, as a terminal and many runners do.
#[test]
fn an_interrupted_create_is_saved() {
    for signal in ["INT", "TERM"] {
        let rig = Rig::new("resource \"toy_thing\" \"slow\" {\n  name = \"slow\"\n  wait_ms = 300\n}\n");
        let mut apply = rig.start(&["apply", "-auto-approve", "-no-color"]);
        rig::wait_for("the create to start", || rig.cloud("slow.started").exists());
        apply.signal_group(signal);
        let (_, output) = apply.wait(Duration::from_secs(30));
        assert!(!output.contains("did not respond"), "SIG{signal}: {output}");
        let slow = rig.resource("toy_thing.slow");
        assert_eq!(slow["id"], "slow", "SIG{signal}");
        assert!(rig.cloud("slow").exists(), "SIG{signal}");
        rig.plans_empty();
    }
}

#[test]
fn a_provider_whose_terraform_was_killed_ends_by_itself() {
    let rig = Rig::new("resource \"toy_thing\" \"slow\" {\n  name = \"slow\"\n  wait_ms = 300\n}\n");
    let mut apply = rig.start(&["apply", "-auto-approve", "-no-color"]);
    rig::wait_for("the create to start", || rig.cloud("slow.started").exists());
    let provider = apply.children();
    assert_eq!(provider.len(), 1, "{provider:?}");
    apply.kill();
    rig::wait_for("the provider to end", || !rig::runs(provider[0]));
}

#[test]
fn without_tls_it_refuses_to_serve() {
    let rig = Rig::new(BASE);
    let error = rig.fails_with(&["plan", "-no-color", "-input=false"], &[("TF_DISABLE_PLUGIN_TLS", "1")]);
    assert!(error.contains("Failed to load plugin schemas") || error.contains("refuses to serve"), "{error}");
}

#[tokio::test]
async fn by_hand_it_says_what_it_is() {
    let output = tokio::process::Command::new(rig::toy()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is a Terraform provider") && text.contains("not run by hand"), "{text}");
}

#[tokio::test]
async fn strangers_are_refused_and_the_owner_is_served() {
    let owner = plugin::Identity::new();
    let stranger = plugin::Identity::new();
    let mut plugin = plugin::Plugin::start(&owner).await;
    let error = plugin.connect(None).await.err().expect("a client without certificate got in");
    println!("no certificate: {error}");
    let error = plugin.connect(Some(&stranger)).await.err().expect("a stranger got in");
    println!("another certificate: {error}");
    let mut channel = plugin.connect(Some(&owner)).await.unwrap();
    let status = channel.call("/tfplugin6.Provider/GetResourceIdentitySchemas").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    channel.call("/plugin.GRPCController/Shutdown").await.unwrap();
    assert!(plugin.exited(Duration::from_secs(2)).await.success());
    assert!(!plugin.socket().exists(), "the socket is left behind");
}

/// Every call that came after protocol 6.8, by the version that brought it.
const NEWER: [(&str, &str); 16] = [
    ("6.9", "GetResourceIdentitySchemas"),
    ("6.9", "UpgradeResourceIdentity"),
    ("6.10", "ListResource"),
    ("6.10", "ValidateListResourceConfig"),
    ("6.10", "ValidateStateStoreConfig"),
    ("6.10", "ConfigureStateStore"),
    ("6.10", "GetStates"),
    ("6.10", "DeleteState"),
    ("6.10", "GenerateResourceConfig"),
    ("6.10", "ValidateActionConfig"),
    ("6.10", "PlanAction"),
    ("6.10", "InvokeAction"),
    ("6.10", "ReadStateBytes"),
    ("6.10", "WriteStateBytes"),
    ("6.10", "LockState"),
    ("6.10", "UnlockState"),
];

#[tokio::test]
async fn newer_calls_are_unimplemented() {
    let owner = plugin::Identity::new();
    let plugin = plugin::Plugin::start(&owner).await;
    let mut channel = plugin.connect(Some(&owner)).await.unwrap();
    for (version, name) in NEWER {
        let status = channel.call(&format!("/tfplugin6.Provider/{name}")).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{name} of {version}: {status}");
    }
    channel.call("/tfplugin6.Provider/GetMetadata").await.unwrap();
    channel.call("/grpc.health.v1.Health/Check").await.unwrap();
}

#[tokio::test]
async fn it_starts_and_ends_in_milliseconds() {
    let owner = plugin::Identity::new();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let begin = std::time::Instant::now();
        let mut plugin = plugin::Plugin::start(&owner).await;
        starts.push(begin.elapsed());
        let mut channel = plugin.connect(Some(&owner)).await.unwrap();
        let begin = std::time::Instant::now();
        channel.call("/plugin.GRPCController/Shutdown").await.unwrap();
        assert!(plugin.exited(Duration::from_secs(2)).await.success());
        ends.push(begin.elapsed());
    }
    starts.sort();
    ends.sort();
    println!("start to handshake: median {:?}, worst {:?}", starts[2], starts[4]);
    println!("Shutdown to exit: median {:?}, worst {:?}", ends[2], ends[4]);
    assert!(starts[2] < Duration::from_secs(1), "slow start: {starts:?}");
    assert!(ends[2] < Duration::from_millis(500), "slow end: {ends:?}");
}
