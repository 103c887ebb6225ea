//! A system under test: enrolled hosts and a configuration that a test changes as a value.
//!
//! The configuration is Terraform's JSON form, so that a test says in one line what it changes in it. What goes wrong
//! here panics, as in a test.
#![expect(clippy::unwrap_used, reason = "a panic is how a scenario fails")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rig::agents::Host;
use crate::rig::binaries;
use crate::rig::terraform::{Action, Change, Installation, Outcome, Run, Workspace};
use crate::rig::wait::wait_for;
use crate::scenario::supercluster::{AUTHORITY, Supercluster};
use crate::scenario::traffic;
use identity::{Authority, Generations, RootKey};
use serde_json::{Value, json};

/// How long anything may take that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Until every host has the claims that one has: a sweep of an agent (60 s), the 10 s by which agents ask their peers at
/// different times, and what a busy machine adds. Source: agent/src/front/peers.rs.
pub const SWEEP: Duration = Duration::from_secs(90);
/// Where a server is asked about itself.
const MONITOR_PORT: u16 = 8222;

/// Account and name of the user in the first configuration.
const FIRST_USER: (&str, &str) = ("orders", "service");

/// One test's system. Dropping it ends everything.
#[derive(Debug)]
pub struct System {
    /// Agents and terraform.
    pub supercluster: Supercluster,
    /// What `main.tf.json` will hold; see [`System::write`].
    pub configuration: Value,
    /// Other tests wait for this one's end; absent when they need not.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl System {
    /// Hosts in these clusters, enrolled, with the first configuration: one account, user and stream; a gateway when
    /// there are several clusters. No agent runs yet.
    pub fn lay_out(clusters: &[(&str, usize)]) -> System {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        System { _turn: Some(turn), ..System::lay_out_beside(clusters) }
    }

    /// As [`System::lay_out`], beside other systems of the same process.
    pub fn lay_out_beside(clusters: &[(&str, usize)]) -> System {
        let mut supercluster = Supercluster::bare(clusters, Installation::DevOverride).unwrap();
        supercluster.terraform.set_timeout(Duration::from_secs(400));
        let configuration = configuration(&supercluster);
        let system = System { supercluster, configuration, _turn: None };
        let authority = system.authority();
        for host in system.hosts() {
            let enrollment = authority.enrollment(host.name().parse().unwrap(), 1);
            host.enroll(&enrollment.to_text()).unwrap();
        }
        system.write();
        system
    }

    /// As [`System::lay_out`], with all agents running and everything applied.
    pub fn running(clusters: &[(&str, usize)]) -> System {
        let mut system = System::lay_out(clusters);
        system.supercluster.fleet.start().unwrap();
        system.apply();
        system
    }

    /// A workspace of somebody else, with the same key, a copy of the state, and a `configuration` of their own.
    ///
    /// # Errors
    /// When it cannot be laid out.
    pub fn somebody_elses(&self, configuration: &Value) -> anyhow::Result<Workspace> {
        let mut workspace = Workspace::new(&binaries::provider()?, Installation::DevOverride)?;
        workspace.set_variable("root_key", &self.supercluster.root_key);
        workspace.set_timeout(Duration::from_secs(400));
        workspace.write("terraform.tfstate", &self.supercluster.terraform.state_text()?)?;
        workspace.write("main.tf.json", &configuration.to_string())?;
        Ok(workspace)
    }

    /// The keys that everything derives from.
    pub fn authority(&self) -> Authority {
        let root: RootKey = self.supercluster.root_key.parse().unwrap();
        Authority::derive(&root, AUTHORITY.parse().unwrap(), Generations::default()).unwrap()
    }

    /// All hosts, in the order of their clusters.
    pub fn hosts(&self) -> &[Host] {
        self.supercluster.fleet.hosts()
    }

    /// The host called `name`.
    pub fn host(&self, name: &str) -> &Host {
        self.supercluster.fleet.host(name).unwrap()
    }

    /// The host called `name`, to start or stop its agent.
    pub fn host_mut(&mut self, name: &str) -> &mut Host {
        self.supercluster.fleet.host_mut(name).unwrap()
    }

