//! Replacements in place under as many packets as go: first packets of connections, IPv4 and IPv6, from sources that
//! are always allowed and from others that never are. Nobody answers them: the witness counts them behind our table and
//! takes them away.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, send, socket_with, sockopt,
};

use super::namespaces::{HOST4, Pair};
use super::probes::host_of;
use super::witness::{self, FLOODS};
use super::{TRIAL, establish, intents, only, with_firewall};
use crate::proof::Row;

const PORT: u16 = 4222;
const SOURCE_PORT: u16 = 12_345;
/// How long packets that are under way may take to be counted.
pub(super) const COUNTED_BY: Duration = Duration::from_secs(1);

/// So many transactions replace the rules meanwhile: half of them put others on trial, half confirm.
pub(super) fn replaced_under_flood(replacements: u64, pair: &Pair) -> Result<Vec<Row>> {
    let state = tempfile::tempdir()?;
    let plain = intents::plain(HOST4);
    // Each lets the same two networks in, beside others that come and go.
    let rules = [
        only(&plain, &["10.1.0.0/16", "fd01::/16"])?,
        only(&plain, &["10.0.0.0/15", "10.64.0.0/16", "fd00::/15", "fd40::/16"])?,
    ];
    with_firewall(pair, state.path(), async |firewall| establish(firewall, &rules[0]).await)?;
    let before = witness::counted(&pair.host)?;
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let replaced = std::thread::scope(|scope| {
        let is_over = &is_over;
        let sending: Vec<_> = FLOODS
            .iter()
            .map(|(_, source)| scope.spawn(move || pair.others.inside(|| flood(source.parse()?, is_over))))
            .collect();
        let replaced = with_firewall(pair, state.path(), async |firewall| {
            for number in 0..replacements.div_ceil(2) {
                let trial = firewall.begin_trial(&rules[usize::from(number % 2 == 0)], TRIAL).await?;
                firewall.confirm(&trial.id, u64::MAX).await?;
            }
            Ok(())
        });
        is_over.store(true, Ordering::Release);
        let ended: Result<Vec<()>> = sending
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        replaced.and(ended)
    });
    replaced.context("packets or replacements failed")?;
    let seconds = begun.elapsed().as_secs_f64();
    std::thread::sleep(COUNTED_BY);
    let after = witness::counted(&pair.host)?;
    let mut rows = vec![
        Row::told("replacements in place under as many packets as go", replacements.div_ceil(2) * 2),
        Row::told("seconds for them", format!("{seconds:.1}")),
    ];
    for (family, digit) in [("IPv4", '4'), ("IPv6", '6')] {
        let [allowed, denied] =
            ["allowed", "denied"].map(|flow| after.since(&before, &format!("{flow}{digit}")));
        rows.push(Row::at_least(
            &format!("allowed packets meanwhile, {family}"),
            allowed.arrived,
            replacements,
        ));
        rows.push(Row::exactly(&format!("of them dropped, {family}"), allowed.arrived - allowed.passed, 0));
        rows.push(Row::at_least(
            &format!("denied packets meanwhile, {family}"),
            denied.arrived,
            replacements,
        ));
        rows.push(Row::exactly(&format!("of them let through, {family}"), denied.passed, 0));
    }
    Ok(rows)
}

/// Sends first packets from `source` to the client port until it is over.
fn flood(source: IpAddr, is_over: &AtomicBool) -> Result<()> {
    let socket = raw(source).context("no raw socket")?;
    // A TCP header of 20 bytes with nothing but ports and SYN; no checksum, which our table does not look at.
    let mut header = [0_u8; 20];
    header[..2].copy_from_slice(&SOURCE_PORT.to_be_bytes());
    header[2..4].copy_from_slice(&PORT.to_be_bytes());
    (header[12], header[13]) = (5 << 4, 0b10);
    while !is_over.load(Ordering::Acquire) {
        match send(&socket, &header, SendFlags::empty()) {
            Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context("a packet cannot be sent"),
        }
    }
    Ok(())
}

fn raw(source: IpAddr) -> std::io::Result<OwnedFd> {
    let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    if source.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &SocketAddr::new(host_of(source), 0))?;
    Ok(socket)
}
