//! A certificate renewal neither brings a hand edit to life nor is stopped by one.

use std::fs;
use std::time::Duration;

use acceptance_tests::rig::wait::{wait_for, wait_until};
use identity::{HostSecret, mint_leaf};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::Leaf;
use time::OffsetDateTime;

use super::drift::edit_configuration;
use acceptance_tests::scenario::system::{DEADLINE, System, varz};

/// Life of the leaf that is due. Its first second lies some minutes back, so one third of its life is over at once.
const SHORT: Duration = Duration::from_secs(120);

#[test]
fn an_edit_before_a_renewal_neither_goes_live_nor_stops_it() {
    let system = System::running(&[("east", 2)]);
    let host = system.host("east-1");
    let current = host.state_dir().join("current");
    let (server, before) = (host.server_pid(), varz(host));
    let certificate = fs::read_to_string(current.join("server.pem")).unwrap();

    edit_configuration(&current.join("nats-server.json"));
    // The certificate comes to its renewal: the one that the agent keeps is replaced by one of the same keys that is due.
    let kept = Leaf::read(&host.state_dir()).unwrap().unwrap();
    let secret =
        HostSecret::from_json(&fs::read_to_string(host.state_dir().join("host-secret.json")).unwrap())
            .unwrap();
    let now = OffsetDateTime::now_utc();
    let short = mint_leaf(&secret, &kept.material.issuer, &kept.material.names, now, SHORT).unwrap();
    let due = Leaf { material: kept.material, certificate: short.leaf };
    assert!(due.is_due(now).unwrap());
    due.write(&Effects::default(), &host.state_dir()).unwrap();

    let what = "the renewed certificate on disk";
    wait_until(what, Duration::from_secs(90), || {
        Ok(fs::read_to_string(current.join("server.pem"))? != certificate)
    })
    .unwrap();
    let after = wait_for("the reload", DEADLINE, || {
        let now = varz(host);
        Ok((now["config_load_time"] != before["config_load_time"]).then_some(now))
    })
    .unwrap();
    assert_eq!(after["max_payload"], before["max_payload"], "the edit is live");
    assert_eq!(after["config_digest"], before["config_digest"]);
    assert_eq!(host.server_pid(), server, "the server was restarted");
    let text = fs::read_to_string(current.join("nats-server.json")).unwrap();
    assert!(!text.contains("2097152"), "the edit is still on disk");
    let log = fs::read_to_string(host.state_dir().join("../agent.log")).unwrap();
    assert!(log.contains("`nats-server.json` had been edited"), "the undone edit is reported");
    system.plan_is_empty();
    println!(
        "renewed and reloaded without restart; `max_payload` stayed {}; the edit was undone and reported",
        after["max_payload"]
    );
}
