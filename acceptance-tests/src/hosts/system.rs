//! The supercluster that checks work on: nine hosts that user data brings in, one configuration, one `terraform apply`.
//!
//! Terraform makes each host's enrolment, hands its script to the machine, as a cloud hands over user data, and goes on to
//! the clusters, all in one apply. The configuration is Terraform's JSON form, so that a check says in one line what it
//! changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::hosts::execute::run;
use crate::rig::hosts::network::{Network, OPERATOR};
use crate::rig::hosts::tree::NATS_SERVER;
use crate::rig::hosts::{Host, Hosts, SITES};
use crate::rig::loopback::{AGENT_PORT, Folder};
use crate::rig::terraform::{Installation, Run, Running, Workspace};
use crate::rig::wait::wait_until;
use crate::scenario::supercluster::{AUTHORITY, random_root_key};
use crate::scenario::{EDITED, steady, traffic};

/// How long one run of terraform may take.
const TERRAFORM_TIMEOUT: Duration = Duration::from_secs(900);
/// How long servers may take until they all run again and nothing is left to plan.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Where every host keeps its messages: on its own disk.
pub(super) const STORE: &str = "/data/jetstream";
/// File of the plan that [`System::told`] reads.
const TOLD_PLAN: &str = "told.plan";
/// End of the title of the warning about a host that could not be looked at.
/// Source: provider/src/resources/cluster/look.rs.
const SILENT: &str = "` did not answer";
/// Account and name of the declared user.
const USER: (&str, &str) = ("orders", "service");

/// Terraform's side of the supercluster.
#[derive(Debug)]
pub struct System {
    /// The workspace; what is in it is the one state there is.
    pub terraform: Workspace,
    /// What `main.tf.json` will hold; see [`System::apply`].
    pub configuration: Value,
    root_key: String,
    folder: Folder,
}

impl System {
    /// Declares everything on `hosts`; runs nothing.
    ///
    /// # Errors
    /// When a folder cannot be written or terraform is missing.
    pub fn declare(hosts: &Hosts, provider: &Path) -> Result<System> {
        let folder = Folder::new("hosts")?;
        fs::create_dir(folder.path().join("user-data")).context("make a folder for user data")?;
        let mut terraform = Workspace::new(provider, Installation::DevOverride)?;
        let root_key = random_root_key()?;
        terraform.set_variable("root_key", &root_key);
        terraform.set_timeout(TERRAFORM_TIMEOUT);
        let configuration = configuration(hosts, &folder.path().join("user-data"));
        Ok(System { terraform, configuration, root_key, folder })
    }

    /// A resource of the configuration, to be changed.
    pub fn resource(&mut self, kind: &str, name: &str) -> &mut Value {
        &mut self.configuration["resource"][kind][name]
    }

    /// The base64 root key.
    pub fn root_key(&self) -> &str {
        &self.root_key
    }

    /// Applies the configuration, which must succeed; hosts whose user data comes meanwhile run it.
    ///
    /// # Errors
    /// With what a user reads when it fails.
    pub fn apply(&self, hosts: &Hosts) -> Result<Run> {
        self.try_apply(hosts)?.succeeded()
    }

    /// As [`System::apply`], however it ends.
    ///
    /// # Errors
    /// When terraform cannot be run or a host's user data fails.
    pub fn try_apply(&self, hosts: &Hosts) -> Result<Run> {
        self.carry_out(hosts, &["apply", "-json", "-input=false", "-auto-approve"])
    }

    /// Makes the enrolments and has the hosts run their user data; claims none.
    ///
    /// # Errors
    /// With what a user reads when it fails.
    pub fn enroll(&self, hosts: &Hosts) -> Result<()> {
        let words = ["apply", "-json", "-input=false", "-auto-approve", "-target=terraform_data.machine"];
        self.carry_out(hosts, &words)?.succeeded()?;
        self.bring_in(hosts)
    }

    fn carry_out(&self, hosts: &Hosts, words: &[&str]) -> Result<Run> {
        self.write()?;
        let mut running = self.terraform.start(words)?;
        let deadline = Instant::now() + TERRAFORM_TIMEOUT;
        while running.is_running()? && Instant::now() < deadline {
            self.bring_in(hosts)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        running.finish(deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))
    }

    /// A plan of the configuration.
    ///
    /// # Errors
    /// When terraform cannot be run.
    pub fn plan(&self) -> Result<Run> {
        self.write()?;
        self.terraform.plan()
    }

