//! How long the provider takes to be there and to be gone. Terraform starts it several times for each command.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::plugin::{Owner, Plugin};
use super::report::{Row, Table, quantile};
use crate::rig::binaries;

/// How often.
const RUNS: usize = 50;
/// Starts before the first that counts, which bring the program into memory.
const WARM_UP: usize = 3;
/// The most that each of start and end may take at the median.
const GOAL: Duration = Duration::from_millis(15);

/// Measures.
///
/// # Errors
/// When the provider does not compile, start or end.
pub fn run() -> Result<Table> {
    let program = binaries::provider()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(measure(&program))
}

async fn measure(program: &Path) -> Result<Table> {
    let owner = Owner::new()?;
    let (mut starts, mut ends, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..WARM_UP + RUNS {
        let floor = refused(program).await?;
        let (plugin, start) = Plugin::start(program, &owner).await?;
        let end = plugin.shut_down(&owner).await?;
        if run >= WARM_UP {
            floors.push(floor);
            starts.push(start);
            ends.push(end);
        }
    }
    let row = |what: &str, times: &[Duration], share, goal| {
        Row::of_times(what, quantile(times, share), quantile(&floors, share), goal)
    };
    Ok(Table {
        name: "provider-start",
        floor: format!("the same program without Terraform's cookie, from start to exit; {RUNS} runs each"),
        rows: vec![
            row("start to handshake line, median", &starts, 0.5, Some(GOAL)),
            row("start to handshake line, 9 of 10", &starts, 0.9, None),
            row("start to handshake line, worst", &starts, 1.0, None),
            row("Shutdown to exit, median", &ends, 0.5, Some(GOAL)),
            row("Shutdown to exit, 9 of 10", &ends, 0.9, None),
            row("Shutdown to exit, worst", &ends, 1.0, None),
        ],
    })
}

/// From start to exit of a provider that nobody's cookie asked for, which ends at once.
async fn refused(program: &Path) -> Result<Duration> {
    let mut command = Command::new(program);
    command.env_remove("TF_PLUGIN_MAGIC_COOKIE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    command.status().await.context("start the provider without a cookie")?;
    Ok(started.elapsed())
}
