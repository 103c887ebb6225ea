//! Every call that removes, renames or cuts a file, of every process of every host since its first boot: none of an agent
//! that does it to a file under a store, but to the agent's own marks there. Servers do it to their own files.
//!
//! The whole run is what came before in it, on hosts that are gone by now too.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use host_state::layout;

use super::Stage;
use crate::proof::Row;
use crate::rig::hosts::trace::{Call, read};

/// Where every store is; also a disk's other folders count.
const DISK: &str = "/data/";
/// The agent's program, and the one whose steps are struck.
const PROGRAMS: [&str; 2] = ["/usr/bin/nats-agent", "/mnt/packages/struck-applier"];
/// Names of the agent's threads: its program's, and those of its runtime. No other program of a host has these.
const THREADS: [&str; 4] = ["nats-agent", "struck-applier", "tokio-rt-worker", "acceptor"];
/// The server's threads.
const SERVER: &str = "nats-server";

/// What was counted.
#[derive(Debug, Default)]
struct Counted {
    agents: usize,
    servers: usize,
    calls: usize,
    by_agents: usize,
    own_marks: usize,
    by_servers: usize,
    /// Of agents, under a store, to what is not theirs.
    wrong: Vec<String>,
    /// Of agents, to a path that does not say where it lies.
    unknown: Vec<String>,
    /// Under a store, by threads of other names.
    others: BTreeMap<String, usize>,
}

pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>> {
    ensure!(stage.extent().is_traced, "the hosts are not traced");
    let earlier = stage.take_earlier();
    let (hosts, _) = stage.supercluster()?;
    let mut counted = Counted::default();
    for host in hosts.all() {
        for call in read(&host.trace_file())? {
            count(host.name(), &call, &mut counted);
        }
    }
    for (host, call) in &earlier {
        count(host, call, &mut counted);
    }
    let Counted { agents, servers, calls, by_agents, own_marks, by_servers, wrong, unknown, others } =
        counted;
    let hosts = hosts.all().len();
    let mut rows = vec![
        // Applier and front each.
        Row::at_least("processes of agents that were traced from their start", agents, 2 * hosts),
        Row::at_least("processes of nats-server that were", servers, hosts),
        Row::told("calls of all processes that remove, rename or cut a file", calls),
        Row::at_least("calls of agents among them", by_agents, hosts),
        Row::told("of these under a store, to the agent's own marks there", own_marks),
        Row::exactly("of these under a store, to any other file", wrong.len(), 0),
        Row::exactly("of these to a path that does not say where it lies", unknown.len(), 0),
        Row::told("calls of nats-servers under a store, to their own files", by_servers),
    ];
    rows.push(Row::exactly("calls under a store by anybody else", others.values().sum::<usize>(), 0));
    rows.extend(
        others.iter().map(|(who, count)| Row::told(&format!("calls under a store by `{who}`"), count)),
    );
    rows.extend(wrong.iter().chain(&unknown).take(20).map(|call| Row::told("an agent's call", call)));
    Ok(rows)
}

fn count(host: &str, call: &Call, counted: &mut Counted) {
    let Call { thread, name, paths, is_done } = call;
    if name == "execve" {
        let program = paths.first().filter(|_| *is_done);
        counted.agents += usize::from(program.is_some_and(|program| PROGRAMS.contains(&program.as_str())));
        counted.servers += usize::from(program.is_some_and(|program| program.ends_with("/nats-server")));
        return;
    }
    counted.calls += 1;
    let is_agent = THREADS.contains(&thread.as_str());
    counted.by_agents += usize::from(is_agent);
    let told = || format!("{host}: {thread}: {name} {}", paths.join(" "));
    if is_agent && paths.iter().any(|path| path.starts_with('?')) {
        counted.unknown.push(told());
    }
    if !paths.iter().any(|path| path.starts_with(DISK)) {
        return;
    }
    match thread.as_str() {
        _ if is_agent && paths.iter().all(|path| is_mark(path)) => counted.own_marks += 1,
        _ if is_agent => counted.wrong.push(told()),
        SERVER => counted.by_servers += 1,
        other => *counted.others.entry(other.to_owned()).or_default() += 1,
    }
}

/// Whether it is a file of the agent's in a store or above it, or such a file while it is being written.
fn is_mark(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let marks = [layout::STORE_IDENTITY_FILE, layout::STORE_BALLAST_FILE, layout::PROBE_FILE];
    marks.iter().any(|mark| name == *mark || name == format!(".{mark}.tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_agent_does_to_others_files_under_a_store_is_wrong() {
        let call = |thread: &str, path: &str| Call {
            thread: thread.to_owned(),
            name: "unlink".to_owned(),
            paths: vec![path.to_owned()],
            is_done: true,
        };
        let mut counted = Counted::default();
        for (thread, path) in [
            ("tokio-rt-worker", "/data/jetstream/nats-agent-probe"),
            ("tokio-rt-worker", "/data/jetstream/jetstream/A/1.blk"),
            ("tokio-rt-worker", "/var/lib/nats-agent/renditions/1"),
            ("nats-server", "/data/jetstream/jetstream/A/1.blk"),
            ("nats-agent", "?/1.blk"),
            ("sh", "/data/x"),
        ] {
            count("east-1", &call(thread, path), &mut counted);
        }
        assert_eq!((counted.own_marks, counted.by_servers, counted.unknown.len()), (1, 1, 1));
        assert_eq!(counted.wrong, ["east-1: tokio-rt-worker: unlink /data/jetstream/jetstream/A/1.blk"]);
        assert_eq!(counted.others, BTreeMap::from([("sh".to_owned(), 1)]));
    }
}