    /// What the next plan says is adrift or found on hosts: each line of `drift` and `findings` that a refresh sees.
    ///
    /// # Errors
    /// When the plan fails, or a host did not answer it: nothing is then known of what it could tell.
    pub fn told(&self) -> Result<Told> {
        self.write()?;
        let file = self.terraform.module().join(TOLD_PLAN);
        if file.exists() {
            fs::remove_file(&file).context("remove an earlier plan")?;
        }
        let run = self.terraform.plan_to(TOLD_PLAN)?.succeeded()?;
        ensure!(
            run.diagnostics.iter().all(|one| !one.summary.ends_with(SILENT)),
            "drift of a host is not known: {}",
            run.warning_text()
        );
        let plan = self.terraform.show(Some(TOLD_PLAN)).with_context(|| run.to_string())?;
        let mut lines = Vec::new();
        for list in ["resource_drift", "resource_changes"] {
            for change in plan[list].as_array().into_iter().flatten() {
                let side = if list == "resource_drift" { "after" } else { "before" };
                for field in ["drift", "findings"] {
                    let entries = change["change"][side][field].as_array().into_iter().flatten();
                    lines.extend(entries.filter_map(Value::as_str).map(str::to_owned));
                }
            }
        }
        lines.sort();
        lines.dedup();
        Ok(Told { lines, is_empty: run.changes.is_empty() })
    }

    /// Publishes as the declared user through the server of `host`, each message acknowledged.
    ///
    /// # Errors
    /// When one is not.
    pub fn publish(&self, host: &Host, subject: &str, count: u64) -> Result<()> {
        let credentials = self.credentials(host)?;
        traffic::talk(async {
            let client = traffic::connect_to(host.address(), &ca(host), &credentials).await?;
            traffic::publish(&client, subject, count).await
        })
    }

    /// Reads the first messages of one subject of a stream as the declared user through the server of `host`. Gives how
    /// many came.
    ///
    /// # Errors
    /// When they do not come, or come changed.
    pub fn read(&self, host: &Host, stream: &str, subject: &str, count: u64) -> Result<u64> {
        let credentials = self.credentials(host)?;
        traffic::talk(async {
            let client = traffic::connect_to(host.address(), &ca(host), &credentials).await?;
            traffic::read(&client, stream, Some(subject), count).await
        })
    }

    /// Credentials of the declared user, as an operator makes them; the program is the one that is installed on `host`.
    ///
    /// # Errors
    /// When `nats-agent creds` fails.
    pub fn credentials(&self, host: &Host) -> Result<PathBuf> {
        let file = self.folder.path().join("service.creds");
        if !file.exists() {
            let mut command = Command::new(host.root().join("usr/bin/nats-agent"));
            command.args([
                "creds",
                "--authority",
                AUTHORITY,
                "--account",
                USER.0,
                "--user",
                USER.1,
                "--output",
            ]);
            run(command.arg(&file).env("NATS_ROOT_KEY", &self.root_key))?;
        }
        Ok(file)
    }

    /// Starts an apply of the configuration and waits for nothing. No host is brought in by it.
    ///
    /// # Errors
    /// When terraform cannot be started.
    pub fn start_apply(&self) -> Result<Running> {
        self.write()?;
        self.terraform.start(&["apply", "-json", "-input=false", "-auto-approve"])
    }

    /// Every text in a stream and how often it is there, read through the server of `host`.
    ///
    /// # Errors
    /// When they cannot all be read.
    pub fn stored(&self, host: &Host, stream: &str) -> Result<BTreeMap<String, u64>> {
        let credentials = self.credentials(host)?;
        traffic::talk(async {
            let client = traffic::connect_to(host.address(), &ca(host), &credentials).await?;
            steady::stored(&client, stream).await
        })
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.configuration).context("print the configuration")?;
        self.terraform.write("main.tf.json", &text)
    }

    /// Has hosts run the user data that has come for them, once each.
    fn bring_in(&self, hosts: &Hosts) -> Result<()> {
        for host in hosts.all() {
            let script = self.folder.path().join("user-data").join(host.name());
            let Ok(text) = fs::read(&script) else { continue };
            fs::remove_file(&script).context("take the user data")?;
            host.run_with(&["sh", "-s"], &text)?;
        }
        Ok(())
    }
}

/// What a plan says of hosts.
#[derive(Debug, Clone)]
pub struct Told {
    /// Drift and findings, a line each.
    pub lines: Vec<String>,
    /// Whether it changes nothing.
    pub is_empty: bool,
}

impl Told {
    /// Whether some line tells of `host` and holds all of these words.
    pub fn holds(&self, host: &str, words: &[&str]) -> bool {
        let start = format!("{host}: ");
        let is_it = |line: &String| line.starts_with(&start) && words.iter().all(|word| line.contains(word));
        self.lines.iter().any(is_it)
    }

    /// The lines, but for those of edits that were undone: an agent keeps these until the next order to its host, and
    /// an apply that has nothing to do there gives none.
    pub fn without_notes(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.ends_with(EDITED)).collect()
    }
}

/// The CA that clients of a host's server trust, as the host has it.
fn ca(host: &Host) -> PathBuf {
    host.root().join("var/lib/nats-agent").join(host_state::layout::CA_PATH)
}

