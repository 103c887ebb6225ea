//! Every step of a change, on every kind of change, is the last one: the applier is killed there, or its host loses its
//! power there. Applies go on until one comes through; then everything is as declared, and no rendition is a mixture of
//! two.
//!
//! Which steps there are is what the applier itself passes while nothing is struck; see [`super::struck`].

mod mixture;
mod strikes;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nats_agent::parts::effects::OF_HOSTS;
use serde_json::json;

use super::struck::Point;
use super::system::{self, System};
use super::{Extent, Stage};
use crate::proof::Row;
use crate::rig::hosts::{Host, Hosts, SITES};
use strikes::{Strike, Way};

/// How long an apply that was struck may go on.
const STRUCK_TIMEOUT: Duration = Duration::from_secs(900);
/// Applies of one round, beyond one for each host, until one must come through.
const SPARE_APPLIES: usize = 6;
/// In how many rounds a step may stay unmet before it is given up.
const MOST_TRIES: u32 = 3;

/// A kind of change that an apply makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Servers read their configuration again.
    Reload,
    /// Servers restart.
    Restart,
    /// Rules change, on trial first.
    Firewall,
    /// Accounts change.
    Claims,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Reload, Kind::Restart, Kind::Firewall, Kind::Claims];

    /// Declares such a change; another `number` makes another one.
    fn declare(self, system: &mut System, number: u64) {
        for site in SITES {
            let cluster = system.resource("nats_cluster", site);
            match self {
                Kind::Reload => cluster["limits"] = json!({ "max_payload": format!("{}KB", 512 + number) }),
                Kind::Restart => cluster["jetstream"]["max_memory"] = json!(format!("{}MB", 64 + number)),
                Kind::Firewall => {
                    cluster["firewall"]["clients"] =
                        json!(["10.77.0.0/16", format!("10.79.{}.0/24", number % 256)]);
                }
                Kind::Claims => {}
            }
        }
        if self == Kind::Claims {
            let allowed = json!(["orders.>", "$JS.API.>", "$JS.ACK.>", format!("kill.{number}")]);
            system.resource("nats_user", "service")["publish"] = json!({ "allow": allowed });
        }
    }
}

/// What is still to be struck.
#[derive(Debug, Clone)]
struct Wanted {
    kind: Kind,
    strike: Strike,
    /// Rounds in which it was armed and not met.
    tries: u32,
}

/// What was counted.
#[derive(Debug, Default)]
struct Counted {
    struck: BTreeSet<(Point, Way)>,
    applies: usize,
    failed: usize,
    rounds: u64,
    renditions: usize,
    mixed: Vec<String>,
    given_up: Vec<String>,
}

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    let Extent { rounds, seed, is_traced: _ } = stage.extent();
    let applier = stage.programs().struck_applier.clone();
    let applier = applier.context("`cargo xtask test-hosts` builds the applier that is struck")?;
    let packages = stage.programs().package.parent().context("the package lies in a folder")?.to_owned();
    let (hosts, system) = stage.supercluster()?;
    strikes::put_in_place(hosts, &applier, &packages)?;
    let mut number = 1;
    let mut wanted = steps(hosts, system, &mut number)?;
    let points: BTreeSet<Point> = wanted.iter().map(|one| one.strike.point).collect();
    shuffle(&mut wanted, seed);
    let all = wanted.len();
    let mut counted = Counted::default();
    while !wanted.is_empty() && rounds.is_none_or(|rounds| counted.rounds < rounds) {
        let round = take_round(&mut wanted, hosts.all().len());
        let unmet = one_round(hosts, system, &round, &mut number, &mut counted)
            .with_context(|| format!("round {} of seed {seed}: {round:?}", counted.rounds))?;
        for mut one in unmet {
            one.tries += 1;
            if one.tries < MOST_TRIES {
                wanted.push(one);
            } else {
                counted.given_up.push(format!("{} by {}", one.strike.point, one.strike.way));
            }
        }
        counted.rounds += 1;
    }
    strikes::take_away(hosts)?;
    system::wait_settled(system, hosts)?;
    Ok(rows(&points, all, seed, rounds.is_none(), counted))
}

fn rows(points: &BTreeSet<Point>, all: usize, seed: u64, whole: bool, counted: Counted) -> Vec<Row> {
    let Counted { struck, applies, failed, rounds, renditions, mixed, given_up } = counted;
    let effects: BTreeSet<_> = points.iter().map(|point| point.effect).collect();
    let of_hosts = effects.iter().filter(|effect| OF_HOSTS.contains(effect)).count();
    let hit: BTreeSet<Point> = struck.iter().map(|(point, _)| *point).collect();
    let by = |way: Way| struck.iter().filter(|(_, one)| *one == way).count();
    let mut rows = vec![
        Row::told("seed", seed),
        Row::told("steps that the changes pass, each at its moments", points.len()),
        Row::told("effects among them", effects.len()),
        Row::told("of these, effects that only hosts have", of_hosts),
        Row::told("steps that were struck", hit.len()),
        Row::at_least("strikes by SIGKILL of the applier", by(Way::Kill), 1),
        Row::at_least("strikes by a power cut of the host", by(Way::Power), 1),
        Row::told("strikes wanted", all),
        Row::told("applies, and of these failed", format!("{applies}, {failed}")),
        Row::told("rounds that came to an empty plan", rounds),
        Row::at_least("renditions looked at, after each strike and each round", renditions, struck.len()),
        Row::exactly("renditions that are a mixture", mixed.len(), 0),
    ];
    if whole {
        rows.push(Row::exactly("strikes that were made, of those wanted", struck.len(), all));
    }
    rows.extend(mixed.iter().map(|what| Row::told("mixture", what)));
    rows.extend(given_up.iter().map(|what| Row::told("never met again", what)));
    rows
}

