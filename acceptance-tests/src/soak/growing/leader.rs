//! Looks for a meta leader, over all servers, again and again.
//!
//! One check asks every server that answers, and finds a leader when one names itself. When none does it asks once more
//! after a moment, because a handover takes one; only when that finds none either the system was without a leader.
//! Source: nats-server 2.15.1 server/monitor.go, `/jsz`, `meta_cluster.leader`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::rig::agents::Host;
use crate::scenario::system::monitor_at;
use crate::soak::proof::Row;

/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(200);
/// What a handover may take.
const HANDOVER: Duration = Duration::from_millis(250);

/// Checks until [`Watch::finish`].
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Looks>,
}

/// What they found.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// All.
    checks: u64,
    /// Those that found one at the second look only.
    handovers: u64,
    /// Those that found none.
    without: u64,
}

impl Looks {
    /// For people, with what is promised.
    pub(super) fn rows(&self) -> [Row; 3] {
        [
            Row::told("checks for a meta leader, over all servers, all the while", self.checks),
            Row::told("checks that met a handover, and found the new leader 250 ms later", self.handovers),
            Row::exactly("checks without a meta leader", self.without, 0),
        ]
    }
}

impl Watch {
    /// Starts; there is a leader already.
    pub(super) fn start(hosts: &[Host]) -> Watch {
        let hosts: Vec<(String, Ipv4Addr)> =
            hosts.iter().map(|host| (host.name().to_owned(), host.address())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut looks = Looks::default();
            while !stopped.load(Ordering::Acquire) {
                looks.checks += 1;
                if !has_leader(&hosts) {
                    std::thread::sleep(HANDOVER);
                    if has_leader(&hosts) {
                        looks.handovers += 1;
                    } else {
                        looks.without += 1;
                    }
                }
                std::thread::sleep(PAUSE);
            }
            looks
        });
        Watch { stop, thread }
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<Looks> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))
    }
}

fn has_leader(hosts: &[(String, Ipv4Addr)]) -> bool {
    let leads = |name: &str, address| {
        monitor_at(address, "/jsz").is_ok_and(|jsz| jsz["meta_cluster"]["leader"] == name)
    };
    hosts.iter().any(|(name, address)| leads(name, *address))
}
