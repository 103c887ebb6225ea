//! The quickstart's supercluster: nine agents that belong to nobody, and a terraform workspace that will claim them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::agents::{Fleet, Host};
use crate::rig::binaries;
use crate::rig::terraform::{Installation, Workspace};
use crate::workspace;

/// The authority that the examples declare.
pub const AUTHORITY: &str = "acme";

/// Agents and the terraform that works on them. Dropping it ends everything.
#[derive(Debug)]
pub struct Supercluster {
    /// Terraform's side.
    pub terraform: Workspace,
    /// The hosts' side.
    pub fleet: Fleet,
    /// The root key of this run, base64.
    pub root_key: String,
}

impl Supercluster {
    /// Lays out hosts in these clusters and takes the configuration of `examples/<example>`. Starts nothing.
    ///
    /// # Errors
    /// When a program is missing or does not compile, or a folder cannot be written.
    pub fn lay_out(clusters: &[(&str, usize)], example: &str, installation: Installation) -> Result<Self> {
        let mut supercluster = Self::bare(clusters, installation)?;
        let Self { terraform, fleet, root_key: _ } = &mut supercluster;
        terraform.write_from(&workspace::root().join("examples").join(example))?;
        terraform.set_variable("hosts", &hosts(fleet).to_string());
        terraform.set_variable("agent_binary", &binaries::agent()?.display().to_string());
        Ok(supercluster)
    }

    /// Lays out hosts in these clusters, beside a workspace that has no configuration but a variable `root_key`.
    /// Starts nothing.
    ///
    /// # Errors
    /// When a program is missing or does not compile, or a folder cannot be written.
    pub fn bare(clusters: &[(&str, usize)], installation: Installation) -> Result<Self> {
        let fleet = Fleet::lay_out(clusters)?;
        let mut terraform = Workspace::new(&binaries::provider()?, installation)?;
        let root_key = random_root_key()?;
        terraform.set_variable("root_key", &root_key);
        Ok(Self { terraform, fleet, root_key })
    }

    /// Makes credentials of a user with `nats-agent creds`, as an operator would, and returns the file.
    ///
    /// # Errors
    /// When the command fails.
    pub fn credentials(&self, account: &str, user: &str) -> Result<PathBuf> {
        let file = self.fleet.folder().join(format!("{account}-{user}.creds"));
        if file.exists() {
            fs::remove_file(&file).context("remove older credentials")?;
        }
        let mut command = Command::new(binaries::agent()?);
        command.args(["creds", "--authority", AUTHORITY, "--account", account, "--user", user, "--output"]);
        let output = command.arg(&file).env("NATS_ROOT_KEY", &self.root_key).output();
        let output = output.context("run `nats-agent creds`")?;
        ensure!(
            output.status.success(),
            "`nats-agent creds` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(file)
    }

    /// Every file that terraform or an agent wrote for people or for later runs: states, plans, logs, outputs.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn written_texts(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let module = self.terraform.module();
        let folder = module.parent().context("the module lies in the workspace's folder")?;
        collect(folder, &mut files)?;
        for host in self.fleet.hosts() {
            let own = host.state_dir();
            files.extend(
                [own.join(host_state::layout::LOG_FILE), own.join("../agent.log")]
                    .into_iter()
                    .filter(|it| it.exists()),
            );
        }
        Ok(files)
    }
}

/// The variable `hosts` of the examples.
fn hosts(fleet: &Fleet) -> Value {
    let host = |host: &Host| {
        let value = json!({
            "cluster": host.cluster(),
            "address": host.address().to_string(),
            "state_dir": host.state_dir(),
            "store_dir": host.store_dir(),
        });
        (host.name().to_owned(), value)
    };
    let hosts: BTreeMap<String, Value> = fleet.hosts().iter().map(host).collect();
    json!(hosts)
}

/// A key as `openssl rand -base64 32` makes it.
///
/// # Errors
/// When the system gives no random bytes.
pub fn random_root_key() -> Result<String> {
    use std::io::Read;

    let mut bytes = [0_u8; 32];
    let mut random = fs::File::open("/dev/urandom").context("open the system's random source")?;
    random.read_exact(&mut bytes).context("read random bytes")?;
    Ok(data_encoding::BASE64.encode(&bytes))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list `{}`", folder.display()))? {
        let entry = entry.with_context(|| format!("list `{}`", folder.display()))?;
        let kind = entry.file_type().context("look at an entry")?;
        if kind.is_dir() && entry.file_name() != "mirror" && entry.file_name() != ".terraform" {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}
