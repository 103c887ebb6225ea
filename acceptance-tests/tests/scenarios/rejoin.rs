//! Hosts that were lost: one is rebuilt under its name with another key, one is taken out for good. Whoever has what they
//! held is out of every route and gateway, and of every agent.

#[path = "rejoin/neighbour.rs"]
mod neighbour;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use acceptance_tests::rig::process::Process;
use acceptance_tests::rig::terraform::Outcome;
use acceptance_tests::rig::wait::wait_until;
use acceptance_tests::scenario::system::{DEADLINE, System, monitor, tells, varz};
use acceptance_tests::scenario::traffic;
use acceptance_tests::tools;
use host_state::{SectionKind, layout};
use nats_agent_api::CallError;
use serde_json::{Value, json};

use neighbour::{Stolen, connect, tried};

/// A lost host's server is out of every route and gateway this long after the apply that says so.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);

/// A host that is back has fetched claims this long after it was taken in again: two rounds of its agent, and a little.
const CLAIMS_WITHIN: Duration = Duration::from_secs(150);

/// Copies a folder, following its links: what a thief of the disk has.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match fs::metadata(&source) {
            Ok(kind) if kind.is_dir() => copy(&source, &to.join(name)),
            Ok(kind) if kind.is_file() => _ = fs::copy(&source, to.join(name)).unwrap(),
            // Sockets, and links to nothing.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Ids of the servers that a host's server has a route, or a gateway in or out, with.
fn links(system: &System, host: &str) -> BTreeSet<String> {
    let host = system.host(host);
    let routes = monitor(host, "/routez").unwrap()["routes"].clone();
    let routes = routes.as_array().cloned().unwrap_or_default();
    let routes = routes.iter().map(|route| route["remote_id"].as_str().unwrap_or_default().to_owned());
    let gateways = monitor(host, "/gatewayz").unwrap();
    let outbound = gateways["outbound_gateways"].as_object().cloned().unwrap_or_default().into_iter();
    let inbound = gateways["inbound_gateways"].as_object().cloned().unwrap_or_default().into_iter();
    let inbound = inbound.flat_map(|(_, all)| all.as_array().cloned().unwrap_or_default());
    let name = |gateway: Value| gateway["connection"]["name"].as_str().unwrap_or_default().to_owned();
    routes.chain(outbound.map(|(_, one)| one).chain(inbound).map(name)).collect()
}

/// The NATS users of a host's agent as a thief of its disk has them: credentials files, in the system and in the probe
/// account.
fn stolen_users(folder: &Path, state: &Path) -> [PathBuf; 2] {
    fs::create_dir_all(folder).unwrap();
    let json =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(state.join(name)).unwrap()).unwrap() };
    let keys = json(layout::HOST_SECRET_FILE);
    let section = json(&format!("{}/{}", layout::LEDGER, layout::ledger_file(SectionKind::Cluster)));
    let body = section["content"]["accepted"]["body"].as_str().unwrap();
    let users = serde_json::from_str::<Value>(body).unwrap()["users"].clone();
    [("system_user", "system_jwt"), ("probe_user", "probe_jwt")].map(|(key, jwt)| {
        let (seed, jwt) = (keys[key].as_str().unwrap(), users[jwt].as_str().unwrap());
        let path = folder.join(format!("{key}.creds"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&path, text).unwrap();
        path
    })
}

/// Why each of `hosts` refuses these credentials; empty where all let them in.
fn refusals(system: &System, hosts: &[String], credentials: &[PathBuf]) -> Vec<String> {
    let mut refused = Vec::new();
    for host in hosts {
        for file in credentials {
            let tried = traffic::talk(async { traffic::connect(system.host(host), file).await.map(drop) });
            refused.extend(tried.err().map(|why| format!("{host}: {why:#}")));
        }
    }
    refused
}

/// Generation of the newest claims in a host's ledger.
fn claims_generation(system: &System, host: &str) -> u64 {
    let file =
        system.host(host).state_dir().join(layout::LEDGER).join(layout::ledger_file(SectionKind::Claims));
    let ledger: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    ledger["content"]["accepted"]["header"]["generation"].as_u64().unwrap()
}

fn server_id(system: &System, host: &str) -> String {
    varz(system.host(host))["server_id"].as_str().unwrap().to_owned()
}

fn log(system: &System, host: &str) -> String {
    fs::read_to_string(system.host(host).state_dir().join(layout::LOG_FILE)).unwrap()
}

fn pids(system: &System, but: &str) -> Vec<(String, Option<u32>)> {
    let others = system.hosts().iter().filter(|host| host.name() != but);
    others.map(|host| (host.name().to_owned(), host.server_pid())).collect()
}

