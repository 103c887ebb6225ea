//! Claims: whoever is taken out while hosts are away is out on them as well once they are back, and stays out.
//!
//! In each round a user is destroyed, another narrowed and an account deleted while some hosts are down. The seed chooses
//! the hosts. A watch tries all credentials on all servers again and again, from the first round to the end.

mod declared;
mod probe;
mod stale;
mod watch;

use std::time::Instant;

use anyhow::Result;

use super::proof::{Proof, Row};
use super::{Extent, Order};
use crate::rig::wait::wait_until;
use crate::scenario::system::{DEADLINE, SWEEP, System};

use declared::Away;
use watch::Watch;

/// Sweeps that are waited for at the end of a whole run.
const LATER_SWEEPS: u32 = 2;

/// Which hosts are down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    OneServer,
    OneCluster,
    AllButOne,
}

/// What of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Agent and server, killed.
    Both,
    /// The agent alone, killed.
    Agent,
}

impl Down {
    fn text(self) -> &'static str {
        match self {
            Down::OneServer => "one server",
            Down::OneCluster => "one cluster",
            Down::AllButOne => "all but one server",
        }
    }

    /// Its hosts; `chance` chooses among those that would do.
    fn hosts(self, system: &System, chance: u64) -> Vec<String> {
        let hosts = system.hosts();
        let chosen = &hosts[usize::try_from(chance).unwrap_or(0) % hosts.len()];
        let is_down = |host: &&crate::rig::agents::Host| match self {
            Down::OneServer => host.name() == chosen.name(),
            Down::OneCluster => host.cluster() == chosen.cluster(),
            Down::AllButOne => host.name() != chosen.name(),
        };
        hosts.iter().filter(is_down).map(|host| host.name().to_owned()).collect()
    }
}

impl Part {
    fn text(self) -> &'static str {
        match self {
            Part::Both => "agent and server killed",
            Part::Agent => "agent killed, server running",
        }
    }
}

/// Takes people out while hosts are down, brings the hosts back, also as they were before, and watches.
///
/// # Errors
/// When terraform refuses, or a host does not start.
pub fn prove(order: &Order) -> Result<Proof> {
    let all = [Part::Both, Part::Agent].into_iter();
    let all =
        all.flat_map(|part| [Down::OneServer, Down::OneCluster, Down::AllButOne].map(|down| (down, part)));
    let (clusters, rounds, later): (&[_], Vec<_>, _) = match order.extent {
        Extent::Sample => (&[("east", 1), ("west", 1), ("north", 1)], vec![(Down::OneServer, Part::Both)], 0),
        Extent::Whole | Extent::Rounds(_) => {
            (&[("east", 3), ("west", 3), ("north", 3)], all.collect(), LATER_SWEEPS)
        }
    };
    let mut system = System::lay_out(clusters);
    declared::declare(&mut system, rounds.len());
    system.supercluster.fleet.start()?;
    system.apply();
    let stale = stale::Backup::of(&system, order.seed)?;
    let aways: Vec<Away> = (0..rounds.len()).map(|round| Away::of(&system, round)).collect::<Result<_>>()?;
    let watch = Watch::start(system.hosts(), aways.iter().flat_map(Away::all).cloned().collect());
    watch.await_first_pass()?;

    let mut rows = vec![Row::exactly(
        "credentials let in on every server before",
        watch.let_in_everywhere(),
        3 * rounds.len(),
    )];
    for (number, ((down, part), away)) in rounds.iter().zip(&aways).enumerate() {
        let hosts = down.hosts(&system, order.seed.rotate_left(8 * u32::try_from(number)?));
        rows.extend(round(
            &mut system,
            &watch,
            away,
            &hosts,
            &format!("{}, {}", down.text(), part.text()),
            *part,
        )?);
    }
    std::thread::sleep(SWEEP * later);
    rows.push(restart_all(&mut system, &watch)?);
    rows.extend(stale::rows(&mut system, &watch, &stale, later > 0)?);
    let found = u64::from(system.plan().unchanged().is_err());
    let counted = watch.finish()?;
    rows.extend([
        Row::exactly("plans at the end that find something to do", found, 0),
        Row::told("connections tried with old credentials", counted.tried),
        Row::exactly("credentials that were out on a server and let in again", counted.returned.len(), 0),
    ]);
    if !counted.returned.is_empty() {
        rows.push(Row::told("which", counted.returned.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let what = format!(
        "{} servers; in each of {} rounds a user is destroyed, one narrowed and an account deleted by one apply while \
         hosts are down; then {later} sweeps, a restart of everything, and one host put back to a backup",
        system.hosts().len(),
        rounds.len(),
    );
    Ok(Proof { what, rows })
}

/// One round: down, taken out, back.
fn round(
    system: &mut System,
    watch: &Watch,
    away: &Away,
    hosts: &[String],
    what: &str,
    part: Part,
) -> Result<Vec<Row>> {
    for name in hosts {
        kill(system, name, part)?;
    }
    away.take_out(system);
    let applied = system.apply();
    let up: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    let up: Vec<String> = up.into_iter().filter(|name| !hosts.contains(name)).collect();
    let late = watch.still_let_in(away, &up)?;
    let began = Instant::now();
    start(system, hosts)?;
    let out = watch.await_out(away, hosts, SWEEP)?;
    Ok(vec![
        Row::exactly(&format!("{what}: let in on servers that were up, after the apply"), late, 0),
        Row::at_most(
            &format!("{what}: seconds from the hosts' return until all are out everywhere"),
            out.duration_since(began).as_secs_f64().ceil(),
            SWEEP.as_secs_f64(),
        ),
        Row::told(&format!("{what}: the apply"), format!("{:.0} s", applied.elapsed.as_secs_f64())),
    ])
}

fn kill(system: &mut System, host: &str, part: Part) -> Result<()> {
    system.host_mut(host).agent()?.kill()?;
    if part == Part::Both {
        let host = system.host(host);
        host.kill_server()?;
        wait_until("the server's end", DEADLINE, || Ok(host.server_pid().is_none()))?;
    }
    Ok(())
}

fn start(system: &mut System, hosts: &[String]) -> Result<()> {
    for name in hosts {
        system.host_mut(name).start()?;
    }
    hosts.iter().try_for_each(|name| system.host_mut(name).await_listening(DEADLINE))
}

/// Every server and agent is killed and started again.
fn restart_all(system: &mut System, watch: &Watch) -> Result<Row> {
    let names: Vec<String> = system.hosts().iter().map(|host| host.name().to_owned()).collect();
    for name in &names {
        kill(system, name, Part::Both)?;
    }
    let began = Instant::now();
    start(system, &names)?;
    watch.await_answers(&names, SWEEP)?;
    let took = format!("{:.0} s", began.elapsed().as_secs_f64());
    Ok(Row::told("all servers and agents killed and started again: until every server answers", took))
}
