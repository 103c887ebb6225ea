//! No secret is in anything that is written over a whole life, not even when terraform logs all it does.

use acceptance_tests::scenario::secrets;
use serde_json::json;

use super::drift::edit_configuration;
use acceptance_tests::scenario::system::System;

#[test]
fn no_secret_is_written_over_a_whole_life_with_every_log_on() {
    let mut system = System::lay_out(&[("east", 3)]);
    let terraform = &mut system.supercluster.terraform;
    let log = terraform.module().join("terraform.log");
    terraform.set_env("TF_LOG", "trace");
    terraform.set_env("TF_LOG_PATH", &log.display().to_string());
    system.supercluster.fleet.start().unwrap();
    // A saved plan of everything, applied; a change, a drift and a failure, each with its texts.
    let terraform = &system.supercluster.terraform;
    terraform.plan_to("create.tfplan").unwrap().succeeded().unwrap();
    terraform.apply_plan("create.tfplan").unwrap().succeeded().unwrap();
    system.publish("east-1", "orders.a", 5);
    edit_configuration(&system.host("east-2").state_dir().join("current/nats-server.json"));
    system.resource("nats_user", "service")["publish"]["allow"] = json!(["orders.>"]);
    system.planned();
    system.apply();
    let own = system.supercluster.root_key.clone();
    let terraform = &mut system.supercluster.terraform;
    terraform.set_variable("root_key", "not a root key at all");
    assert_ne!(terraform.plan().unwrap().code, 0);
    terraform.set_variable("root_key", &own);
    let terraform = &system.supercluster.terraform;
    terraform.plan_to("empty.tfplan").unwrap().unchanged().unwrap();
    let running = secrets::search(&system.supercluster).unwrap();
    terraform.destroy().unwrap().succeeded().unwrap();
    let destroyed = secrets::search(&system.supercluster).unwrap();
    assert!(destroyed.files > running.files);
    let logged = std::fs::metadata(log).unwrap().len();
    assert!(logged > 100_000, "terraform logged only {logged} bytes");
    println!(
        "{} secrets in {} files, {} kB of trace logs among them: none found",
        running.secrets,
        destroyed.files,
        logged / 1000
    );
}