/// What every check starts from.
fn configuration(hosts: &Hosts, user_data: &Path) -> Value {
    let mut clusters = serde_json::Map::new();
    for site in SITES {
        let own = hosts.all().iter().filter(|host| host.site() == site);
        let nodes: BTreeMap<&str, Value> = own.map(|host| (host.name(), node(host))).collect();
        let cluster = json!({
            "depends_on": ["terraform_data.machine"],
            "authority": "${nats_authority.acme.trust}",
            "name": site,
            "profile": "production",
            "nodes": nodes,
            "server": { "path": NATS_SERVER },
            "jetstream": {
                "max_memory": "64MB", "max_storage": "1GB", "store_dir": STORE, "sync": "always", "unique_tag": "rack:",
            },
            "lame_duck": { "duration": "30s", "grace_period": "1s" },
            "firewall": { "clients": ["10.77.0.0/16"], "metrics": [format!("{}/32", OPERATOR.0)] },
            "gateway": true,
            "rollout": { "settle": "2s" },
            "deletion_protection": false,
            "timeouts": { "create": "10m", "update": "20m", "delete": "10m" },
        });
        clusters.insert(site.to_owned(), cluster);
    }
    let members: BTreeMap<&str, String> =
        SITES.iter().map(|site| (*site, format!("${{nats_cluster.{site}.members}}"))).collect();
    let names: Vec<&str> = hosts.all().iter().map(Host::name).collect();
    let seeds: Vec<String> = hosts.all().iter().map(agent_address).collect();
    json!({
        "variable": { "root_key": { "type": "string", "ephemeral": true, "sensitive": true } },
        "provider": { "nats": { "agents": seeds, "root_key": "${var.root_key}" } },
        "resource": {
            "nats_authority": { "acme": { "name": AUTHORITY } },
            "nats_host_enrollment": { "host": {
                "for_each": format!("${{toset({})}}", json!(names)),
                "authority": "${nats_authority.acme.trust}",
                "name": "${each.key}",
            } },
            "terraform_data": { "machine": {
                "for_each": "${nats_host_enrollment.host}",
                "input": "${each.value.id}",
                "provisioner": [{ "local-exec": {
                    "command": format!("umask 077; printf '%s' \"$SCRIPT\" > {0}/.$NAME; mv {0}/.$NAME {0}/$NAME", user_data.display()),
                    "environment": { "NAME": "${each.key}", "SCRIPT": "${each.value.script}" },
                } }],
            } },
            "nats_cluster": clusters,
            "nats_gateway": { "global": {
                "name": "global",
                "clusters": members,
                "rollout": { "settle": "2s" },
                "deletion_protection": false,
                "timeouts": { "create": "10m", "update": "20m", "delete": "10m" },
            } },
            "nats_account": { "orders": {
                "system": "${nats_gateway.global.id}",
                "name": USER.0,
                "jetstream": { "max_storage": "512MB", "max_memory": "16MB" },
                "deletion_protection": false,
            } },
            "nats_user": { "service": {
                "account": "${nats_account.orders.id}",
                "name": USER.1,
                "publish": { "allow": ["orders.>", "$JS.API.>", "$JS.ACK.>"] },
                "subscribe": { "allow": ["orders.>", "_INBOX.>"] },
            } },
            "nats_stream": { "orders": {
                "account": "${nats_account.orders.id}",
                "name": "ORDERS",
                "subjects": ["orders.>"],
                "replicas": 3,
                "max_bytes": "64MB",
                "placement": { "cluster": SITES[0] },
                "deletion_protection": false,
            } },
        },
    })
}

fn node(host: &Host) -> Value {
    json!({
        "agent": agent_address(host),
        "address": host.address().to_string(),
        "cluster_address": host.place().v4(Network::Cluster).to_string(),
        "tags": [format!("rack:{}", host.place().number)],
    })
}

fn agent_address(host: &Host) -> String {
    format!("{}:{AGENT_PORT}", host.address())
}

/// Waits until every server runs, every host answers a plan, and that has nothing to do and nothing to tell.
///
/// # Errors
/// When that takes too long; the text says what was missing last.
pub(super) fn wait_settled(system: &System, hosts: &Hosts) -> Result<()> {
    wait_until("servers that run and a plan that is empty", SETTLE_TIMEOUT, || {
        ensure_serving(hosts)?;
        let told = system.told()?;
        let left = told.without_notes();
        ensure!(told.is_empty && left.is_empty(), "the plan has something to do or tells: {left:?}");
        Ok(true)
    })
}

/// How many hosts' nats-servers run as their own user, which are all.
///
/// # Errors
/// Naming the first host where that is not so.
pub(super) fn ensure_serving(hosts: &Hosts) -> Result<usize> {
    let mut count = 0;
    for host in hosts.all() {
        let pid = host.main_pid("nats-server.service")?;
        let pid = pid.with_context(|| format!("nats-server does not run on {}", host.name()))?;
        let user = host.run(&["ps", "-o", "user=", "-p", &pid.to_string()])?;
        ensure!(user.trim() == "nats", "nats-server of {} runs as `{}`", host.name(), user.trim());
        count += 1;
    }
    Ok(count)
}
