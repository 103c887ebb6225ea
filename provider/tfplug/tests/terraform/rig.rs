//! A directory with a configuration, a "cloud" beside it, and the real `terraform` run in it.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// The example binary, built once: `cargo test --test terraform` alone would not, or leave an old one.
pub(crate) fn toy() -> PathBuf {
    static TOY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let arguments = ["build", "--quiet", "--package", "tfplug", "--example", "toy"];
        let built = Command::new(env!("CARGO")).args(arguments).status().unwrap();
        assert!(built.success(), "`cargo {}` failed", arguments.join(" "));
        let here = std::env::current_exe().unwrap();
        let toy = here.parent().and_then(Path::parent).unwrap().join("examples/toy");
        assert!(toy.exists(), "`{}` is missing though it was built", toy.display());
        toy
    };
    TOY.get_or_init(build).clone()
}

/// Polls until `holds`, at most half a minute.
pub(crate) fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process runs; one that only waits to be collected does not.
pub(crate) fn runs(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub(crate) struct Rig {
    root: TempDir,
}

impl Rig {
    pub(crate) fn new(configuration: &str) -> Self {
        let found = Command::new("terraform").arg("version").output();
        assert!(
            found.is_ok_and(|output| output.status.success()),
            "`terraform` is not on PATH: install Terraform 1.11.4 from its release page"
        );
        let root = tempfile::tempdir().unwrap();
        let plugins = root.path().join("plugins");
        for folder in ["plugins", "cloud", "work"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        fs::hard_link(toy(), plugins.join("terraform-provider-toy"))
            .or_else(|_| fs::copy(toy(), plugins.join("terraform-provider-toy")).map(drop))
            .unwrap();
        let settings = format!(
            "provider_installation {{\n  dev_overrides {{ \"test.local/x/toy\" = {:?} }}\n  direct {{}}\n}}\n",
            plugins.display().to_string()
        );
        fs::write(root.path().join("rc"), settings).unwrap();
        let rig = Self { root };
        rig.write(configuration);
        rig
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn cloud(&self, name: &str) -> PathBuf {
        self.root.path().join("cloud").join(name)
    }

    pub(crate) fn write(&self, configuration: &str) {
        let cloud = self.root.path().join("cloud").display().to_string();
        let head = format!(
            "terraform {{\n  required_providers {{ toy = {{ source = \"test.local/x/toy\" }} }}\n}}\n\
             provider \"toy\" {{\n  directory = {cloud:?}\n}}\n"
        );
        fs::write(self.directory().join("main.tf"), head + configuration).unwrap();
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(self.directory()).stdin(Stdio::null());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("TF_")) {
            command.env_remove(key);
        }
        command.env("TF_CLI_CONFIG_FILE", self.root.path().join("rc")).env("CHECKPOINT_DISABLE", "1");
        command.envs(environment.iter().copied());
        command
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let output = self.command(arguments, environment).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments, &[]);
        assert_eq!(code, Some(0), "terraform {arguments:?}:\n{stdout}{stderr}");
        stdout
    }

    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        self.fails_with(arguments, &[])
    }

    pub(crate) fn fails_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let (code, stdout, stderr) = self.run(arguments, environment);
        assert_eq!(code, Some(1), "terraform {arguments:?}:\n{stdout}{stderr}");
        stderr
    }

    pub(crate) fn apply(&self) {
        self.ok(&["apply", "-auto-approve", "-no-color", "-input=false"]);
    }

    pub(crate) fn plans_empty(&self) {
        let (code, stdout, stderr) =
            self.run(&["plan", "-detailed-exitcode", "-no-color", "-input=false"], &[]);
        assert_eq!(code, Some(0), "the plan is not empty:\n{stdout}{stderr}");
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    pub(crate) fn plan_json(&self) -> Json {
        self.ok(&["plan", "-no-color", "-input=false", "-out=plan"]);
        self.json(&["show", "-json", "-no-color", "plan"])
    }

    /// The state file; empty when there is none.
    pub(crate) fn state(&self) -> String {
        fs::read_to_string(self.directory().join("terraform.tfstate")).unwrap_or_default()
    }

    /// The values of one resource in state.
    pub(crate) fn resource(&self, address: &str) -> Json {
        let state = self.json(&["show", "-json", "-no-color"]);
        let all = state["values"]["root_module"]["resources"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|resource| resource["address"] == address);
        let resource = found.unwrap_or_else(|| panic!("no `{address}` in {state}"));
        assert_ne!(resource["tainted"], true, "`{address}` is tainted");
        resource["values"].clone()
    }

    /// Starts terraform as the leader of a process group of its own, like a shell does.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments, &[]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().unwrap() }
    }
}

pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Sends a signal to terraform and to the provider it started.
    pub(crate) fn signal_group(&mut self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args([&format!("-{signal}"), "--", &group]).status();
        assert!(status.unwrap().success());
    }

    /// Processes that terraform started and that run.
    pub(crate) fn children(&self) -> Vec<u32> {
        let id = self.child.id();
        let mut all = Vec::new();
        // Terraform is threaded; each thread lists the children it made.
        for task in fs::read_dir(format!("/proc/{id}/task")).unwrap() {
            let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            all.extend(list.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Kills terraform alone, with no chance to say goodbye to its provider.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(mut self, patience: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("terraform did not end in {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
        (status, output)
    }
}