/// A server with the certificate and key of a lost host, at an address of its own, that tries to join as a route.
fn intruder(folder: &Path, stolen: &Path, address: Ipv4Addr, victim: Ipv4Addr) -> Process {
    fs::create_dir_all(folder).unwrap();
    let kept = |name: &str| stolen.join("current").join(name).display().to_string();
    let mut config: Value = serde_json::from_slice(&fs::read(kept("nats-server.json")).unwrap()).unwrap();
    let (operator, account) = (config["operator"].take(), config["system_account"].take());
    let preload = config["resolver_preload"].take();
    let tls = json!({
        "cert_file": kept("server.pem"), "key_file": kept("server-key.pem"), "ca_file": kept("ca.pem"), "verify": true, "timeout": 5,
    });
    let config = json!({
        "server_name": "intruder", "listen": format!("{address}:4222"), "operator": operator, "system_account": account,
        "resolver": "MEMORY", "resolver_preload": preload,
        "cluster": {
            "name": "east", "listen": format!("{address}:5222"), "tls": tls,
            "routes": [format!("nats-route://{victim}:5222")],
        },
    });
    fs::write(folder.join("nats-server.json"), config.to_string()).unwrap();
    let mut command = Command::new(tools::nats_server().unwrap());
    command.arg("-c").arg(folder.join("nats-server.json"));
    Process::start("the intruder", &mut command, &folder.join("log")).unwrap()
}

#[test]
fn a_rebuilt_host_is_claimed_anew_and_what_it_held_before_opens_nothing() {
    const REBUILT: &str = "east-3";
    let mut system = System::running(&[("east", 3), ("west", 2)]);
    system.publish("east-1", "orders.new", 50);
    let before = pids(&system, REBUILT);
    let stolen: PathBuf = system.supercluster.fleet.folder().join("stolen");

    // The machine is gone, and another one is set up in its place with the same enrolment in its user data.
    let host = system.host_mut(REBUILT);
    host.agent().unwrap().kill().unwrap();
    host.kill_server().unwrap();
    copy(&host.state_dir(), &stolen);
    for folder in [host.state_dir(), host.store_dir()] {
        fs::remove_dir_all(folder).unwrap();
    }
    host.start().unwrap();
    host.await_listening(DEADLINE).unwrap();
    let plan = system.plan();
    tells(&plan.warning_text(), &[REBUILT]);
    system.resource("nats_cluster", "east")["limits"] = json!({ "max_payload": "2MB" });
    let told = system.apply_fails();
    println!("a used token, another key: {}", told.trim());
    tells(&told, &[REBUILT, "claimed", "another key", "`generation`"]);
    system.resource("nats_cluster", "east").as_object_mut().unwrap().remove("limits");

    // Its owner raises the generation of both.
    let enrollment = system.authority().enrollment(REBUILT.parse().unwrap(), 2);
    let host = system.host_mut(REBUILT);
    host.agent().unwrap().kill().unwrap();
    fs::remove_dir_all(host.state_dir()).unwrap();
    host.enroll(&enrollment.to_text()).unwrap();
    host.start().unwrap();
    host.await_listening(DEADLINE).unwrap();
    system.resource("nats_cluster", "east")["nodes"][REBUILT]["generation"] = json!(2);
    let applied = system.apply();
    assert_eq!(pids(&system, REBUILT), before, "other servers were touched");
    system.read(REBUILT, "ORDERS", 50);
    system.plan_is_empty();
    println!(
        "rebuilt, claimed anew and current after one apply of {:?}; no other server was restarted",
        applied.elapsed
    );

    let users = stolen_users(&stolen.join("users"), &stolen);
    let everybody: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    let refused = refusals(&system, &everybody, &users);
    assert_eq!(refused.len(), 2 * everybody.len(), "what it held before logs in nowhere: {refused:#?}");
    for (what, identity) in Stolen::from(&system, system.host(REBUILT), &stolen).all() {
        let (answered, refused) = tried(&system, &everybody, identity);
        assert_eq!(answered, Vec::<String>::new(), "{what} that it had before");
        assert_eq!(refused.len(), everybody.len(), "{what} that it had before: {refused:#?}");
    }

    let victim = system.host("east-1");
    let linked = links(&system, "east-1");
    let octets = victim.address().octets();
    let address = Ipv4Addr::new(octets[0], octets[1], octets[2], 254);
    let log = || fs::read_to_string(victim.state_dir().join(layout::LOG_FILE)).unwrap();
    let seen = log().len();
    let folder = system.supercluster.fleet.folder().join("intruder");
    let intruder = intruder(&folder, &stolen, address, victim.address());
    let refusal = |log: &str| log.lines().find(|line| line.contains("handshake error")).map(str::to_owned);
    wait_until("the refusal", DEADLINE, || Ok(refusal(&log()[seen..]).is_some())).unwrap();
    println!("a route with the old key: {}", refusal(&log()[seen..]).unwrap().trim());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(links(&system, "east-1"), linked, "{}", intruder.log());
}

