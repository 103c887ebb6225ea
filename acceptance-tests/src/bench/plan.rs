//! How long a plan takes that finds nothing to do, beside one of as many resources that terraform has built in.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::report::{Row, Table, quantile};
use crate::rig::binaries;
use crate::rig::terraform::{Installation, Workspace};
use crate::scenario::supercluster::Supercluster;

/// How often each.
const RUNS: usize = 7;

/// Measures on the quickstart's nine servers.
///
/// # Errors
/// When the system does not come up, or a plan finds something to do.
pub fn run() -> Result<Table> {
    let clusters = [("east", 3), ("west", 3), ("north", 3)];
    let mut system = Supercluster::lay_out(&clusters, "quickstart", Installation::Mirror)?;
    system.fleet.start()?;
    system.terraform.init()?.succeeded()?;
    system.terraform.apply()?.succeeded()?;
    let count = managed(&system.terraform.show(None)?)?;
    let (built_in, _) = built_in(count)?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        floor.push(built_in.plan()?.unchanged()?.elapsed);
        ours.push(system.terraform.plan()?.unchanged()?.elapsed);
    }
    let row = |what: &str, share| Row::of_times(what, quantile(&ours, share), quantile(&floor, share), None);
    Ok(Table {
        name: "plan",
        floor: format!("a plan of {count} `terraform_data`; {RUNS} runs each"),
        rows: vec![
            row(&format!("empty plan of {count} resources on nine servers, median"), 0.5),
            row("empty plan, worst", 1.0),
        ],
    })
}

/// Resources in a state that are no data sources.
fn managed(state: &Value) -> Result<usize> {
    let resources = state.pointer("/values/root_module/resources").and_then(Value::as_array);
    let resources = resources.context("the state holds no resources")?;
    Ok(resources.iter().filter(|resource| resource["mode"] == "managed").count())
}

/// As many resources that dial nobody, applied, and how long that took.
pub(super) fn built_in(count: usize) -> Result<(Workspace, Duration)> {
    let workspace = Workspace::new(&binaries::provider()?, Installation::DevOverride)?;
    let text =
        format!("resource \"terraform_data\" \"one\" {{\n  count = {count}\n  input = count.index\n}}\n");
    workspace.write("terraform.tf", &text)?;
    let made = workspace.apply()?.succeeded()?.elapsed;
    Ok((workspace, made))
}
