//! A trial boots, reaches its listening state and dials nobody else, whatever the original's addresses are.

use std::fs;

use nats_config::{ServerConfig, ShadowPlan, arbitrary, shadow};
use proptest::{option::of, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use acceptance_tests::lone_server::{
    server::{Server, check, logs},
    site::{Site, trust},
};

fn try_out(site: &Site, config: &ServerConfig) {
    let folder = site.path().join("trial");
    fs::create_dir(&folder).unwrap();
    let rendered = shadow(config, &ShadowPlan { directory: folder.to_str().unwrap().to_owned() });
    assert_eq!(check(site, &rendered.text).unwrap(), Ok(rendered.digest.to_string()));
    let mut text = rendered.text;
    if config.monitor.is_none() {
        // The test asks over the monitoring port; an agent looks at the ports file.
        text = text.replacen("{\n", "{\n  \"http\": \"127.0.0.1:-1\",\n", 1);
    }
    let server = Server::start_trial(site, &text, &folder).unwrap();
    let health = server.get("/healthz?js-server-only=true").unwrap();
    assert_eq!(health["status"], "ok", "{health}: {}", logs(site));
    assert!(logs(site).contains("Server is ready"), "{}", logs(site));
    let sockets = server_sockets(server.id());
    assert!(!sockets.is_empty());
    assert!(sockets.iter().all(|local| local.starts_with("127.0.0.1:")), "{sockets:?}");
    assert_eq!(fs::read_dir(site.path().join("store")).unwrap().count(), 0, "the real store was touched");
    drop(server);
    fs::remove_dir_all(&folder).unwrap();
}

/// Local addresses of the process's TCP sockets over IPv4 and IPv6, in their text form.
fn server_sockets(id: u32) -> Vec<String> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        inodes.extend(
            target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned),
        );
    }
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if inodes.iter().any(|inode| inode == fields[9]) {
                sockets.push(local_address(fields[1]));
            }
        }
    }
    sockets
}

/// `0100007F:1F90` as `127.0.0.1:8080`; IPv6 stays as it is, and so is no loopback address of IPv4.
fn local_address(text: &str) -> String {
    let (address, port) = text.split_once(':').unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    match u32::from_str_radix(address, 16) {
        Ok(address) => format!("{}:{port}", std::net::Ipv4Addr::from(address.swap_bytes())),
        Err(_) => format!("[{address}]:{port}"),
    }
}

#[test]
fn the_trial_of_a_member_boots_beside_the_running_original() {
    let site = Site::new().unwrap();
    try_out(&site, &site.member().unwrap());
}

#[test]
fn trials_of_random_configurations_boot() {
    let strategy = arbitrary::server_config(of(Just(trust())));
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let site = Site::new().unwrap();
        try_out(&site, &strategy.new_tree(&mut runner).unwrap().current());
    }
}