#[test]
fn a_lost_host_is_out_of_every_route_and_gateway_ten_seconds_after_its_apply() {
    const LOST: &str = "east-3";
    let mut system = System::running(&[("east", 3), ("west", 2)]);
    system.publish("east-1", "orders.new", 50);
    let before = pids(&system, "");
    let others: Vec<String> =
        system.hosts().iter().map(|host| host.name().to_owned()).filter(|name| name != LOST).collect();
    let id = server_id(&system, LOST);
    let linked = |system: &System| -> Vec<String> {
        others.iter().filter(|host| links(system, host).contains(&id)).cloned().collect()
    };
    let linked_before = linked(&system);
    let clusters: BTreeSet<&str> = linked_before.iter().map(|host| system.host(host).cluster()).collect();
    assert_eq!(clusters, BTreeSet::from(["east", "west"]), "linked with {linked_before:?} before");

    // Whoever has it keeps its server running, and its agent tells nobody.
    system.host_mut(LOST).agent().unwrap().kill().unwrap();
    let folder = system.supercluster.fleet.folder().to_owned();
    let users = stolen_users(&folder.join("stolen-users"), &system.host(LOST).state_dir());
    assert_eq!(refusals(&system, &others, &users), Vec::<String>::new(), "they are worth something before");
    let logged: Vec<usize> = others.iter().map(|host| log(&system, host).len()).collect();
    // One that is logged in already.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(traffic::connect(system.host("west-1"), &users[0])).unwrap();
    let server = system.host(LOST).server_pid().unwrap();
    // As a neighbour it may fetch claims, by any certificate of its own key, and nothing else.
    let stolen = Stolen::from(&system, system.host(LOST), &system.host(LOST).state_dir());
    for (what, identity) in &stolen.pinned {
        let (answered, refused) = tried(&system, &others, identity);
        let claims: Vec<String> = others.iter().map(|host| format!("{host}: Claims: yes")).collect();
        assert_eq!((answered, refused), (claims, vec![]), "{what} is worth something before");
    }
    let open = runtime.block_on(connect(&system, system.host("west-1"), &stolen.pinned[0].1)).unwrap();
    assert!(runtime.block_on(open.claims()).unwrap().is_some(), "a connection that stays open");
    system.resource("nats_cluster", "east")["nodes"][LOST]["absent"] = json!(true);
    let applied = system.apply();
    let since = Instant::now();
    wait_until("nobody linked with the lost host", REVOKED_WITHIN, || Ok(linked(&system).is_empty()))
        .unwrap();
    let took = since.elapsed();
    wait_until("the stolen user thrown out", REVOKED_WITHIN, || {
        Ok(client.connection_state() != async_nats::connection::State::Connected)
    })
    .unwrap();
    drop(client);
    let refused = refusals(&system, &others, &users);
    assert_eq!(refused.len(), 2 * others.len(), "both users, by each other server: {refused:#?}");
    println!("a stolen user: {}", refused[0]);
    for (what, identity) in stolen.all() {
        let (answered, refused) = tried(&system, &others, identity);
        assert_eq!(answered, Vec::<String>::new(), "{what}");
        assert_eq!(refused.len(), others.len(), "{what}: {refused:#?}");
        println!("{what}: {}", refused[0]);
    }
    let error = runtime.block_on(open.claims()).unwrap_err();
    assert!(matches!(error, CallError::Denied { .. }), "the connection that was open: {error}");
    // It tries again and again, and stays out: each other server refuses its certificate.
    for (host, seen) in others.iter().zip(logged) {
        let refuses = || Ok(log(&system, host)[seen..].lines().any(|line| line.contains("handshake error")));
        wait_until(&format!("`{host}` refuses its certificate"), DEADLINE, refuses).unwrap();
    }
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(linked(&system), Vec::<String>::new());
    assert_eq!(system.host(LOST).server_pid(), Some(server), "its server runs on");
    let after: Vec<_> = pids(&system, "");
    assert_eq!(after, before, "no server was restarted for it");
    assert_eq!(system.plan().outcome(), Outcome::Unchanged);
    system.read("east-1", "ORDERS", 50);
    println!(
        "out of {} hosts' routes and gateways {took:?} after an apply of {:?}",
        others.len(),
        applied.elapsed
    );

    // Its owner gets it back as it was: it logs in with users that were signed since, and the stolen ones stay refused.
    system.host_mut(LOST).start().unwrap();
    system.host_mut(LOST).await_listening(DEADLINE).unwrap();
    system.resource("nats_cluster", "east")["nodes"][LOST]["absent"] = json!(false);
    system.apply();
    system.plan_is_empty();
    system.read(LOST, "ORDERS", 50);
    let everybody: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    let refused = refusals(&system, &everybody, &users);
    assert_eq!(refused.len(), 2 * everybody.len(), "{refused:#?}");
    let own = stolen_users(&folder.join("own-users"), &system.host(LOST).state_dir());
    assert_eq!(refusals(&system, &everybody, &own), Vec::<String>::new());
    // It is a neighbour again, and fetches what was written while it was away.
    let (answered, _) = tried(&system, &others, &stolen.pinned[0].1);
    assert_eq!(answered.len(), others.len(), "{answered:#?}");
    let newest = claims_generation(&system, "east-1");
    let since = Instant::now();
    wait_until("the claims of its neighbours", CLAIMS_WITHIN, || {
        Ok(claims_generation(&system, LOST) == newest)
    })
    .unwrap();
    println!("it has the newest claims {:?} after it was taken in again", since.elapsed());
}
