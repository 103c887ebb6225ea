//! What a found table comes to, by what the process knows and what the kernel told of others.

use host_state::firewall::{ManagedPort, Networks, OnTrial, PortRule, Rule};
use serde_json::json;

use super::*;

const HOLDS: Load = Load::Holds { since_ms: 1 };

fn rules(from: &str) -> FirewallRules {
    let from = Networks::of([from.parse().unwrap()]);
    FirewallRules([(ManagedPort::Client, PortRule { port: 4222, from })].into())
}

fn confirmed() -> Table {
    Table::of(Some(&rules("10.1.0.0/16")), None)
}

fn on_trial() -> Table {
    let trial = OnTrial { id: "07", rules: &rules("10.2.0.0/16"), lifetime: Duration::from_secs(60) };
    Table::of(Some(&rules("10.1.0.0/16")), Some(trial))
}

fn edited(mut table: Table) -> Table {
    let rule = Rule { expressions: vec![json!({ "counter": null })], comment: None };
    table.chains.get_mut("input").unwrap().rules.push(rule);
    table
}

/// In one word; `touched`: others changed the table since the last look.
fn word(wanted: &Wanted, found: Option<&Table>, load: Load, touched: bool) -> &'static str {
    let author = touched.then(|| Author { pid: 7, program: "nft".to_owned() });
    match judged(wanted, found, &Memory { author, is_touched: touched, load }) {
        Kept::Intact => "intact",
        Kept::Resumed => "resumed",
        Kept::Reloaded { by, .. } => {
            if by.is_some() {
                "reloaded by somebody"
            } else {
                "reloaded"
            }
        }
        Kept::Changed { .. } => "changed",
        Kept::Expired { .. } => "expired",
    }
}

#[test]
fn a_trial_whose_load_a_crash_prevented_is_nobodys_fault() {
    let wanted = Wanted { desired: Some(on_trial()), before: Some(Some(confirmed())) };
    let found = confirmed();
    assert_eq!(word(&wanted, Some(&on_trial()), Load::Unknown, false), "intact");
    assert_eq!(word(&wanted, Some(&found), Load::Unknown, false), "resumed");
    assert_eq!(word(&wanted, Some(&found), Load::Unknown, true), "reloaded by somebody");
    assert_eq!(word(&wanted, Some(&found), HOLDS, false), "reloaded");
    assert_eq!(word(&wanted, None, Load::Unknown, false), "reloaded");
    let mut prepared = on_trial();
    prepared.chains.insert("input".to_owned(), confirmed().chains["input"].clone());
    assert_eq!(word(&wanted, Some(&prepared), Load::Unknown, false), "resumed");
    let first = Wanted { desired: Some(on_trial()), before: Some(None) };
    assert_eq!(word(&first, None, Load::Unknown, false), "resumed");
    assert_eq!(word(&first, None, HOLDS, false), "reloaded");
}

#[test]
fn who_flushes_after_a_failure_of_ours_is_named_all_the_same() {
    let wanted = Wanted { desired: Some(confirmed()), before: None };
    assert_eq!(word(&wanted, Some(&on_trial()), Load::Behind, false), "resumed");
    assert_eq!(word(&wanted, None, Load::Behind, false), "resumed");
    assert_eq!(word(&wanted, None, Load::Behind, true), "reloaded by somebody");
    assert_eq!(word(&wanted, Some(&edited(confirmed())), Load::Behind, true), "resumed");
    assert_eq!(word(&wanted, Some(&edited(confirmed())), HOLDS, true), "changed");
    assert_eq!(word(&wanted, Some(&edited(confirmed())), Load::Unknown, false), "changed");
}

#[test]
fn a_table_that_no_record_wants_is_looked_at() {
    let wanted = Wanted { desired: None, before: None };
    assert_eq!(word(&wanted, None, Load::Unknown, false), "intact");
    assert_eq!(word(&wanted, Some(&confirmed()), Load::Unknown, false), "resumed");
    assert_eq!(word(&wanted, Some(&confirmed()), Load::Behind, false), "resumed");
    assert_eq!(word(&wanted, Some(&confirmed()), HOLDS, true), "changed");
}
