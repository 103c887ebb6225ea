//! Random intents, each loaded and asked with connections from addresses worth asking from, several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use host_state::firewall::{FirewallRules, ManagedPort, Packet, Verdict};
use host_state::observed::FirewallObserved;

use super::intents::{self, AGENT_PORT, Intent, OTHER_PORTS};
use super::namespaces::{HOST4, HOST6, Pair};
use super::probes::{self, IN_TIME};
use super::{TRIAL, establish, with_firewall, witness};
use crate::proof::Row;
use crate::soak::Order;
use crate::soak::chance::Chance;

/// How many pairs of namespaces are at work at a time: most of an intent's time is spent waiting for programs.
const PAIRS: u64 = 4;
/// How long a first packet may take to the host and be noted there.
const NOTED_BY: Duration = Duration::from_secs(5);

/// What was asked and what came of it, by port, family and verdict.
type Asked = BTreeMap<(String, &'static str, &'static str), u64>;

/// What came of a row of intents.
#[derive(Debug, Default)]
struct Found {
    intents: u64,
    asked: Asked,
    wrong: Vec<String>,
    /// Differences between a loaded table and what it should be.
    different: usize,
}

pub(super) fn intents_hold(order: &Order) -> Result<Vec<Row>> {
    let whole = order.rounds(25, 1_000);
    let begun = Instant::now();
    let all: Vec<Found> = std::thread::scope(|scope| {
        let work =
            |first: u64| scope.spawn(move || some_hold(order.seed, (first..whole).step_by(PAIRS as usize)));
        let working: Vec<_> = (0..PAIRS).map(work).collect();
        let ended = working
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<_>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let (mut loaded, mut asked, mut wrong, mut different) = (0, Asked::new(), Vec::new(), 0);
    for found in all {
        loaded += found.intents;
        found.asked.into_iter().for_each(|(what, count)| *asked.entry(what).or_default() += count);
        wrong.extend(found.wrong);
        different += found.different;
    }
    let total: u64 = asked.values().sum();
    let mut rows = vec![
        Row::at_least("random intents loaded", loaded, whole),
        Row::told("seconds for them", seconds.round()),
        Row::told("connections tried", total),
        Row::exactly("connections that came out otherwise than the evaluator says", wrong.len(), 0),
        Row::exactly("differences between a loaded table and what it should be", different, 0),
    ];
    rows.extend(wrong.first().map(|first| Row::told("the first of them", first)));
    for name in ManagedPort::ALL {
        for family in ["IPv4", "IPv6"] {
            let count =
                |verdict| asked.get(&(name.to_string(), family, verdict)).copied().unwrap_or_default();
            let (allowed, denied) = (count("allowed"), count("denied"));
            let found = format!("{allowed} allowed, {denied} denied");
            rows.push(Row::told(&format!("{name} port, {family}"), found));
            rows.push(Row::at_least(&format!("{name} port, {family}, each verdict"), allowed.min(denied), 1));
        }
    }
    Ok(rows)
}

/// Loads the intents with these numbers, one after the other, and asks each.
fn some_hold(seed: u64, numbers: impl Iterator<Item = u64>) -> Result<Found> {
    let pair = Pair::new()?;
    witness::load(&pair.host)?;
    let state = tempfile::tempdir()?;
    let plain = intents::plain(HOST4);
    let ports: Vec<u16> = [4222, 5222, 7222, 8222, 7777, AGENT_PORT].into_iter().chain(OTHER_PORTS).collect();
    let listeners = pair.host.inside(|| probes::listen(&ports))?;
    let mut found = Found::default();
    for number in numbers {
        let mut chance = Chance::of(seed, number);
        let rules = Intent::draw(&plain, &mut chance)?.rules();
        with_firewall(&pair, state.path(), async |firewall| {
            // Every fourth is asked while it is on trial, by the candidate's chain.
            if (number / PAIRS).is_multiple_of(4) {
                firewall.begin_trial(&rules, TRIAL).await?;
                return Ok(());
            }
            establish(firewall, &rules).await
        })?;
        ask(&pair, &listeners, &rules, &mut chance, number, &mut found)?;
        found.different += with_firewall(&pair, state.path(), async |firewall| {
            if let Some((trial, _)) = firewall.trial()? {
                firewall.confirm(&trial.id, u64::MAX).await?;
            }
            match firewall.observe(&rules).await {
                FirewallObserved::Seen(seen) => Ok(seen.table.len() + seen.foreign.len()),
                other => bail!("the firewall cannot be looked at: {other:?}"),
            }
        })?;
        found.intents += 1;
    }
    Ok(found)
}

/// What one connection is to show.
struct Question {
    name: String,
    source: IpAddr,
    port: u16,
    expected: Verdict,
}

fn questions(rules: &FirewallRules, chance: &mut Chance) -> Result<Vec<Question>> {
    let mut questions: Vec<Question> = Vec::new();
    let mut taken: BTreeSet<(IpAddr, u16)> = BTreeSet::new();
    for (name, rule) in &rules.0 {
        let mut kinds = BTreeSet::new();
        for source in intents::candidates(rule, chance)? {
            let expected = rules.verdict(Packet { source, port: rule.port, loopback: false });
            let is_new_kind = kinds.insert((source.is_ipv4(), expected == Verdict::Accept));
            // One of each kind always, of the others some.
            if (is_new_kind || chance.below(0..4) == 0) && taken.insert((source, rule.port)) {
                questions.push(Question { name: name.to_string(), source, port: rule.port, expected });
            }
        }
        let source = intents::candidates(rule, chance)?.pop().context("there are always candidates")?;
        for port in OTHER_PORTS {
            if taken.insert((source, port)) {
                let expected = rules.verdict(Packet { source, port, loopback: false });
                questions.push(Question { name: "other".to_owned(), source, port, expected });
            }
        }
    }
    Ok(questions)
}

fn ask(
    pair: &Pair,
    listeners: &[TcpListener],
    rules: &FirewallRules,
    chance: &mut Chance,
    number: u64,
    found: &mut Found,
) -> Result<()> {
    let Found { asked, wrong, .. } = found;
    let questions = questions(rules, chance)?;
    let connected = pair.others.inside(|| {
        let begin = |one: &Question| probes::begin(one.source, probes::host_of(one.source), one.port);
        let attempts = questions.iter().map(begin).collect::<Result<Vec<_>, _>>()?;
        // Who is to be let in has its time; who is not must not be in by then.
        let until = Instant::now() + IN_TIME;
        let mut connected = Vec::new();
        for (attempt, question) in attempts.iter().zip(&questions) {
            let until = if question.expected == Verdict::Accept { until } else { Instant::now() };
            connected.push(attempt.is_connected_by(until)?);
        }
        let all: BTreeSet<_> = attempts.iter().map(|attempt| (attempt.source, attempt.port)).collect();
        let until = Instant::now() + NOTED_BY;
        loop {
            let noted = witness::noted(&pair.host)?;
            if all.is_subset(&noted.arrived) {
                return Ok((connected, noted));
            }
            ensure!(
                Instant::now() < until,
                "first packets did not arrive: {:?}",
                all.difference(&noted.arrived).collect::<Vec<_>>()
            );
        }
    });
    let (connected, noted) = connected?;
    for (question, is_connected) in questions.iter().zip(connected) {
        let Question { name, source, port, expected } = question;
        let has_passed = noted.passed.contains(&(*source, *port));
        let is_allowed = *expected == Verdict::Accept;
        if is_connected != is_allowed || has_passed != is_allowed {
            wrong.push(format!(
                "intent {number}: {source} to port {port} ({name}) is {expected:?} by the evaluator; connected: \
                 {is_connected}, passed: {has_passed}; {rules:?}"
            ));
        }
        count(asked, name, source.is_ipv4(), is_allowed);
    }
    // From the host itself everything is allowed, by its own address too.
    for (name, rule) in &rules.0 {
        for (host, is_v4) in [(HOST4, true), (HOST6, false)] {
            let port = rule.port;
            let is_connected = pair
                .host
                .inside(|| Ok(probes::begin(host, host, port)?.is_connected_by(Instant::now() + IN_TIME)?))?;
            if !is_connected {
                wrong.push(format!("intent {number}: the host does not reach its own port {port} ({name})"));
            }
            count(asked, name.as_str(), is_v4, true);
        }
    }
    probes::drain(listeners);
    witness::forget(&pair.host)
}

fn count(asked: &mut Asked, name: &str, is_v4: bool, is_allowed: bool) {
    let family = if is_v4 { "IPv4" } else { "IPv6" };
    let verdict = if is_allowed { "allowed" } else { "denied" };
    *asked.entry((name.to_owned(), family, verdict)).or_default() += 1;
}
