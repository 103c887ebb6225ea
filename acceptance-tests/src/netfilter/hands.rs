//! Hands of others: tables that are flushed, rules that are edited, tables that drop what we allow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use host_state::firewall::{FirewallRules, Reach, Table};
use host_state::observed::{FirewallObserved, FirewallSeen};
use nats_agent::parts::firewall::{Firewall, Kept};

use super::intents::{self, AGENT_PORT};
use super::namespaces::{HOST4, Pair};
use super::{establish, with_firewall};
use crate::proof::Row;

/// How long a repair may take.
const REPAIRED_BY: Duration = Duration::from_secs(5);

/// What takes the table away or opens it. `RULES` is the chain of the rules that hold.
const HOLES: &[&str] = &[
    "flush ruleset",
    "delete table inet nats_agent",
    "flush table inet nats_agent",
    "flush chain inet nats_agent RULES",
    "insert rule inet nats_agent RULES accept",
    "insert rule inet nats_agent input tcp dport 4222 accept",
    "flush chain inet nats_agent input",
    "add table inet nats_agent { flags dormant; }",
];

/// What changes it by hand, and the place and words that have to be told.
const EDITS: &[(&str, &str, &str)] = &[
    ("insert rule inet nats_agent input accept", "chain input", "accept"),
    ("insert rule inet nats_agent RULES tcp dport 4222 accept", "chain RULES", "tcp dport 4222 accept"),
    ("flush chain inet nats_agent RULES", "chain RULES", "drop"),
    ("add element inet nats_agent RULES_client4 { 10.77.0.0/16 }", "set RULES_client4", "10.77.0.0/16"),
    ("delete element inet nats_agent RULES_client4 { 10.1.0.0/16 }", "set RULES_client4", "10.1.0.0/16"),
    ("add chain inet nats_agent mine", "chain mine", "a chain of 0 rules"),
    ("add set inet nats_agent mine { type ipv4_addr; }", "set mine", "a set of ipv4_addr"),
    ("add counter inet nats_agent mine", "table", "counter mine"),
    ("add chain inet nats_agent input { policy drop; }", "chain input", "policy drop"),
];

/// Rules of others, and what has to be said of them.
const FOREIGN: &[(&str, &str)] = &[
    (
        "table inet hostfw { chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }",
        "inet hostfw input: policy drop",
    ),
    (
        "table ip blocker { chain guard { type filter hook input priority 10; policy accept; tcp dport { 4000-5000 } drop; }; }",
        "ip blocker guard: tcp dport",
    ),
    (
        "table ip6 early { chain pre { type filter hook prerouting priority -150; policy accept; tcp dport 8442 reject; }; }",
        "ip6 early pre: tcp dport 8442 reject",
    ),
    (
        "table inet zones { chain web { tcp dport 4222 drop; }; chain input { type filter hook input priority 5; policy accept; jump web; }; }",
        "inet zones input: tcp dport 4222 drop",
    ),
    (
        "table inet bans { chain input { type filter hook input priority 5; policy accept; ip saddr 192.0.2.77 drop; }; }",
        "",
    ),
];

