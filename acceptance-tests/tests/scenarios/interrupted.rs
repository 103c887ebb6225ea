//! Ctrl-C in the middle: what is in state is so, and the next apply finishes.

use std::time::Duration;

use acceptance_tests::rig::process::Signal;
use acceptance_tests::rig::terraform::{Outcome, Run};
use acceptance_tests::rig::wait::wait_until;
use serde_json::{Value, json};

use acceptance_tests::scenario::system::{DEADLINE, System, update, varz};

/// Applies, and presses Ctrl-C as soon as `is_now` holds.
fn interrupt(system: &System, what: &str, mut is_now: impl FnMut() -> bool) -> Run {
    system.write();
    let arguments = ["apply", "-json", "-input=false", "-auto-approve"];
    let mut running = system.supercluster.terraform.start(&arguments).unwrap();
    wait_until(what, DEADLINE, || Ok(is_now())).unwrap();
    running.signal_group(Signal::INT).unwrap();
    let run = running.finish(Duration::from_secs(120)).unwrap();
    assert_ne!(run.code, 0, "an interrupted apply must not look finished: {run}");
    run
}

fn listed(system: &System) -> Vec<String> {
    let run = system.supercluster.terraform.run(&["state", "list"]).unwrap();
    run.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn an_interrupted_create_leaves_true_state_and_the_next_apply_finishes() {
    let mut system = System::lay_out(&[("east", 3)]);
    // The third host keeps the create waiting, so that the key is pressed in its middle.
    system.host_mut("east-1").start().unwrap();
    system.host_mut("east-2").start().unwrap();
    let claimed = [system.host("east-1").state_dir(), system.host("east-2").state_dir()];
    let run =
        interrupt(&system, "two claimed hosts", || claimed.iter().all(|dir| dir.join("claim.json").exists()));
    println!("create interrupted, ended after {:?}: {}", run.elapsed, run.error_text().trim());
    assert_eq!(listed(&system), ["nats_authority.acme"], "{run}");
    for host in system.hosts() {
        assert_eq!(host.server_pid(), None, "`{}` was started", host.name());
    }
    system.host_mut("east-3").start().unwrap();
    let finished = system.apply();
    println!("the next apply finished in {:?}", finished.elapsed);
    system.plan_is_empty();
}

#[test]
fn an_interrupted_update_leaves_true_state_and_the_next_apply_finishes() {
    let mut system = System::running(&[("east", 3)]);
    let limit = json!({ "max_payload": "2MB" });
    system.resource("nats_cluster", "east")["limits"] = limit;
    system.resource("nats_cluster", "east")["rollout"] = json!({ "settle": "10s" });
    let has_it = |system: &System| {
        let asked = system.hosts().iter().map(|host| varz(host)["max_payload"] == 2 << 20);
        asked.filter(|changed| *changed).count()
    };
    let run = interrupt(&system, "the first changed server", || has_it(&system) > 0);
    let changed = has_it(&system);
    assert!((1..3).contains(&changed), "{changed} servers were changed, not some: {run}");
    println!(
        "update interrupted after {changed} of 3 servers, ended after {:?}: {}",
        run.elapsed,
        run.error_text().trim()
    );

    let plan = system.plan();
    assert_eq!(
        (plan.outcome(), plan.changes.as_slice()),
        (Outcome::Changed, &[update("nats_cluster.east")][..]),
        "{plan}"
    );
    let kept: Value = serde_json::from_str(&system.supercluster.terraform.state_text().unwrap()).unwrap();
    let resources = kept["resources"].as_array().unwrap();
    let cluster = resources.iter().find(|resource| resource["type"] == "nats_cluster").unwrap();
    assert_eq!(
        cluster["instances"][0]["attributes"]["limits"],
        Value::Null,
        "the state says that all hosts have it"
    );
    system.resource("nats_cluster", "east")["rollout"] = json!({ "settle": "1s" });
    let finished = system.apply();
    assert_eq!(has_it(&system), 3);
    println!("the next apply finished in {:?}", finished.elapsed);
    system.plan_is_empty();
}
