//! What a user may do changes at once, also on connections that are open, on every server.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acceptance_tests::rig::agents::Host;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::scenario::traffic;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use serde_json::json;
use tokio::runtime::Runtime;

use acceptance_tests::scenario::system::{DEADLINE, System};

/// A connection and what was said about it since it was opened.
struct Live {
    client: Client,
    events: Arc<Mutex<Vec<String>>>,
}

impl Live {
    async fn open(host: &Host, credentials: &Path) -> Live {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let options = ConnectOptions::with_credentials_file(credentials).await.unwrap();
        let options = options
            .require_tls(true)
            .add_root_certificates(host.state_dir().join("current/ca.pem"))
            .event_callback(move |event: Event| {
                seen.lock().unwrap().push(event.to_string());
                std::future::ready(())
            });
        let client =
            options.connect(format!("tls://{}:{}", host.address(), traffic::CLIENT_PORT)).await.unwrap();
        Live { client, events }
    }

    fn heard(&self, word: &str) -> bool {
        self.events.lock().unwrap().iter().any(|event| event.to_lowercase().contains(word))
    }

    fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

#[test]
fn a_narrowed_and_a_destroyed_user_feel_it_at_once_on_every_server() {
    let mut system = System::running(&[("east", 3)]);
    let credentials = system.credentials();
    let runtime = Runtime::new().unwrap();
    let connections: Vec<Live> =
        system.hosts().iter().map(|host| runtime.block_on(Live::open(host, &credentials))).collect();
    let publish = |live: &Live, subject: &'static str| {
        runtime.block_on(async {
            live.client.publish(subject, "x".into()).await.unwrap();
            live.client.flush().await.unwrap();
            // The server's refusal follows its answer to the flush, or comes with it.
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
    };
    for live in &connections {
        publish(live, "orders.new");
        assert!(!live.heard("permissions violation"), "{:?}", live.events());
    }

    system.resource("nats_user", "service")["publish"] =
        json!({ "allow": ["orders.read.>", "$JS.API.>", "$JS.ACK.>"] });
    let narrowed = system.apply();
    for (live, host) in connections.iter().zip(system.hosts()) {
        publish(live, "orders.new");
        assert!(live.heard("permissions violation"), "`{}` still takes it: {:?}", host.name(), live.events());
        // The server ends a connection whose scope changed, and the client is back by itself with what it may do now.
        assert_eq!(
            live.client.connection_state(),
            State::Connected,
            "`{}`: {:?}",
            host.name(),
            live.events()
        );
    }
    println!(
        "narrowed in {:?}; denied on {} live connections, without new credentials",
        narrowed.elapsed,
        connections.len()
    );
    system.plan_is_empty();

    system.forget("nats_user", "service");
    let destroyed = system.apply();
    for (live, host) in connections.iter().zip(system.hosts()) {
        let what = format!("the end of the connection to `{}`", host.name());
        wait_until(&what, DEADLINE, || Ok(live.client.connection_state() != State::Connected)).unwrap();
        let error = runtime.block_on(traffic::connect(host, &credentials)).unwrap_err();
        let text = format!("{error:#}").to_lowercase();
        assert!(text.contains("authorization violation"), "`{}`: {text}", host.name());
    }
    println!("destroyed in {:?}; ended and refused on all {} servers", destroyed.elapsed, connections.len());
    system.plan_is_empty();
}
