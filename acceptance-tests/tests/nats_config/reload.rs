//! Each reload rule, tried on a running server, both ways; and what follows from the rules.

use std::fs;

use acceptance_tests::lone_server::{
    reloading::{Tried, changed, try_every_rule},
    server::{Reloaded, Server},
    site::{Site, authority, trust},
};
use nats_config::{Change, reload_class, render, split};
use serde_json::json;

#[test]
fn every_rule_holds_on_the_server_both_ways() {
    let Tried { changes, rules, untried, wrong } = try_every_rule().unwrap();
    println!("{rules} rules tried by {changes} changes, both ways");
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
    assert!(untried.is_empty(), "rules without a trial: {untried:?}");
}

#[test]
fn a_mixed_change_is_refused_whole_and_its_split_is_not() {
    let site = Site::new().unwrap();
    let model = site.member_model();
    let base = changed(&model, &[]).unwrap();
    let mixed = [("tags", json!(["az:a", "disk:ssd"])), ("jetstream.domain", json!("spoke"))];
    let new = changed(&model, &mixed).unwrap();
    let server = Server::start(&site, &render(&base).text, (site.address, 8222)).unwrap();
    let Reloaded::No(line) = server.reload(&render(&new).text).unwrap() else {
        panic!("a mixed change was reloaded")
    };
    assert!(line.contains("config reload not supported"), "{line}");
    assert_eq!(server.digest().unwrap(), render(&base).digest.to_string());
    let between = render(&split(&base, &new).unwrap());
    assert_eq!(server.reload(&between.text).unwrap(), Reloaded::Yes(between.digest.to_string()));
    assert_eq!(server.get("/varz").unwrap()["tags"], json!(["az:a", "disk:ssd"]));
}

/// Why the file keeps the running list: the server refuses a reload of it.
#[test]
fn a_changed_gateway_list_blocks_every_reload() {
    let site = Site::new().unwrap();
    let model = site.member_model();
    let base = changed(&model, &[]).unwrap();
    let urls = json!({ "east": [format!("{}:7222", site.address), format!("{}:7233", site.address)] });
    let new = changed(&model, &[("gateway.remotes", urls), ("tags", json!(["az:b"]))]).unwrap();
    assert!(matches!(reload_class(&base, &new), Change::Reload { deferrable, .. } if deferrable.len() == 1));
    let server = Server::start(&site, &render(&base).text, (site.address, 8222)).unwrap();
    assert!(matches!(server.reload(&render(&new).text).unwrap(), Reloaded::No(_)));
    let between = render(&split(&base, &new).unwrap());
    assert_eq!(server.reload(&between.text).unwrap(), Reloaded::Yes(between.digest.to_string()));
}

/// The server says yes and moves to the other directory, where it has only the preloaded accounts. So we restart
/// for these settings, and nobody must take its yes for proof.
#[test]
fn the_server_takes_resolver_settings_that_we_restart_for() {
    let site = Site::new().unwrap();
    let model = site.member_model();
    let base = changed(&model, &[]).unwrap();
    let server = Server::start(&site, &render(&base).text, (site.address, 8222)).unwrap();
    for (path, value) in [
        ("trust.resolver.dir", json!("resolver-2")),
        ("trust.resolver.allow_delete", json!(false)),
        ("trust.resolver.interval", json!("1m")),
        ("trust.resolver.timeout", json!("1s")),
        ("trust.resolver.limit", json!(500)),
    ] {
        let new = changed(&model, &[(path, value)]).unwrap();
        assert!(matches!(reload_class(&base, &new), Change::Restart { .. }), "{path}");
        let rendered = render(&new);
        assert_eq!(
            server.reload(&rendered.text).unwrap(),
            Reloaded::Yes(rendered.digest.to_string()),
            "{path}"
        );
    }
    let system_account = format!("{}.jwt", authority(1).system_account.as_str());
    assert!(site.path().join("resolver-2").join(system_account).exists());
}

#[test]
fn a_preloaded_account_arrives_by_reload() {
    let site = Site::new().unwrap();
    let model = site.member_model();
    let base = changed(&model, &[]).unwrap();
    let probe = authority(1);
    let mut preload = trust().preload;
    preload.insert(probe.probe_account.as_str().to_owned(), probe.probe_account_jwt.as_str().to_owned());
    let new = render(&changed(&model, &[("trust.preload", json!(preload))]).unwrap());
    let server = Server::start(&site, &render(&base).text, (site.address, 8222)).unwrap();
    let file = site.path().join("resolver").join(format!("{}.jwt", probe.probe_account.as_str()));
    assert!(!file.exists());
    assert_eq!(server.reload(&new.text).unwrap(), Reloaded::Yes(new.digest.to_string()));
    assert_eq!(fs::read_to_string(file).unwrap(), probe.probe_account_jwt.as_str());
}
