//! The firewall against a real kernel: in network namespaces of its own, with real `nft` and real TCP connections.
//!
//! What the agent's own firewall part does with random intents is held against the evaluator of `host-state`; then come
//! replacements under traffic, a process that is killed while rules are on trial, and hands that change the table.
//! Needs root, `nft`, `ip`, `unshare` and `nsenter`; changes nothing outside the namespaces.

mod hands;
mod intents;
mod lockout;
mod namespaces;
mod probes;
mod traffic;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use host_state::document::ClusterSection;
use host_state::firewall::{FirewallRules, ManagedPort, Packet, Verdict};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::firewall::Firewall;

use self::intents::{AGENT_PORT, Intent, OTHER_PORTS};
use self::namespaces::{HOST4, HOST6, Pair};
use self::probes::IN_TIME;
use crate::proof::{Proof, Row};
use crate::soak::Order;
use crate::soak::chance::Chance;

pub use lockout::hold;

/// How long rules are on trial where nobody waits for the end.
const TRIAL: Duration = Duration::from_secs(60);
/// How long a first packet may take to the host and be noted there.
const NOTED_BY: Duration = Duration::from_secs(5);

/// What was asked and what came of it, by port, family and verdict.
type Asked = BTreeMap<(String, &'static str, &'static str), u64>;

/// Proves it: 1,000 intents, 500 replacements, 10 lock-outs, 20 rounds of foreign hands as a whole.
///
/// # Errors
/// When a namespace cannot be made, a program is missing, or the firewall cannot be changed.
pub fn prove(order: &Order) -> Result<Proof> {
    let pair = Pair::new()?;
    witness::load(&pair.host)?;
    let mut rows = intents_hold(order, &pair)?;
    rows.extend(traffic::replaced_under_traffic(order.rounds(20, 500), &pair)?);
    rows.extend(lockout::undone_by_the_kernel(order.rounds(1, 10), &pair)?);
    rows.extend(hands::foreign_hands(order.rounds(2, 20), &pair)?);
    Ok(Proof {
        what:
            "The firewall part of the agent in two network namespaces, with real nft and real TCP connections"
                .to_owned(),
        rows,
    })
}

/// Does `work` with the host's firewall, whose files lie in `state`, in the host's namespace.
fn with_firewall<T: Send>(
    pair: &Pair,
    state: &Path,
    work: impl AsyncFnOnce(&Firewall) -> Result<T> + Send,
) -> Result<T> {
    pair.host.inside(|| in_runtime(async || work(&Firewall::open(Effects::default(), state)).await))
}

/// Runs a future on this thread, so that whatever it starts is in the thread's namespace.
fn in_runtime<T, F: Future<Output = Result<T>>>(work: impl FnOnce() -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work().await })
}

/// Puts rules on trial and confirms them, as over a connection that was opened after.
async fn establish(firewall: &Firewall, rules: &FirewallRules) -> Result<()> {
    let trial = firewall.begin_trial(rules, TRIAL).await?;
    Ok(firewall.confirm(&trial.id, u64::MAX).await?)
}

fn intents_hold(order: &Order, pair: &Pair) -> Result<Vec<Row>> {
    let whole = order.rounds(25, 1_000);
    let state = tempfile::tempdir()?;
    let plain = intents::plain(HOST4);
    let ports: Vec<u16> = [4222, 5222, 7222, 8222, 7777, AGENT_PORT].into_iter().chain(OTHER_PORTS).collect();
    let listeners = pair.host.inside(|| probes::listen(&ports))?;
    let begun = Instant::now();
    let (mut asked, mut wrong) = (Asked::new(), Vec::new());
    let mut different = 0;
    for number in 0..whole {
        let mut chance = Chance::of(order.seed, number);
        let rules = Intent::draw(&plain, &mut chance)?.rules();
        with_firewall(pair, state.path(), async |firewall| {
            // Every fourth is asked while it is on trial, by the candidate's chain.
            if number % 4 == 0 {
                firewall.begin_trial(&rules, TRIAL).await?;
                return Ok(());
            }
            establish(firewall, &rules).await
        })?;
        ask(pair, &listeners, &rules, &mut chance, number, &mut asked, &mut wrong)?;
        different += with_firewall(pair, state.path(), async |firewall| {
            if let Some((trial, _)) = firewall.trial()? {
                firewall.confirm(&trial.id, u64::MAX).await?;
            }
            match firewall.observe(&rules).await {
                host_state::observed::FirewallObserved::Seen(seen) => {
                    Ok(seen.table.len() + seen.foreign.len())
                }
                other => bail!("the firewall cannot be looked at: {other:?}"),
            }
        })?;
    }
    let total: u64 = asked.values().sum();
    let minute = total as f64 / begun.elapsed().as_secs_f64() * 60.0;
    let mut rows = vec![
        Row::at_least("random intents loaded", whole, order.rounds(25, 1_000)),
        Row::told("connections tried", total),
        Row::told("connections tried in a minute", minute.round()),
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
    ensure!(!listeners.is_empty(), "nobody listened");
    Ok(rows)
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
    asked: &mut Asked,
    wrong: &mut Vec<String>,
) -> Result<()> {
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

/// Rules under which only `allowed` reaches the client port.
fn only(plain: &ClusterSection, allowed: &str) -> Result<FirewallRules> {
    let mut section = plain.clone();
    section.firewall.clients = vec![allowed.parse()?];
    Ok(host_state::firewall::Reach { cluster: &section, gateway: None, agent_port: AGENT_PORT }.rules())
}
