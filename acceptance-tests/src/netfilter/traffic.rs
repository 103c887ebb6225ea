//! Replacements in place while connections are made that are always allowed, and others that never are.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::namespaces::{HOST4, Pair};
use super::probes::{self, IN_TIME};
use super::witness;
use super::{TRIAL, intents, only, with_firewall};
use crate::proof::Row;

/// Always allowed, always denied; the witness counts both networks.
const ALLOWED: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const DENIED: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const PORT: u16 = 4222;
/// Pause of who is allowed between two connections.
const PACE: Duration = Duration::from_millis(2);
/// How often who is denied tries.
const TRIES: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Tally {
    made: AtomicU64,
    /// Connections that were not made in time, which the kernel had to try twice.
    late: AtomicU64,
    words: AtomicU64,
    tried: AtomicU64,
    leaked: AtomicU64,
}

/// So many transactions replace the table meanwhile.
pub(super) fn replaced_under_traffic(replacements: u64, pair: &Pair) -> Result<Vec<Row>> {
    let state = tempfile::tempdir()?;
    let plain = intents::plain(HOST4);
    // Each lets the one network in, beside others that come and go.
    let rules = [only(&plain, &["10.1.0.0/16"])?, only(&plain, &["10.0.0.0/15"])?];
    with_firewall(pair, state.path(), async |firewall| super::establish(firewall, &rules[0]).await)?;
    let before = witness::counted(&pair.host)?;
    let (tally, is_over) = (Tally::default(), AtomicBool::new(false));
    let listener = pair.host.inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
    listener.set_nonblocking(true)?;
    let begun = Instant::now();
    let replaced = std::thread::scope(|scope| {
        let guests = [
            scope.spawn(|| echo(&listener, &tally, &is_over)),
            scope.spawn(|| pair.others.inside(|| come_and_go(&tally, &is_over))),
            scope.spawn(|| pair.others.inside(|| stay(&tally, &is_over))),
            scope.spawn(|| pair.others.inside(|| knock(&tally, &is_over))),
        ];
        let replaced = with_firewall(pair, state.path(), async |firewall| {
            for pairs in 0..replacements.div_ceil(2) {
                let rules = &rules[usize::from(pairs % 2 == 0)];
                let trial = firewall.begin_trial(rules, TRIAL).await?;
                firewall.confirm(&trial.id, u64::MAX).await?;
            }
            Ok(())
        });
        is_over.store(true, Ordering::Release);
        let ended: Result<Vec<()>> = guests
            .into_iter()
            .map(|guest| guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        replaced.and(ended)
    });
    replaced.context("traffic or replacements failed")?;
    let seconds = begun.elapsed().as_secs_f64();
    // nft reads one counter after the other, and none of them is to move meanwhile.
    std::thread::sleep(super::flood::COUNTED_BY);
    let after = witness::counted(&pair.host)?;
    let [allowed, denied] = ["allowed4", "denied4"].map(|flow| after.since(&before, flow));
    let told = |count: &AtomicU64| count.load(Ordering::Acquire);
    Ok(vec![
        Row::told("replacements in place under connections", replacements.div_ceil(2) * 2),
        Row::told("seconds for them", format!("{seconds:.1}")),
        Row::at_least("packets of allowed connections meanwhile", allowed.arrived, 1),
        Row::exactly("of them dropped", allowed.arrived - allowed.passed, 0),
        Row::at_least("packets of denied connections meanwhile", denied.arrived, 1),
        Row::exactly("of them let through", denied.passed, 0),
        Row::at_least("allowed connections made", told(&tally.made), 1),
        Row::exactly("allowed connections that took two attempts", told(&tally.late), 0),
        Row::at_least("words on a connection that stayed", told(&tally.words), 1),
        Row::at_least("denied connections tried", told(&tally.tried), 1),
        Row::exactly("denied connections made", told(&tally.leaked), 0),
    ])
}

/// The host's side: gives every word back.
fn echo(listener: &TcpListener, tally: &Tally, is_over: &AtomicBool) -> Result<()> {
    let mut guests = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        while let Ok((stream, from)) = listener.accept() {
            stream.set_nonblocking(true)?;
            if from.ip() == IpAddr::V4(DENIED) {
                tally.leaked.fetch_add(1, Ordering::AcqRel);
            }
            guests.push(stream);
        }
        guests.retain_mut(|stream| {
            let mut word = [0_u8; 64];
            match stream.read(&mut word) {
                Ok(0) => false,
                Ok(length) => stream.write_all(&word[..length]).is_ok(),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            }
        });
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Connections from the allowed network, one after the other.
fn come_and_go(tally: &Tally, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Acquire) {
        let in_time = probes::is_reached(ALLOWED.into(), PORT, IN_TIME)?;
        let count = if in_time { &tally.made } else { &tally.late };
        count.fetch_add(1, Ordering::AcqRel);
        // So that who accepts comes along; what has to wait for that is sent twice.
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// One connection from the allowed network that lasts and is always in use.
fn stay(tally: &Tally, is_over: &AtomicBool) -> Result<()> {
    let mut stream = probes::connected(ALLOWED.into(), PORT, IN_TIME)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    while !is_over.load(Ordering::Acquire) {
        let mut word = [0_u8; 4];
        let answered = stream.write_all(b"word").and_then(|()| stream.read_exact(&mut word));
        // Whoever gives words back goes when all is over.
        if is_over.load(Ordering::Acquire) {
            break;
        }
        answered.context("a word on an allowed connection was lost")?;
        tally.words.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}

/// First packets from the denied network, as fast as they go.
fn knock(tally: &Tally, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Acquire) {
        let attempt = probes::begin(DENIED.into(), HOST4, PORT)?;
        if attempt.is_connected_by(Instant::now() + TRIES)? {
            tally.leaked.fetch_add(1, Ordering::AcqRel);
        }
        tally.tried.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}
