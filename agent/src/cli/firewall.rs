//! `nats-agent firewall`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use host_state::firewall::FirewallRules;
use host_state::observed::{FirewallObserved, FirewallSeen};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::firewall;

use super::output;

/// Load or show the firewall of the managed ports.
///
/// Examples:
///   nats-agent firewall load
///   nats-agent firewall show
///   nats-agent firewall show --json | jq .seen.table
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Firewall {
    /// Directory that the agent keeps everything in.
    #[arg(long, default_value = super::STATE_DIR, env = "NATS_AGENT_STATE_DIR", global = true)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load the rules that were confirmed last, and nothing else: what a host does at boot, before its network is up.
    ///
    /// Rules that are on trial are not loaded. Without any confirmed rules our table is taken away.
    Load,
    /// Show the confirmed rules, the ones on trial, and where the loaded table differs. Needs the right to list rules.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Firewall {
    pub(super) fn run(self) -> Result<u8> {
        let Firewall { state_dir, command } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        runtime.block_on(async {
            let firewall = firewall::Firewall::open(Effects::default(), &state_dir);
            match command {
                Command::Load => load(&firewall).await,
                Command::Show { json } => show(&firewall, json).await,
            }
        })
    }
}

async fn load(firewall: &firewall::Firewall) -> Result<u8> {
    let loaded = firewall.load_confirmed().await?;
    output::say(&match loaded {
        Some(rules) => format!("loaded the confirmed firewall rules, sha256 {}", rules.hash()),
        None => "no firewall rules were confirmed yet: nothing is denied".to_owned(),
    })?;
    Ok(0)
}

async fn show(firewall: &firewall::Firewall, json: bool) -> Result<u8> {
    let confirmed = firewall.confirmed()?.unwrap_or(FirewallRules([].into()));
    let observed = firewall.observe(&confirmed).await;
    if json {
        output::say_json(&observed)?;
        return Ok(0);
    }
    match observed {
        FirewallObserved::Off => bail!("the firewall is off"),
        FirewallObserved::Unreadable { reason } => bail!("the firewall cannot be looked at: {reason}"),
        FirewallObserved::Seen(seen) => output::say(shown(&seen).trim_end())?,
    }
    Ok(0)
}

fn shown(seen: &FirewallSeen) -> String {
    let FirewallSeen { confirmed, trial, table, foreign } = seen;
    let mut text = match confirmed {
        Some(confirmed) => rules("confirmed", confirmed),
        None => "confirmed: nothing yet, so nothing is denied\n".to_owned(),
    };
    if let Some(trial) = trial {
        let left = trial.remaining_ms.div_ceil(1000);
        text.push_str(&rules(&format!("on trial as {} for another {left} s", trial.id), &trial.rules));
    }
    if table.is_empty() {
        text.push_str("the loaded table is as it should be\n");
    }
    for difference in table {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        let (desired, found) = (side(&difference.desired), side(&difference.found));
        text.push_str(&format!("{}: loaded {found}, should be {desired}\n", difference.place));
    }
    for drop in foreign {
        let ports: Vec<String> = drop.ports.values().map(ToString::to_string).collect();
        text.push_str(&format!(
            "chain {} of table {} {} drops port {} too: {}\n",
            drop.chain,
            drop.family,
            drop.table,
            ports.join(", "),
            drop.what
        ));
    }
    text
}

fn rules(title: &str, rules: &FirewallRules) -> String {
    let mut text = format!("{title}, sha256 {}\n", rules.hash());
    for (name, rule) in &rules.0 {
        text.push_str(&format!("  {:<8} {rule}\n", name.as_str()));
    }
    text
}

#[cfg(test)]
mod tests {
    use host_state::firewall::{ManagedPort, Networks, PortRule, TableDifference};
    use host_state::observed::TrialSeen;

    use super::*;

    #[test]
    fn everything_that_a_person_asks_about_is_shown() {
        let rules =
            |from: Networks| FirewallRules([(ManagedPort::Client, PortRule { port: 4222, from })].into());
        let seen = FirewallSeen {
            confirmed: Some(rules(Networks::everyone())),
            trial: Some(TrialSeen {
                id: "7f".to_owned(),
                remaining_ms: 59_001,
                rules: rules(Networks::nobody()),
            }),
            table: vec![TableDifference {
                place: "table inet nats_agent".to_owned(),
                desired: Some("loaded".to_owned()),
                found: None,
            }],
            foreign: Vec::new(),
        };
        let text = shown(&seen);
        for line in [
            "  client   port 4222 from everywhere",
            "  client   port 4222 from this host only",
            "table inet nats_agent: loaded nothing, should be loaded",
        ] {
            assert!(text.lines().any(|one| one == line), "{text}");
        }
        assert!(text.contains("on trial as 7f for another 60 s"), "{text}");
    }
}