/// Makes each kind of change once, unstruck, and gives what is to be struck: each step that was passed, in each way, in the
/// first kind of change that passes it.
fn steps(hosts: &Hosts, system: &mut System, number: &mut u64) -> Result<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for kind in Kind::ALL {
        for host in hosts.all() {
            strikes::begin_to_record(host)?;
        }
        kind.declare(system, *number);
        *number += 1;
        system.apply(hosts).with_context(|| format!("{kind:?}, unstruck"))?;
        let mut passed = BTreeSet::new();
        for host in hosts.all() {
            passed.extend(strikes::recorded(host)?);
        }
        ensure!(!passed.is_empty(), "{kind:?} passed no step: the applier that is struck does not run");
        for point in passed {
            if wanted.iter().all(|one| one.strike.point != point) {
                let each = |way| Wanted { kind, strike: Strike { point, way }, tries: 0 };
                wanted.extend(Way::ALL.map(each));
            }
        }
    }
    Ok(wanted)
}

/// Takes as many as there are hosts, all of the kind of change of which most are left.
fn take_round(wanted: &mut Vec<Wanted>, most: usize) -> Vec<Wanted> {
    let left = |kind: &Kind| wanted.iter().filter(|one| one.kind == *kind).count();
    let Some(kind) = Kind::ALL.into_iter().max_by_key(left) else { return Vec::new() };
    let mut taken = Vec::new();
    wanted.retain(|one| {
        let takes = one.kind == kind && taken.len() < most;
        if takes {
            taken.push(one.clone());
        }
        !takes
    });
    taken
}

/// Arms a strike on each host, some of a short round on several, and applies until an apply comes through. Gives those that
/// were met on none: of two hosts one may do a step, and the other find it done.
fn one_round(
    hosts: &mut Hosts,
    system: &mut System,
    round: &[Wanted],
    number: &mut u64,
    counted: &mut Counted,
) -> Result<Vec<Wanted>> {
    let names: Vec<String> = hosts.all().iter().map(|host| host.name().to_owned()).collect();
    let Some(first) = round.first() else { return Ok(Vec::new()) };
    let armed: Vec<(&Wanted, &String)> = round.iter().cycle().zip(&names).collect();
    for (one, name) in &armed {
        strikes::arm(hosts.host(name)?, one.strike)?;
    }
    first.kind.declare(system, *number);
    *number += 1;
    let mut tries = 0;
    loop {
        tries += 1;
        ensure!(tries <= names.len() + SPARE_APPLIES, "no apply comes through");
        let mut apply = system.start_apply()?;
        let deadline = Instant::now() + STRUCK_TIMEOUT;
        while apply.is_running()? {
            ensure!(Instant::now() < deadline, "an apply does not end");
            for (one, name) in &armed {
                if strikes::is_struck(hosts.host(name)?) {
                    strike(hosts, name, one, counted)?;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let run = apply.finish(Duration::from_secs(10))?;
        counted.applies += 1;
        // It may fail, and say why; what it must not do is leave something that the next one cannot go on from.
        let came_through = run.succeeded();
        let stands = names.iter().any(|name| hosts.host(name).is_ok_and(strikes::is_struck));
        match came_through {
            Ok(_) if !stands => break,
            Ok(_) => {}
            Err(why) if tries == names.len() + SPARE_APPLIES => return Err(why),
            Err(_) => counted.failed += 1,
        }
    }
    for (_, name) in &armed {
        strikes::disarm(hosts.host(name)?)?;
    }
    // One may have been met after the last look.
    for (one, name) in &armed {
        if strikes::is_struck(hosts.host(name)?) {
            strike(hosts, name, one, counted)?;
        }
    }
    system::wait_settled(system, hosts)?;
    for host in hosts.all() {
        look(host, "after the round", counted)?;
    }
    let is_unmet = |one: &&Wanted| !counted.struck.contains(&(one.strike.point, one.strike.way));
    Ok(round.iter().filter(is_unmet).cloned().collect())
}

/// The applier of this host stands at its point: it is killed there, or its host is.
fn strike(hosts: &mut Hosts, name: &str, one: &Wanted, counted: &mut Counted) -> Result<()> {
    let Strike { point, way } = one.strike;
    match way {
        Way::Kill => {
            let host = hosts.host(name)?;
            strikes::forget(host)?;
            host.run(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", strikes::UNIT])?;
        }
        Way::Power => {
            hosts.host_mut(name)?.cut_power()?;
            strikes::forget(hosts.host(name)?)?;
        }
    }
    look(hosts.host(name)?, &format!("{point} by {way}"), counted)?;
    hosts.boot()?;
    counted.struck.insert((point, way));
    Ok(())
}

/// Looks for mixtures on a host, which may be off.
fn look(host: &Host, when: &str, counted: &mut Counted) -> Result<()> {
    let seen = mixture::look(host).with_context(|| format!("{}, {when}", host.name()))?;
    counted.renditions += seen.renditions;
    counted.mixed.extend(seen.mixed.into_iter().map(|what| format!("{when}: {what}")));
    Ok(())
}

/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", splitmix64; Fisher and Yates.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (word ^ (word >> 31)) % (last as u64 + 1);
        items.swap(last, usize::try_from(other).unwrap_or_default());
    }
}