pub(super) fn foreign_hands(rounds: u64, pair: &Pair) -> Result<Vec<Row>> {
    let state = tempfile::tempdir()?;
    let mut section = intents::plain(HOST4);
    section.firewall.clients = vec!["10.1.0.0/16".parse()?];
    let rules = Reach { cluster: &section, gateway: None, agent_port: AGENT_PORT }.rules();
    let chains = Table::of(Some(&rules), None).chains;
    let chain = chains.into_keys().find(|name| name != "input").context("rules have a chain")?;
    with_firewall(pair, state.path(), async |firewall| establish(firewall, &rules).await)?;
    let (mut rows, holes) = (Vec::new(), rounds * HOLES.len() as u64);
    let (mut repaired, mut named, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    with_firewall(pair, state.path(), async |firewall| {
        for round in 0..holes {
            let (kept, took, by) = {
                let text = HOLES[round as usize % HOLES.len()].replace("RULES", &chain);
                hole(firewall, pair, &text).await?
            };
            longest = longest.max(took);
            if let Kept::Reloaded { by: Some(author), .. } = &kept
                && author.program == "nft"
                && author.pid == by
            {
                named += 1;
            }
            repaired += u64::from(
                matches!(kept, Kept::Reloaded { .. }) && seen(firewall, &rules).await?.table.is_empty(),
            );
        }
        Ok(())
    })?;
    rows.push(Row::exactly("tables flushed, deleted or opened by others and loaded again", repaired, holes));
    rows.push(Row::exactly("of them with the process that did it", named, holes));
    rows.push(Row::at_most(
        "seconds for the longest",
        (longest.as_secs_f64() * 1000.0).round() / 1000.0,
        REPAIRED_BY.as_secs_f64(),
    ));
    let (mut told, mut undone, mut said, mut misjudged) = (0, 0, 0, Vec::new());
    with_firewall(pair, state.path(), async |firewall| {
        for (edit, place, words) in EDITS {
            let (edit, place) = (edit.replace("RULES", &chain), place.replace("RULES", &chain));
            pair.host.nft(&edit)?;
            let table = seen(firewall, &rules).await?.table;
            let is_it = |side: &Option<String>| side.as_ref().is_some_and(|text| text.contains(words));
            let is_told =
                table.iter().any(|one| one.place == place && (is_it(&one.found) || is_it(&one.desired)));
            if !is_told {
                misjudged.push(format!("`{edit}` is told as {table:?}"));
            }
            told += usize::from(is_told);
            firewall.repair().await?;
            undone += usize::from(seen(firewall, &rules).await?.table.is_empty());
        }
        for (foreign, words) in FOREIGN {
            pair.host.nft(foreign)?;
            let foreign_drops = seen(firewall, &rules).await?.foreign;
            let texts: Vec<String> = foreign_drops
                .iter()
                .map(|drop| format!("{} {} {}: {}", drop.family, drop.table, drop.chain, drop.what))
                .collect();
            let is_said = if words.is_empty() {
                texts.is_empty()
            } else {
                texts.iter().any(|text| text.starts_with(words))
            };
            if !is_said {
                misjudged.push(format!("`{foreign}` is told as {texts:?}"));
            }
            said += usize::from(is_said);
            let mut parts = foreign.split(' ');
            let (family, table) = (parts.nth(1).unwrap_or_default(), parts.next().unwrap_or_default());
            pair.host.nft(&format!("delete table {family} {table}"))?;
        }
        Ok(())
    })?;
    rows.push(Row::exactly("kinds of edits by hand that are told by place and words", told, EDITS.len()));
    rows.push(Row::exactly("of them undone by a repair", undone, EDITS.len()));
    rows.push(Row::exactly("tables of others judged rightly, dropping or not", said, FOREIGN.len()));
    rows.extend(misjudged.into_iter().map(|one| Row::told("misjudged", one)));
    Ok(rows)
}

/// Has somebody make a hole, and the firewall kept as the agent keeps it: what was found, how long it took, and which
/// process made it.
async fn hole(firewall: &Firewall, pair: &Pair, text: &str) -> Result<(Kept, Duration, u32)> {
    let by = pair.host.nft(text)?;
    let begun = Instant::now();
    while begun.elapsed() < REPAIRED_BY {
        firewall.until_due().await;
        match firewall.keep().await? {
            Kept::Intact => {}
            kept => return Ok((kept, begun.elapsed(), by)),
        }
    }
    bail!("nobody noticed `{text}`")
}

async fn seen(firewall: &Firewall, rules: &FirewallRules) -> Result<FirewallSeen> {
    match firewall.observe(rules).await {
        FirewallObserved::Seen(seen) => Ok(*seen),
        other => bail!("the firewall cannot be looked at: {other:?}"),
    }
}
