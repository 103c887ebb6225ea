//! Runs the real terraform on a folder of its own, with the built provider and with no network.
//!
//! Nothing of the user's own terraform reaches a run: neither configuration nor `TF_*` variables. Every command has
//! a time limit, and its processes end with the scenario.

mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use run::{Action, Change, Diagnostic, Outcome, Run, Running};

use super::loopback::Folder;
use crate::tools;

/// Where users' configurations say the provider comes from.
pub const PROVIDER_SOURCE: &str = "registry.terraform.io/supercluster/nats";

/// The version of the built provider.
pub const PROVIDER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long one terraform command may take unless [`Workspace::set_timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How terraform finds the built provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// In the folder it was built to, without `terraform init`: the quick way.
    DevOverride,
    /// In a mirror folder, through `terraform init` and its lock file, as users install it.
    Mirror,
}

/// A folder with configuration and state, and the terraform that works on it.
#[derive(Debug)]
pub struct Workspace {
    terraform: PathBuf,
    /// Holds `module/` (what terraform sees), the mirror and the output of each command.
    folder: Folder,
    variables: BTreeMap<String, String>,
    timeout: Duration,
    commands: AtomicU32,
}

impl Workspace {
    /// An empty workspace in which `provider` (the built program) is installed, and required by `terraform.tf`.
    ///
    /// # Errors
    /// When terraform is missing or too old, or the folder cannot be written.
    pub fn new(provider: &Path, installation: Installation) -> Result<Self> {
        let terraform = tools::terraform()?;
        let folder = Folder::new("terraform")?;
        let module = folder.path().join("module");
        fs::create_dir(&module).context("create the module's folder")?;
        let configuration = match installation {
            Installation::DevOverride => {
                let built_in = provider.parent().context("the provider's path names no folder")?;
                format!("  dev_overrides {{\n    {PROVIDER_SOURCE:?} = {built_in:?}\n  }}\n")
            }
            Installation::Mirror => {
                let mirror = folder.path().join("mirror");
                fill_mirror(&mirror, provider)?;
                format!("  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n")
            }
        };
        let text = format!("provider_installation {{\n{configuration}}}\n");
        fs::write(folder.path().join("terraform.rc"), text).context("write terraform's own configuration")?;
        let variables = BTreeMap::from(
            [("CHECKPOINT_DISABLE", "1"), ("TF_IN_AUTOMATION", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let workspace = Self { terraform, folder, variables, timeout: TIMEOUT, commands: AtomicU32::new(0) };
        workspace.write("terraform.tf", &required_providers())?;
        Ok(workspace)
    }

    /// The folder of the configuration.
    pub fn module(&self) -> PathBuf {
        self.folder.path().join("module")
    }

    /// Writes a file of the configuration, in place of what it held; `name` is relative to the module.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.module().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create the folder of `{name}`"))?;
        }
        fs::write(&path, text).with_context(|| format!("write `{name}`"))
    }

    /// Takes the `.tf` files of `folder`, an example for one, in place of all that the configuration holds so far.
    ///
    /// # Errors
    /// When `folder` holds none, or a file cannot be read or written.
    pub fn write_from(&self, folder: &Path) -> Result<()> {
        for file in configuration_files(&self.module())? {
            self.remove(&file)?;
        }
        let files = configuration_files(folder)?;
        ensure!(!files.is_empty(), "`{}` holds no `.tf` files", folder.display());
        for file in files {
            let text = fs::read_to_string(folder.join(&file)).with_context(|| format!("read `{file}`"))?;
            self.write(&file, &text)?;
        }
        Ok(())
    }

    /// Removes a file of the configuration.
    ///
    /// # Errors
    /// When it cannot be removed; also when it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.module().join(name)).with_context(|| format!("remove `{name}`"))
    }

    /// Sets an environment variable for all later commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Sets an input variable of the configuration for all later commands; it is never written to a file.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.set_env(&format!("TF_VAR_{name}"), value);
    }

    /// Sets how long each later command may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// `terraform init`, without network and backend. Needed with [`Installation::Mirror`] only.
    ///
    /// # Errors
    /// When it cannot be run or does not end in time; a failure is in the [`Run`].
    pub fn init(&self) -> Result<Run> {
        self.run(&["init", "-input=false", "-no-color"])
    }

    /// `terraform validate`.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn validate(&self) -> Result<Run> {
        self.run(&["validate", "-json"])
    }

    /// `terraform plan`; [`Run::outcome`] says whether there is something to do.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn plan(&self) -> Result<Run> {
        self.run(&["plan", "-json", "-input=false", "-detailed-exitcode"])
    }

    /// `terraform plan` into the file `name` of the module, to be applied or shown later.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn plan_to(&self, name: &str) -> Result<Run> {
        self.run(&["plan", "-json", "-input=false", "-detailed-exitcode", &format!("-out={name}")])
    }

    /// `terraform apply` of a fresh plan.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn apply(&self) -> Result<Run> {
        self.run(&["apply", "-json", "-input=false", "-auto-approve"])
    }

    /// `terraform apply` of a plan from [`Workspace::plan_to`].
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn apply_plan(&self, name: &str) -> Result<Run> {
        self.run(&["apply", "-json", "-input=false", name])
    }

    /// `terraform destroy`.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn destroy(&self) -> Result<Run> {
        self.run(&["destroy", "-json", "-input=false", "-auto-approve"])
    }

    /// `terraform import`. It has no JSON form, so the [`Run`] holds text only.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn import(&self, address: &str, id: &str) -> Result<Run> {
        self.run(&["import", "-input=false", "-no-color", address, id])
    }

    /// `terraform state rm`: forgets a resource without touching what it stands for.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn forget(&self, address: &str) -> Result<Run> {
        self.run(&["state", "rm", address])
    }

    /// `terraform show -json`: of the state, or of the plan in the module's file `plan`.
    ///
    /// # Errors
    /// As [`Workspace::init`], and when the command fails.
    pub fn show(&self, plan: Option<&str>) -> Result<Value> {
        let mut arguments = vec!["show", "-json"];
        arguments.extend(plan);
        self.run(&arguments)?.succeeded()?.json()
    }

    /// The value of an output, also of a sensitive one.
    ///
    /// # Errors
    /// As [`Workspace::init`], and when there is no such output.
    pub fn output(&self, name: &str) -> Result<Value> {
        self.run(&["output", "-json", name])?.succeeded()?.json()
    }

    /// `terraform providers schema -json`.
    ///
    /// # Errors
    /// As [`Workspace::init`], and when the command fails.
    pub fn providers_schema(&self) -> Result<Value> {
        self.run(&["providers", "schema", "-json"])?.succeeded()?.json()
    }

    /// The state file as it is on disk, to look for what must not be in it.
    ///
    /// # Errors
    /// When there is none.
    pub fn state_text(&self) -> Result<String> {
        fs::read_to_string(self.module().join("terraform.tfstate")).context("read `terraform.tfstate`")
    }

    /// Runs any command to its end.
    ///
    /// # Errors
    /// As [`Workspace::init`].
    pub fn run(&self, arguments: &[&str]) -> Result<Run> {
        self.start(arguments)?.finish(self.timeout)
    }

    /// Starts any command, for scenarios that do something while it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(&self.terraform);
        command.args(arguments).current_dir(self.module());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited
            .filter(|name| ["TF_", "NATS_"].iter().any(|own| name.to_string_lossy().starts_with(own)))
        {
            command.env_remove(name);
        }
        command.envs(&self.variables).env("TF_CLI_CONFIG_FILE", self.folder.path().join("terraform.rc"));
        let number = self.commands.fetch_add(1, Ordering::Relaxed) + 1;
        let verb = arguments.first().copied().unwrap_or("help");
        Running::start(command, &self.folder.path().join(format!("{number:03}-{verb}")))
    }
}

/// Names of the `.tf` files in `folder`, sorted.
fn configuration_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list `{}`", folder.display()))? {
        let name = entry.with_context(|| format!("list `{}`", folder.display()))?.file_name();
        names.extend(name.into_string().ok().filter(|name| name.ends_with(".tf")));
    }
    names.sort();
    Ok(names)
}

/// The block that makes the short name `nats` stand for the built provider.
fn required_providers() -> String {
    format!(
        "terraform {{\n  required_providers {{\n    nats = {{\n      source = {PROVIDER_SOURCE:?}\n    }}\n  }}\n}}\n"
    )
}

/// Lays out a mirror that holds the provider for this machine.
/// Source: Terraform v1.11 CLI configuration, "filesystem_mirror", unpacked layout.
fn fill_mirror(mirror: &Path, provider: &Path) -> Result<()> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let folder = mirror.join(PROVIDER_SOURCE).join(PROVIDER_VERSION).join(format!("{system}_{architecture}"));
    fs::create_dir_all(&folder).with_context(|| format!("create the folder `{}`", folder.display()))?;
    let target = folder.join(format!("terraform-provider-nats_v{PROVIDER_VERSION}"));
    // A link costs nothing and is never open for writing; a copy serves where the folders are on two disks.
    fs::hard_link(provider, &target)
        .or_else(|_| fs::copy(provider, &target).map(drop))
        .with_context(|| format!("put the provider into the mirror as `{}`", target.display()))
}

#[cfg(test)]
mod tests;