    /// A resource of the configuration, to be changed; written by [`System::write`].
    pub fn resource(&mut self, kind: &str, name: &str) -> &mut Value {
        &mut self.configuration["resource"][kind][name]
    }

    /// Takes a resource out of the configuration.
    pub fn forget(&mut self, kind: &str, name: &str) {
        let resources = self.configuration["resource"].as_object_mut().unwrap();
        let left = resources[kind].as_object_mut().unwrap();
        left.remove(name).unwrap();
        if left.is_empty() {
            resources.remove(kind);
        }
    }

    /// Puts the configuration where terraform reads it.
    pub fn write(&self) {
        let text = serde_json::to_string_pretty(&self.configuration).unwrap();
        self.supercluster.terraform.write("main.tf.json", &text).unwrap();
    }

    /// Applies the configuration, which must succeed.
    pub fn apply(&self) -> Run {
        self.write();
        self.supercluster.terraform.apply().unwrap().succeeded().unwrap()
    }

    /// Applies the configuration, which must fail. Returns what a user reads.
    pub fn apply_fails(&self) -> String {
        self.write();
        let run = self.supercluster.terraform.apply().unwrap();
        assert_ne!(run.code, 0, "it succeeded: {run}");
        run.error_text()
    }

    /// Plans the configuration.
    pub fn plan(&self) -> Run {
        self.write();
        self.supercluster.terraform.plan().unwrap()
    }

    /// Plans the configuration; there must be nothing to do.
    pub fn plan_is_empty(&self) -> Run {
        self.plan().unchanged().unwrap()
    }

    /// Plans the configuration into a file. Returns what is to change and, by resource, what each holds now.
    pub fn planned(&self) -> (Run, BTreeMap<String, Value>) {
        self.write();
        let run = self.supercluster.terraform.plan_to("tfplan").unwrap();
        assert_ne!(run.outcome(), Outcome::Failed, "{run}");
        let shown = self.supercluster.terraform.show(Some("tfplan")).unwrap();
        let changes = shown["resource_changes"].as_array().cloned().unwrap_or_default();
        let before = |change: &Value| {
            (change["address"].as_str().unwrap().to_owned(), change["change"]["before"].clone())
        };
        (run, changes.iter().map(before).collect())
    }

    /// What a plan to be run now would say has drifted, with what it would change.
    pub fn drift(&self) -> (Vec<Change>, Vec<String>) {
        let (run, before) = self.planned();
        let lines =
            before.values().flat_map(|values| values["drift"].as_array().cloned().unwrap_or_default());
        (run.changes, lines.map(|line| line.as_str().unwrap().to_owned()).collect())
    }

    /// Credentials of the user `service`.
    pub fn credentials(&self) -> PathBuf {
        self.supercluster.credentials(FIRST_USER.0, FIRST_USER.1).unwrap()
    }

    /// Writes messages through a host's server, as the user `service` of `orders`.
    pub fn publish(&self, host: &str, subject: &str, count: u64) {
        self.publish_as(FIRST_USER, host, subject, count);
    }

    /// Reads a stream back through a host's server, as the user `service` of `orders`.
    pub fn read(&self, host: &str, stream: &str, count: u64) {
        self.read_as(FIRST_USER, host, stream, count);
    }

    /// As [`System::publish`], as another user: account and name.
    pub fn publish_as(&self, user: (&str, &str), host: &str, subject: &str, count: u64) {
        let credentials = self.supercluster.credentials(user.0, user.1).unwrap();
        let host = self.host(host);
        traffic::talk(async {
            traffic::publish(&traffic::connect(host, &credentials).await?, subject, count).await
        })
        .unwrap();
    }

    /// As [`System::read`], as another user: account and name.
    pub fn read_as(&self, user: (&str, &str), host: &str, stream: &str, count: u64) {
        let credentials = self.supercluster.credentials(user.0, user.1).unwrap();
        let host = self.host(host);
        traffic::talk(async {
            traffic::read(&traffic::connect(host, &credentials).await?, stream, None, count).await
        })
        .unwrap();
    }
}

/// What a host's server says at its monitoring port; an error when none answers.
pub fn monitor(host: &Host, path: &str) -> anyhow::Result<Value> {
    monitor_at(host.address(), path)
}

