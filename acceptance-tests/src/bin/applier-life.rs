//! A process that hosts an applier and is killed by its own script, which it reads as JSON from its input; see
//! `soak::kill::life`.
#![expect(clippy::print_stdout, reason = "whoever started it reads what came of it")]

use std::sync::Arc;

use acceptance_tests::soak::kill::life::{Script, perform};
use acceptance_tests::soak::kill::operation::Operation;
use acceptance_tests::soak::kill::strikes::{STRUCK, Strikes};
use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> Result<()> {
    // It must not outlive whoever started it.
    set_parent_process_death_signal(Some(Signal::KILL)).context("follow the parent")?;
    let script: Script = serde_json::from_reader(std::io::stdin().lock()).context("read the script")?;
    let strikes = Arc::new(Strikes::new(script.strikes.clone(), script.setback.and_then(Operation::setback)));
    let (_life, outcome) = perform(&script, &strikes);
    strikes.disarm();
    for point in strikes.struck() {
        println!("{STRUCK}{point}");
    }
    println!("ended {outcome:?}");
    Ok(())
}
