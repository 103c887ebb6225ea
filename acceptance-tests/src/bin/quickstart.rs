//! `cargo xtask quickstart`: nine agents that belong to nobody become a supercluster by one `terraform apply`, which is
//! then proven with real traffic, drifts, is repaired and is destroyed.
#![expect(clippy::print_stdout, reason = "the progress is what a person watches")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use acceptance_tests::rig::terraform::{Action, Installation, Outcome, Run};
use acceptance_tests::scenario::supercluster::Supercluster;
use acceptance_tests::scenario::{secrets, traffic};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Messages that go from cluster to cluster.
const MESSAGES: u64 = 100;
/// The host whose configuration is edited by hand.
const EDITED_HOST: &str = "west-2";
/// What `nats_supercluster` must say.
const SERVERS: usize = 9;

fn main() -> Result<()> {
    let keep = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--keep" => true,
        other => bail!("unknown arguments {other:?}; the only one is `--keep`"),
    };
    let started = Instant::now();
    let mut run = Quickstart::lay_out()?;
    run.start_agents()?;
    run.apply()?;
    run.prove_system()?;
    run.prove_traffic()?;
    run.prove_empty_plan()?;
    run.prove_drift()?;
    run.prove_no_secrets()?;
    if keep {
        return run.keep();
    }
    run.destroy()?;
    println!("\nAll of it took {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}

/// The run so far.
struct Quickstart {
    system: Supercluster,
}

/// Prints what is being done, then how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    println!("==> {what}");
    let done = work().with_context(|| format!("{what} failed"))?;
    println!("    done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}

impl Quickstart {
    fn lay_out() -> Result<Quickstart> {
        let clusters = [("east", 3), ("west", 3), ("north", 3)];
        let what = "Finding terraform and nats-server, building provider and agent";
        let system = step(what, || Supercluster::lay_out(&clusters, "quickstart", Installation::Mirror))?;
        Ok(Quickstart { system })
    }

    fn start_agents(&mut self) -> Result<()> {
        step("Starting nine agents on loopback addresses, unenrolled", || self.system.fleet.start())?;
        for host in self.system.fleet.hosts() {
            println!("    {:8} {}", host.name(), host.agent_address());
        }
        Ok(())
    }

    fn apply(&self) -> Result<()> {
        let terraform = &self.system.terraform;
        step("terraform init", || terraform.init()?.succeeded())?;
        let applied = step("terraform apply", || terraform.apply()?.succeeded())?;
        let seconds = applied.elapsed.as_secs_f64();
        println!("    from unenrolled agents to the end of apply: {seconds:.1} s (goal: under 60 s)");
        print_warnings(&applied);
        Ok(())
    }

    /// Nine servers, one meta leader that counts nine peers, nothing wrong.
    fn prove_system(&self) -> Result<()> {
        step("Looking at the supercluster as it reports itself", || {
            let state = self.system.terraform.show(None)?;
            let data = supercluster(&state).context("no `nats_supercluster` in state")?;
            let servers = data["servers"].as_array().context("no servers")?;
            ensure!(servers.len() == SERVERS, "{} servers answer, not {SERVERS}", servers.len());
            for server in servers {
                let leads = if server["meta_leader"] == true { "  meta leader" } else { "" };
                println!(
                    "    {:8} {:6} nats-server {}{leads}",
                    text(&server["name"]),
                    text(&server["cluster"]),
                    text(&server["version"])
                );
            }
            let peers = &data["meta_peers"];
            ensure!(*peers == SERVERS, "the meta leader counts {peers} peers, not {SERVERS}");
            ensure!(data["healthy"] == true, "not healthy: {}", data["problems"]);
            let leader = text(&data["meta_leader"]);
            println!("    meta leader {leader}, which counts {peers} peers; nothing is wrong");
            Ok(())
        })
    }

    fn prove_traffic(&self) -> Result<()> {
        step("Publishing in one cluster with a user's credentials, reading in another", || {
            let credentials = self.system.credentials("orders", "service")?;
            for (from, to) in [("east", "west"), ("west", "north"), ("north", "east")] {
                let (source, sink) = (self.host(from)?, self.host(to)?);
                let stream = format!("ORDERS-{from}");
                traffic::talk(async {
                    let publisher = traffic::connect(source, &credentials).await?;
                    traffic::publish(&publisher, &format!("orders.{from}.new"), MESSAGES).await?;
                    let reader = traffic::connect(sink, &credentials).await?;
                    traffic::read(&reader, &stream, None, MESSAGES).await
                })?;
                println!(
                    "    {MESSAGES} messages published at {}, read from {stream} at {}",
                    source.name(),
                    sink.name()
                );
            }
            Ok(())
        })
    }

    fn host(&self, cluster: &str) -> Result<&acceptance_tests::rig::agents::Host> {
        self.system.fleet.host(&format!("{cluster}-1"))
    }

    fn prove_empty_plan(&self) -> Result<()> {
        step("terraform plan: nothing to do", || self.system.terraform.plan()?.unchanged())?;
        Ok(())
    }

    fn prove_drift(&self) -> Result<()> {
        let terraform = &self.system.terraform;
        let host = self.system.fleet.host(EDITED_HOST)?;
        let file = host.state_dir().join("current/nats-server.json");
        step(&format!("Editing the configuration of {EDITED_HOST} by hand"), || edit(&file))?;
        step("terraform plan: names the host and the setting", || {
            let plan = terraform.run(&["plan", "-input=false", "-no-color", "-detailed-exitcode"])?;
            ensure!(plan.outcome() == Outcome::Changed, "the plan does not show the drift:\n{}", plan.stdout);
            let line =
                plan.stdout.lines().find(|line| line.contains(EDITED_HOST) && line.contains("max_payload"));
            println!("    {}", line.with_context(|| format!("no line names it:\n{}", plan.stdout))?.trim());
            Ok(())
        })?;
        step("terraform apply: repairs it", || {
            let applied = terraform.apply()?.succeeded()?;
            let others = applied.changes.iter().filter(|change| change.action != Action::Update).count();
            ensure!(others == 0, "something else was changed as well: {:?}", applied.changes);
            let text = fs::read_to_string(&file).context("read the configuration")?;
            ensure!(!text.contains("\"max_payload\":2097152"), "the edit is still there");
            Ok(())
        })?;
        self.prove_empty_plan()
    }

    fn prove_no_secrets(&self) -> Result<()> {
        step("Looking for every secret of this run in states, plans, logs and outputs", || {
            self.system.terraform.plan_to("saved.tfplan")?.unchanged()?;
            let searched = secrets::search(&self.system)?;
            println!("    {} secrets in {} files: none found", searched.secrets, searched.files);
            Ok(())
        })
    }

    fn keep(self) -> Result<()> {
        let Quickstart { system } = self;
        println!("\nKept running. Configuration and state: {}", system.terraform.module().display());
        println!("Root key (shown because this system is a demonstration): {}", system.root_key);
        println!("Press Enter to stop everything.");
        std::io::stdin().read_line(&mut String::new()).context("wait for Enter")?;
        Ok(())
    }

    fn destroy(self) -> Result<()> {
        let terraform = &self.system.terraform;
        step("terraform destroy", || terraform.destroy()?.succeeded())?;
        step("Nothing is left running", || {
            for host in self.system.fleet.hosts() {
                let address = std::net::SocketAddr::from((host.address(), traffic::CLIENT_PORT));
                let open = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
                ensure!(!open, "the server of `{}` still listens", host.name());
            }
            Ok(())
        })
    }
}

fn print_warnings(run: &Run) {
    for warning in run.warning_text().lines() {
        println!("    warning: {warning}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The values of the data source in a state.
fn supercluster(state: &Value) -> Option<&Value> {
    let resources = state.pointer("/values/root_module/resources")?.as_array()?;
    let found = resources.iter().find(|resource| resource["type"] == "nats_supercluster");
    found.map(|resource| &resource["values"])
}

/// What a hurried person does at night.
fn edit(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).context("read the configuration")?;
    let mut settings: Value = serde_json::from_str(&text).context("the configuration is JSON")?;
    settings["max_payload"] = 2_097_152.into();
    fs::write(file, settings.to_string()).context("write the configuration")
}