/// As [`monitor`], by the host's address.
pub fn monitor_at(address: Ipv4Addr, path: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect((address, MONITOR_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow::anyhow!("no HTTP"))?;
    Ok(serde_json::from_str(body)?)
}

/// What a host's server says at its monitoring port, once it answers.
pub fn varz(host: &Host) -> Value {
    wait_for("the monitoring port", DEADLINE, || monitor(host, "/varz").map(Some)).unwrap()
}

/// One change in place.
pub fn update(address: &str) -> Change {
    Change { address: address.to_owned(), action: Action::Update }
}

/// Checks that a text holds all words, in any order and case.
#[track_caller]
pub fn tells(text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    let missing: Vec<_> = words.iter().filter(|word| !lower.contains(&word.to_lowercase())).collect();
    assert!(missing.is_empty(), "{missing:?} missing in: {text}");
}

/// What every test starts from. Settling is short, because the machine is one.
fn configuration(supercluster: &Supercluster) -> Value {
    let mut clusters: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for host in supercluster.fleet.hosts() {
        let node = json!({
            "agent": host.agent_address().to_string(),
            "address": host.address().to_string(),
            "store_dir": host.store_dir(),
        });
        clusters.entry(host.cluster()).or_default().insert(host.name(), node);
    }
    let gateway = clusters.len() > 1;
    let seeds: Vec<_> =
        supercluster.fleet.hosts().iter().map(|host| host.agent_address().to_string()).collect();
    let first = supercluster.fleet.hosts()[0].cluster().to_owned();
    let cluster = |(name, nodes): (&&str, &BTreeMap<&str, Value>)| {
        let cluster = json!({
            "authority": "${nats_authority.acme.trust}",
            "name": name,
            "profile": "development",
            "nodes": nodes,
            "jetstream": { "max_memory": "64MB", "max_storage": "512MB", "store_dir": "/data/jetstream", "sync": "2m" },
            "lame_duck": { "duration": "30s", "grace_period": "1s" },
            "gateway": gateway,
            "rollout": { "settle": "1s" },
            "deletion_protection": false,
            "timeouts": { "create": "2m", "update": "5m", "delete": "2m" },
        });
        ((*name).to_owned(), cluster)
    };
    let declared: BTreeMap<String, Value> = clusters.iter().map(cluster).collect();
    let members: BTreeMap<&str, String> =
        clusters.keys().map(|name| (*name, format!("${{nats_cluster.{name}.members}}"))).collect();
    let system = if gateway {
        "${nats_gateway.global.id}".to_owned()
    } else {
        format!("${{nats_cluster.{first}.id}}")
    };
    let replicas = clusters[first.as_str()].len().min(3);
    let mut configuration = json!({
        "variable": { "root_key": { "type": "string", "ephemeral": true, "sensitive": true } },
        "provider": { "nats": { "agents": seeds, "root_key": "${var.root_key}" } },
        "resource": {
            "nats_authority": { "acme": { "name": AUTHORITY } },
            "nats_cluster": declared,
            "nats_account": { "orders": {
                "system": system,
                "name": "orders",
                "jetstream": { "max_storage": "256MB", "max_memory": "16MB" },
                "deletion_protection": false,
            } },
            "nats_user": { "service": {
                "account": "${nats_account.orders.id}",
                "name": "service",
                "publish": { "allow": ["orders.>", "$JS.API.>", "$JS.ACK.>"] },
                "subscribe": { "allow": ["orders.>", "_INBOX.>"] },
            } },
            "nats_stream": { "orders": {
                "account": "${nats_account.orders.id}",
                "name": "ORDERS",
                "subjects": ["orders.>"],
                "replicas": replicas,
                "max_bytes": "64MB",
                "placement": { "cluster": first },
                "deletion_protection": false,
            } },
        },
    });
    if gateway {
        configuration["resource"]["nats_gateway"]["global"] = json!({
            "name": "global",
            "clusters": members,
            "rollout": { "settle": "1s" },
            "deletion_protection": false,
            "timeouts": { "create": "2m", "update": "5m", "delete": "2m" },
        });
    }
    configuration
}
