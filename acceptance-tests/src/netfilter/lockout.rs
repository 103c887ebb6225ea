//! Rules that shut the operator out, by a process that is killed at once: the kernel takes them back by itself.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use host_state::firewall::FirewallRules;
use nats_agent::parts::effects::Effects;
use nats_agent::parts::firewall::{Firewall, Kept};

use super::intents::{self, AGENT_PORT};
use super::namespaces::{HOST4, Pair};
use super::probes;
use super::{establish, in_runtime, with_firewall};
use crate::proof::Row;

/// How long the rules are on trial.
const TTL: Duration = Duration::from_secs(3);
/// How long nobody answers while the operator is shut out.
const SILENCE: Duration = Duration::from_millis(300);
/// Pause between two attempts of the operator.
const AGAIN: Duration = Duration::from_millis(50);
/// What the process says once its rules are loaded.
const LOADED: &str = "on trial";
/// The program of this crate that holds a trial.
const PROGRAM: &str = "netfilter";

/// The process that is to be killed: puts the rules on its standard input on trial and waits for its end.
///
/// # Errors
/// When the rules cannot be read or loaded.
pub fn hold(state: &Path) -> Result<()> {
    let rules: FirewallRules = serde_json::from_reader(std::io::stdin())?;
    in_runtime(async || {
        let firewall = Firewall::open(Effects::default(), state);
        firewall.begin_trial(&rules, TTL).await?;
        let mut out = std::io::stdout();
        writeln!(out, "{LOADED}")?;
        out.flush()?;
        std::future::pending().await
    })
}

pub(super) fn undone_by_the_kernel(rounds: u64, pair: &Pair) -> Result<Vec<Row>> {
    let plain = intents::plain(HOST4);
    let operators: [IpAddr; 2] = ["10.9.0.1".parse()?, "fd00::9:1".parse()?];
    let open = host_state::firewall::Reach { cluster: &plain, gateway: None, agent_port: AGENT_PORT }.rules();
    let mut shut = plain.clone();
    shut.firewall.management = vec!["192.168.0.0/16".parse()?];
    let shut = host_state::firewall::Reach { cluster: &shut, gateway: None, agent_port: AGENT_PORT }.rules();
    let listeners = pair.host.inside(|| probes::listen(&[AGENT_PORT]))?;
    let (mut longest, mut shortest) = (Duration::ZERO, Duration::MAX);
    let (mut shut_out, mut told) = (0_u64, 0_u64);
    for round in 0..rounds {
        let operator = operators[usize::from(round % 2 == 1)];
        let state = tempfile::tempdir()?;
        with_firewall(pair, state.path(), async |firewall| establish(firewall, &open).await)?;
        let reaches = |time| pair.others.inside(|| probes::is_reached(operator, AGENT_PORT, time));
        ensure!(reaches(probes::IN_TIME)?, "the operator does not reach the agent before");
        let began = killed_while_it_holds(pair, state.path(), &shut)?;
        if !reaches(SILENCE)? {
            shut_out += 1;
        }
        while !reaches(AGAIN)? {
            ensure!(began.elapsed() < 4 * TTL, "the operator stays shut out");
        }
        (longest, shortest) = (longest.max(began.elapsed()), shortest.min(began.elapsed()));
        // The next agent says what became of it.
        let kept = with_firewall(pair, state.path(), async |firewall| Ok(firewall.keep().await?))?;
        told += u64::from(matches!(kept, Kept::Expired { .. }));
        probes::drain(&listeners);
    }
    let most = (TTL + Duration::from_secs(1)).as_secs_f64();
    Ok(vec![
        Row::exactly("operators shut out by rules on trial whose process was killed", shut_out, rounds),
        Row::at_most("seconds until the kernel let them in again, trial of 3 s", rounded(longest), most),
        Row::told("the shortest of them", rounded(shortest)),
        Row::exactly("told by the next process that the trial was over", told, rounds),
    ])
}

/// When the process began whose rules hold now, and which is dead.
fn killed_while_it_holds(pair: &Pair, state: &Path, rules: &FirewallRules) -> Result<Instant> {
    let program = std::env::current_exe()?.with_file_name(PROGRAM);
    ensure!(program.exists(), "there is no `{}`; build the programs of this crate", program.display());
    let program = program.to_str().context("a path that is no text")?;
    let began = Instant::now();
    let mut child = pair
        .host
        .command(program)
        .arg("hold")
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    serde_json::to_writer(child.stdin.take().context("it has a standard input")?, rules)?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("it has a standard output")?).read_line(&mut line)?;
    // SIGKILL.
    child.kill()?;
    child.wait()?;
    ensure!(line.trim() == LOADED, "the process that was to hold a trial said `{line}`");
    Ok(began)
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
