//! `nats-agent preflight`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use host_state::document::Profile;
use host_state::layout;
use host_state::preflight::{
    Check, DEFAULT_CONNECTIONS, Facts, Preflight as Checks, Verdict, Wanted, preflight,
};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::nats::proc_files;
use nats_agent::parts::preflight::tree::Tree;
use nats_agent::parts::preflight::{LimitOf, look, probe};
use nats_config::ByteSize;

use super::{EXIT_REFUSED, STATE_DIR, output};

/// Check whether this host is fit to keep JetStream data: the store's disk, its latency, and the host's limits.
///
/// Needs no agent, no enrolment and no root; what it may not look at is said and is a warning. The latency probe writes
/// 3,000 times 2,300 bytes to a file of its own in the store directory, or above it while there is none, and takes some
/// seconds, at most a minute. Its result is kept in the state directory where that may be written, and later shown in
/// plans.
///
/// The file `nats-agent-ballast` in a store holds nothing but room: when the disk is full, delete it, start the server,
/// remove data; the next apply makes it anew.
///
/// Ends with 2 when something is refused, which only the profile `production` does, and with 0 when all passes or warns.
///
/// Examples:
///   nats-agent preflight --store-dir /data/jetstream --max-storage 200GB
///   nats-agent preflight --no-probe --json | jq '.checks[] | select(.verdict != "pass")'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Preflight {
    /// The store directory; need not be there yet.
    #[arg(long, value_name = "DIRECTORY", default_value = "/data/jetstream")]
    store_dir: PathBuf,
    /// What JetStream may store, like `200GB`.
    #[arg(long, value_name = "SIZE")]
    max_storage: Option<ByteSize>,
    /// Which rules hold.
    #[arg(long, value_enum, default_value_t = ProfileName::Production)]
    profile: ProfileName,
    /// The store may lie on the root file system, as with `jetstream.store_on_root = true`.
    #[arg(long)]
    store_on_root: bool,
    /// Ports of nats-server and its agent, where they are not the usual ones.
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_values_t = [
        layout::CLIENT_PORT, layout::CLUSTER_PORT, layout::GATEWAY_PORT, layout::MONITOR_PORT, layout::METRICS_PORT,
        layout::AGENT_PORT,
    ])]
    ports: Vec<u16>,
    /// Do not write to the disk: the newest kept result counts.
    #[arg(long)]
    no_probe: bool,
    /// State directory of the agent, for the kept result and for its running server.
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR, env = "NATS_AGENT_STATE_DIR")]
    state_dir: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileName {
    /// Refuses what loses data or acknowledgements.
    Production,
    /// Only warns.
    Development,
}

impl Preflight {
    pub(super) fn run(self) -> Result<u8> {
        if !self.store_dir.is_absolute() {
            bail!("`{}` is no absolute path: nats-server is started elsewhere", self.store_dir.display());
        }
        let found = self.checks();
        if self.json {
            output::say_json(&found)?;
        } else {
            output::say(table(&found).trim_end())?;
        }
        Ok(if found.verdict() == Verdict::Refuse { EXIT_REFUSED } else { 0 })
    }

    fn checks(&self) -> Checks {
        let server = proc_files::find_server(&self.state_dir, layout::CONFIG_PATH);
        let limit = server.map_or(LimitOf::Nobody, |server| LimitOf::Server(server.pid));
        let tree = Tree::default();
        let probe = if self.no_probe { probe::kept(&self.state_dir) } else { self.probe(&tree) };
        let facts: Facts = look(&tree, &self.store_dir, &limit, probe);
        let wanted = Wanted {
            profile: match self.profile {
                ProfileName::Production => Profile::Production,
                ProfileName::Development => Profile::Development,
            },
            max_storage: self.max_storage.map(ByteSize::bytes),
            on_root: self.store_on_root,
            uid: None,
            ports: self.ports.iter().copied().collect(),
            connections: DEFAULT_CONNECTIONS,
            assets: 0,
        };
        preflight(&wanted, &facts)
    }

    fn probe(&self, tree: &Tree) -> Result<host_state::preflight::Probe, String> {
        let effects = Effects::default();
        let probe = probe::run(&effects, tree, &self.store_dir, probe::MOST_TIME)
            .map_err(|error| host_state::chain(&error))?;
        if is_there(&self.state_dir)
            && let Err(error) = probe::keep(&effects, &self.state_dir, &probe)
        {
            tracing::warn!(error = host_state::chain(&error), "the result of the probe is not kept");
        }
        Ok(probe)
    }
}

fn is_there(directory: &Path) -> bool {
    directory.is_dir()
}

/// One line a check, and what to do below each that does not pass.
fn table(found: &Checks) -> String {
    let width = found.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, value, threshold, verdict, remedy } in &found.checks {
        text.push_str(&format!("{verdict:<6}  {name:<width$}  {value}\n"));
        if let Some(remedy) = remedy {
            text.push_str(&format!("{:6}  {:width$}  wanted: {threshold}\n", "", ""));
            text.push_str(&format!("{:6}  {:width$}  {remedy}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_check_and_says_what_to_do() {
        let check = |name: &str, verdict, remedy: Option<&str>| Check {
            name: name.to_owned(),
            value: "v".to_owned(),
            threshold: "t".to_owned(),
            verdict,
            remedy: remedy.map(str::to_owned),
        };
        let found = Checks {
            directory: "/data".to_owned(),
            profile: Profile::Production,
            checks: vec![check("disk", Verdict::Pass, None), check("usage", Verdict::Refuse, Some("do"))],
        };
        assert_eq!(
            table(&found),
            "pass    disk   v\nrefuse  usage  v\n               wanted: t\n               do\n"
        );
    }
}
