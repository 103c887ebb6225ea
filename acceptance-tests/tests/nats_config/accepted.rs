//! Random configurations that we call valid are valid to the server, and have the digest that we computed.

use nats_config::{ServerConfig, arbitrary, render};
use proptest::{option::of, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use nats_config::Sha256Hex;
use serde_json::json;

use acceptance_tests::lone_server::{
    server::{Server, check, eventually, logs},
    site::{Site, trust},
};

fn configs() -> impl Strategy<Value = ServerConfig> {
    arbitrary::server_config(of(Just(trust())))
}

#[test]
fn the_server_accepts_what_we_render_and_shows_our_digest() {
    let site = Site::new().unwrap();
    let runner = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(runner)
        .run(&configs(), |config| {
            let rendered = render(&config);
            prop_assert_eq!(
                check(&site, &rendered.text).unwrap(),
                Ok(rendered.digest.to_string()),
                "{}",
                rendered.text
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_server_starts_on_what_we_render_and_shows_our_digest() {
    let mut runner = TestRunner::deterministic();
    let strategy = configs();
    for _ in 0..6 {
        let site = Site::new().unwrap();
        let config = site.settle(strategy.new_tree(&mut runner).unwrap().current()).unwrap();
        let rendered = render(&config);
        let server = Server::start(&site, &rendered.text, (site.address, 8222)).unwrap();
        assert_eq!(server.digest().unwrap(), rendered.digest.to_string(), "{}", rendered.text);
    }
}

#[test]
fn a_full_member_starts_and_shows_our_digest() {
    let site = Site::new().unwrap();
    let rendered = render(&site.member().unwrap());
    let server = Server::start(&site, &rendered.text, (site.address, 8222)).unwrap();
    assert_eq!(server.digest().unwrap(), rendered.digest.to_string());
    let varz = server.get("/varz").unwrap();
    assert_eq!(varz["jetstream"]["config"]["max_storage"], 1 << 30);
    assert_eq!(varz["jetstream"]["config"]["sync_always"], true);
    assert_eq!(varz["cluster"]["name"], "east");
    assert_eq!(varz["gateway"]["name"], "east");
    assert_eq!(varz["gateway"]["reject_unknown"], true);
    assert_eq!(varz["max_payload"], 1 << 20);
}

/// The server logs the sum of each key that is not pinned; it is that of the public key's DER.
#[test]
fn pins_are_sums_of_public_keys() {
    let site = Site::new().unwrap();
    let sum = Sha256Hex::of(&site.cluster_public_key);
    let start = |pin: &Sha256Hex| {
        let mut model = site.member_model();
        model["cluster"]["tls"]["pinned_certs"] = json!([pin]);
        model["logging"]["debug"] = json!(true);
        let config: ServerConfig = serde_json::from_value(model).unwrap();
        Server::start(&site, &render(&config).text, (site.address, 8222)).unwrap()
    };
    let server = start(&sum);
    eventually(&site, || {
        logs(&site).contains("Router connection closed: Duplicate Route") || is_own_route(&site)
    })
    .unwrap();
    assert!(!logs(&site).contains("Failed pinned cert test"), "{}", logs(&site));
    drop(server);
    let _server = start(&Sha256Hex::of(b"another key"));
    eventually(&site, || logs(&site).contains(&format!("Failed pinned cert test for key id: {sum}")))
        .unwrap();
}

/// Whether the server met itself on its cluster port, which happens after the handshake.
fn is_own_route(site: &Site) -> bool {
    logs(site).contains("Detected route to self")
}
