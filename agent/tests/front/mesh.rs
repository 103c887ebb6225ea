//! The mesh probe between three real nats-servers: whole, with one of them frozen, and whole again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use host_state::report::MeshRow;
use nats_agent::front::Network;
use nats_agent::roles::ServerView;

use crate::nats::Server;
use crate::scripted::authority;

const HOSTS: [&str; 3] = ["east-1", "east-2", "east-3"];

fn view(server: &Server) -> Network {
    Network::new(server.state.path().join("downloads"))
}

fn row(missing: &[&str]) -> MeshRow {
    let missing: BTreeSet<String> = missing.iter().map(|host| (*host).to_owned()).collect();
    MeshRow { system_missing: missing.clone(), probe_missing: missing, probed: 2 }
}

/// Waits until `view` sees `wanted`, and tells how long the last look took.
async fn sees(view: &Network, wanted: &MeshRow) -> Duration {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let begin = Instant::now();
        let seen = view.mesh_row().await;
        if seen.as_ref() == Some(wanted) {
            return begin.elapsed();
        }
        assert!(Instant::now() < deadline, "{seen:?} is not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_named_by_its_neighbours_and_comes_back() {
    let acme = authority(1);
    let routes = ["127.72.7.1", "127.72.7.2", "127.72.7.3"];
    let mut servers = Vec::new();
    for (host, address) in HOSTS.into_iter().zip(routes) {
        servers.push(Server::start(&acme, host, address, &routes).await);
    }
    let views: Vec<Network> = servers.iter().map(view).collect();
    assert_eq!(views[0].mesh_row().await, None, "nobody told it where it stands");

    views[0].answer_probes(Some(servers[0].post(&HOSTS))).await;
    let lonely = MeshRow { probe_missing: row(&["east-2", "east-3"]).probe_missing, ..row(&[]) };
    sees(&views[0], &lonely).await;
    for (view, server) in views.iter().zip(&servers).skip(1) {
        view.answer_probes(Some(server.post(&HOSTS))).await;
    }
    for view in &views {
        let took = sees(view, &row(&[])).await;
        assert!(took < Duration::from_millis(500), "a whole row took {took:?}");
    }

    servers[2].freeze(true);
    for view in &views[..2] {
        let took = sees(view, &row(&["east-3"])).await;
        assert!(took < Duration::from_secs(1), "with a row to fall back on it still took {took:?}");
    }
    let begin = Instant::now();
    views[2].answer_probes(None).await;
    assert_eq!(views[2].mesh_row().await, None);
    views[2].answer_probes(Some(servers[2].post(&HOSTS))).await;
    assert_eq!(views[2].mesh_row().await, None, "its own server does not let it in");
    assert!(begin.elapsed() < Duration::from_secs(3), "that took {:?}", begin.elapsed());

    servers[2].freeze(false);
    for view in &views {
        sees(view, &row(&[])).await;
    }

    let gone = servers.remove(1);
    drop(gone);
    sees(&views[0], &row(&["east-2"])).await;
    servers.insert(1, Server::start(&acme, HOSTS[1], routes[1], &routes).await);
    for view in &views {
        sees(view, &row(&[])).await;
    }
}
