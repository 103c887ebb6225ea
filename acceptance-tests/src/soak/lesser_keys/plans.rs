//! What real terraform plans and applies with a reader's credentials and with an account's key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Tried;
use crate::rig::binaries;
use crate::rig::terraform::{Installation, Outcome, Run, Workspace};
use crate::scenario::supercluster::AUTHORITY;
use crate::scenario::system::System;
use crate::scenario::traffic::{self, talk};

/// One change of each kind of resource, and what a person declares for it.
const CHANGES: [(&str, &str, &str); 6] = [
    ("nats_stream", "orders", r#"{ "max_age": "1h" }"#),
    ("nats_user", "service", r#"{ "subscribe": { "allow": ["orders.>"] } }"#),
    ("nats_account", "orders", r#"{ "limits": { "connections": 100 } }"#),
    ("nats_cluster", "east", r#"{ "rollout": { "settle": "2s" } }"#),
    ("nats_gateway", "global", r#"{ "rollout": { "settle": "2s" } }"#),
    ("nats_authority", "acme", r#"{ "generations": { "document": 2 } }"#),
];

/// `nats-agent creds --role ...` into a file of its own.
fn creds(system: &System, name: &str, role: &[&str]) -> Result<PathBuf> {
    let file = system.supercluster.fleet.folder().join(name);
    let mut command = Command::new(binaries::agent()?);
    command.args(["creds", "--authority", AUTHORITY, "--role"]).args(role).arg("--output").arg(&file);
    let output = command.env("NATS_ROOT_KEY", &system.supercluster.root_key).output().context("run creds")?;
    ensure!(
        output.status.success(),
        "`nats-agent creds` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(file)
}

/// Succeeds when the run failed with a text that holds all words.
fn refused(run: &Run, words: &[&str]) -> Result<(), String> {
    let text = run.error_text();
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(*word)).collect();
    if run.outcome() == Outcome::Failed && missing.is_empty() { Err(text) } else { Ok(()) }
}

fn told(result: Result<Run>) -> Result<(), String> {
    result.map(drop).map_err(|why| format!("{why:#}"))
}

/// A reader: everything plans, nothing applies.
pub(super) fn reader(system: &mut System, is_sample: bool) -> Result<Tried> {
    let mut tried = Tried::new("runs of terraform by a reader");
    let file = creds(system, "reader.pem", &["reader"])?;
    let own = system.configuration.clone();
    system.configuration["provider"]["nats"] =
        json!({ "agents": own["provider"]["nats"]["agents"], "reader_credentials_file": file });
    system.configuration["ephemeral"]["nats_user_credentials"]["service"] =
        json!({ "account": "${nats_account.orders.id}", "user": "service" });
    tried.count("plan of the system as it is", true, told(system.plan().unchanged()));
    let run = system.plan();
    ensure!(run.warning_text().contains("was not opened"), "no word of the ephemeral that is null: {run}");
    let left = system.configuration.clone();
    let changes = CHANGES.into_iter().filter(|(kind, name, _)| !left["resource"][*kind][*name].is_null());
    for (kind, name, change) in changes.take(if is_sample { 2 } else { CHANGES.len() }) {
        let change: Value = serde_json::from_str(change)?;
        for (key, value) in change.as_object().into_iter().flatten() {
            system.resource(kind, name)[key] = value.clone();
        }
        let planned = system.plan();
        let changes = planned.outcome() == Outcome::Changed;
        tried.count(
            &format!("plan of a changed {kind}"),
            true,
            if changes { Ok(()) } else { Err(planned.to_string()) },
        );
        let run = system.supercluster.terraform.apply()?;
        tried.count(
            &format!("apply of a changed {kind}"),
            false,
            refused(&run, &["reader_credentials", "root_key"]),
        );
        system.configuration = left.clone();
    }
    system.write();
    let run = system.supercluster.terraform.destroy()?;
    tried.count("destroy of everything", false, refused(&run, &["reader_credentials", "root_key"]));
    system.configuration["resource"]["nats_user"]["more"] =
        json!({ "account": "${nats_account.orders.id}", "name": "more" });
    system.write();
    let run = system.supercluster.terraform.apply()?;
    tried.count("apply of a new user", false, refused(&run, &["reader_credentials", "root_key"]));
    system.configuration = left;
    system.configuration["provider"]["nats"]["root_key"] = "${var.root_key}".into();
    tried.count("plan with two keys", false, refused(&system.plan(), &["More than one key is given"]));
    system.configuration = own;
    tried.count("plan by the operator afterwards", true, told(system.plan().unchanged()));
    Ok(tried)
}

/// A team's own workspace.
struct Team {
    terraform: Workspace,
    provider: Value,
}

impl Team {
    fn write(&self, resources: Value) -> Result<()> {
        let mut whole = json!({ "provider": { "nats": self.provider } });
        for (key, value) in resources.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        self.terraform.write("main.tf.json", &whole.to_string())
    }

    fn plan(&self, resources: Value) -> Result<Run> {
        self.write(resources)?;
        self.terraform.plan()
    }

    fn apply(&self, resources: Value) -> Result<Run> {
        self.write(resources)?;
        self.terraform.apply()
    }
}

fn stream(account: &str, name: &str, extra: Value) -> Value {
    let mut stream = json!({
        "account": format!("{AUTHORITY}/{account}"), "name": name, "subjects": [format!("{name}.>")],
        "replicas": 1, "max_bytes": "1MB", "deletion_protection": false,
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        stream[key] = value.clone();
    }
    json!({ "resource": { "nats_stream": { "it": stream } } })
}

/// An account's key, made by the ephemeral resource and by the command line: its streams, credentials of its users, and
/// nothing else.
pub(super) fn account_key(system: &mut System, is_sample: bool) -> Result<Tried> {
    let mut tried = Tried::new("runs of terraform with an account key");
    let folder = system.supercluster.fleet.folder().to_owned();
    let minted = minted(system, &folder)?;
    let by_command = creds(system, "orders.key", &["account:orders", "--include-user", "service"])?;
    let agents = system.configuration["provider"]["nats"]["agents"].clone();
    let mut team = Team {
        terraform: Workspace::new(&binaries::provider()?, Installation::DevOverride)?,
        provider: json!({ "agents": agents, "account_key_file": minted }),
    };
    tried.count("create a stream", true, told(team.apply(stream("orders", "TEAM", json!({})))?.succeeded()));
    tried.count("plan it again", true, told(team.plan(stream("orders", "TEAM", json!({})))?.unchanged()));
    team.provider["account_key_file"] = json!(by_command);
    let aged = || stream("orders", "TEAM", json!({ "max_age": "1h" }));
    tried.count("change it", true, told(team.apply(aged())?.succeeded()));
    tried.count("plan the change again", true, told(team.plan(aged())?.unchanged()));
    let credentials = folder.join("team.creds");
    let mut minting = aged();
    minting["ephemeral"] =
        json!({ "nats_user_credentials": { "service": { "account": "acme/orders", "user": "service" } } });
    minting["resource"]["terraform_data"]["creds"] =
        to_file("${ephemeral.nats_user_credentials.service.credentials}", &credentials);
    tried.count("mint credentials of a user", true, told(team.apply(minting)?.succeeded()));
    let host = &system.hosts()[0];
    let opened = talk(async { traffic::connect(host, &credentials).await.map(drop) });
    tried.count("connect with them", true, opened.map_err(|why| format!("{why:#}")));
    tried.count("delete the stream", true, told(team.apply(json!({}))?.succeeded()));

    let words = ["account_key", "root_key"];
    let foreign = team.plan(stream("billing", "TEAM", json!({})))?;
    tried.count("plan a stream of another account", false, refused(&foreign, &words));
    let unknown = json!({ "ephemeral": { "nats_user_credentials": { "x": { "account": "acme/billing", "user": "x" } } } });
    tried.count("credentials of another account", false, refused(&team.plan(unknown)?, &words));
    let user = json!({ "resource": { "nats_user": { "x": { "account": "acme/orders", "name": "x" } } } });
    tried.count("plan a user", false, refused(&team.plan(user)?, &words));
    if !is_sample {
        let account =
            json!({ "resource": { "nats_account": { "x": { "system": "acme/east", "name": "x" } } } });
        tried.count("plan an account", false, refused(&team.plan(account)?, &words));
        let authority = json!({ "resource": { "nats_authority": { "x": { "name": AUTHORITY } } } });
        tried.count("plan an authority", false, refused(&team.plan(authority)?, &words));
        let other = json!({ "ephemeral": { "nats_user_credentials": { "x": { "account": "acme/orders", "user": "x" } } } });
        let text = refused(&team.plan(other)?, &["does not know user"]);
        tried.count("credentials of a user that the key does not know", false, text);
        let reader =
            json!({ "ephemeral": { "nats_reader_credentials": { "x": { "system": "acme/global" } } } });
        tried.count("reader's credentials", false, refused(&team.plan(reader)?, &words));
        // The whole system in the team's hands: what exists is kept and not looked at, every change is refused.
        let own = system.configuration.clone();
        system.configuration["provider"]["nats"] = team.provider.clone();
        for (kind, name, change) in CHANGES.into_iter().filter(|(kind, ..)| *kind != "nats_stream") {
            if own["resource"][kind][name].is_null() {
                continue;
            }
            let before = system.configuration.clone();
            let change: Value = serde_json::from_str(change)?;
            for (key, value) in change.as_object().into_iter().flatten() {
                system.resource(kind, name)[key] = value.clone();
            }
            tried.count(&format!("plan of a changed {kind}"), false, refused(&system.plan(), &words));
            system.configuration = before;
        }
        system.configuration = own;
    }
    tried.count("plan by the operator afterwards", true, told(system.plan().unchanged()));
    Ok(tried)
}

/// A resource that writes an ephemeral text to a file.
fn to_file(text: &str, file: &Path) -> Value {
    let environment = json!({ "SECRET": text });
    let command = format!("umask 077 && printf '%s' \"$SECRET\" > '{}'", file.display());
    json!({ "provisioner": { "local-exec": { "command": command, "environment": environment } } })
}

/// Both lesser keys as the ephemeral resources make them, by the operator's own workspace; the account's, once the
/// reader's has planned.
fn minted(system: &mut System, folder: &Path) -> Result<PathBuf> {
    let own = system.configuration.clone();
    let whole = own["data"]["nats_supercluster"]["it"]["system"].clone();
    let (account, reader) = (folder.join("ephemeral.key"), folder.join("ephemeral.pem"));
    system.configuration["ephemeral"] = json!({
        "nats_account_key": { "orders": { "account": "${nats_account.orders.id}", "expires": "1h" } },
        "nats_reader_credentials": { "ci": { "system": whole, "expires": "1h" } },
    });
    system.configuration["resource"]["terraform_data"] = json!({
        "account": to_file("${ephemeral.nats_account_key.orders.account_key}", &account),
        "reader": to_file("${ephemeral.nats_reader_credentials.ci.reader_credentials}", &reader),
    });
    system.apply();
    for file in [&account, &reader] {
        let mode = fs::metadata(file).context("look at what was minted")?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "`{}` has mode {mode:o}", file.display());
    }
    system.configuration = own.clone();
    system.apply();
    system.configuration["provider"]["nats"] =
        json!({ "agents": own["provider"]["nats"]["agents"], "reader_credentials_file": reader });
    system.plan().unchanged().context("plan with the reader's credentials of the ephemeral resource")?;
    system.configuration = own;
    Ok(account)
}
