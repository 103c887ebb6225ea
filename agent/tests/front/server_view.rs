//! What the applier sees through the front, of real nats-servers.

use std::net::SocketAddr;

use host_state::observed::{ClaimsObserved, RunningObserved};
use identity::{AccountLimits, Authority, Jwt};
use nats_agent::front::Network;
use nats_agent::parts::claims;
use nats_agent::roles::ServerView;

use crate::nats::Server;
use crate::scripted::authority;

fn view(server: &Server) -> Network {
    Network::new(server.state.path().join("downloads"))
}

fn account(authority: &Authority, name: &str, issued_at: i64) -> Jwt {
    let claims = authority.account_claims(name.parse().unwrap(), AccountLimits::unlimited());
    authority.account_jwt(&claims, issued_at).unwrap()
}

async fn listed(view: &Network, server: &Server) -> std::collections::BTreeMap<String, Option<i64>> {
    match claims::observe(view, &server.local(), server.state.path()).await {
        ClaimsObserved::Answered(claims) => {
            claims.into_iter().map(|(account, claim)| (account, claim.issued_at)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_behind_shows_what_it_has_itself() {
    let acme = authority(1);
    let key = |name: &str| acme.account_key(&name.parse().unwrap()).as_str().to_owned();
    let (system, probe) = (acme.trust().system_account, acme.trust().probe_account);
    let preloaded = [system.as_str().to_owned(), probe.as_str().to_owned()];
    let routes = ["127.72.5.1", "127.72.5.2"];
    let first = Server::start(&acme, "east-1", routes[0], &routes).await;
    let first_view = view(&first);
    first_view.push_claim(&first.local(), account(&acme, "orders", 1_800_000_000).as_str()).await.unwrap();

    let second = Server::start(&acme, "east-2", routes[1], &routes).await;
    let second_view = view(&second);
    let seen = listed(&second_view, &second).await;
    assert_eq!(seen.keys().cloned().collect::<std::collections::BTreeSet<_>>(), preloaded.clone().into());
    let seen = listed(&first_view, &first).await;
    assert_eq!(seen.get(&key("orders")), Some(&Some(1_800_000_000)));
    assert_eq!(seen.len(), 3);

    second_view.push_claim(&second.local(), account(&acme, "orders", 1_800_000_001).as_str()).await.unwrap();
    assert_eq!(listed(&second_view, &second).await.get(&key("orders")), Some(&Some(1_800_000_001)));

    let broken = account(&acme, "orders", 1_900_000_000).as_str().replace(".ey", ".eX");
    let error = second_view.push_claim(&second.local(), &broken).await.unwrap_err();
    assert!(error.starts_with("the local nats-server refused the account's JWT: jwt update"), "{error}");
    assert_eq!(listed(&second_view, &second).await.get(&key("orders")), Some(&Some(1_800_000_001)));

    drop(first);
    // The kept connection is for one server: another one is another connection, on which the same is answered.
    assert_eq!(listed(&second_view, &second).await, listed(&view(&second), &second).await);
}

/// What the applier has to know: a push of what is older takes back what is newer, on all servers, so it asks before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_claim_replaces_a_newer_one_everywhere_and_every_server_says_what_it_has() {
    let acme = authority(1);
    let key = acme.account_key(&"orders".parse().unwrap()).to_string();
    let routes = ["127.72.5.31", "127.72.5.32"];
    let first = Server::start(&acme, "east-1", routes[0], &routes).await;
    let second = Server::start(&acme, "east-2", routes[1], &routes).await;
    let (first_view, second_view) = (view(&first), view(&second));
    let (older, newer) = (account(&acme, "orders", 1_800_000_000), account(&acme, "orders", 1_800_000_001));
    let has = async |view: &Network, server: &Server| listed(view, server).await.get(&key).copied().flatten();
    let both = async |wanted| loop {
        first_view.push_claim(&first.local(), newer.as_str()).await.unwrap();
        if has(&second_view, &second).await == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), both(Some(1_800_000_001))).await.unwrap();
    let everywhere = second_view.account_jwts(&second.local(), std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(everywhere[&key], [newer.to_string()].into());
    let nobody = second_view.account_jwts(&second.local(), &["AUNKNOWN".to_owned()]).await.unwrap();
    assert!(nobody.is_empty(), "{nobody:?}");

    second_view.push_claim(&second.local(), older.as_str()).await.unwrap();
    assert_eq!(has(&second_view, &second).await, Some(1_800_000_000));
    assert_eq!(has(&first_view, &first).await, Some(1_800_000_000));
}

/// What the applier has to know: the server itself does not look whose signature it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_takes_a_claim_that_another_operator_signed() {
    let (acme, other) = (authority(1), authority(77));
    let server = Server::start(&acme, "east-1", "127.72.5.21", &["127.72.5.21"]).await;
    let view = view(&server);
    let ours = account(&acme, "orders", 1_800_000_000);
    view.push_claim(&server.local(), ours.as_str()).await.unwrap();
    let mut claims = other.account_claims("orders".parse().unwrap(), AccountLimits::unlimited());
    claims.key = acme.account_key(&"orders".parse().unwrap());
    let foreign = other.account_jwt(&claims, 1_800_000_005).unwrap();
    view.push_claim(&server.local(), foreign.as_str()).await.unwrap();
    let seen = listed(&view, &server).await;
    assert_eq!(seen.get(claims.key.as_str()), Some(&Some(1_800_000_005)), "ours is overwritten");
    identity::decode_account(&foreign, &acme.trust()).unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_tells_its_digest_and_shows_its_leaf() {
    let acme = authority(1);
    let server = Server::start(&acme, "east-1", "127.72.5.11", &["127.72.5.11"]).await;
    let view = view(&server);
    let running = view.running(server.monitor()).await;
    let RunningObserved::Answered { digest, version, server_name, certificates } = running else {
        panic!("{running:?}")
    };
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!((version.as_str(), server_name.as_str()), ("2.15.1", "east-1"));
    assert_eq!(certificates.keys().collect::<Vec<_>>(), ["client", "cluster"]);
    view.healthz(server.monitor(), "").await.unwrap();
    let error = view.healthz(server.monitor(), "js-meta-only=nonsense").await.unwrap_err();
    assert!(error.starts_with("the monitoring port answered 400"), "{error}");

    assert_eq!(view.served_leaf(server.client(), true).await.unwrap(), server.leaf_sha256());
    let route = SocketAddr::new(server.address, 5222);
    assert_eq!(view.served_leaf(route, false).await.unwrap(), server.leaf_sha256());

    let held = view.hold_ports(&[server.client()]).await.remove(&server.client()).unwrap().unwrap_err();
    assert!(held.starts_with("cannot listen on `127.72.5.11:4222`: Address already in use"), "{held}");
}
