//! Checks on nine real hosts: each is one promise, in a file of its own below `hosts/`, and a line in [`CHECKS`].
//!
//! To add one: a file with `pub(super) fn check(stage: &mut Stage) -> Result<Vec<Row>>`, and its line here. A check prints
//! nothing; each [`Row`] is a figure, with what is promised of it where something is. It starts from what it asks the
//! [`Stage`] for, and leaves all hosts running with the package installed.

mod audit;
mod boot;
mod download;
mod drift;
mod join;
mod kill;
mod lost;
mod middle;
mod power;
mod revoked;
mod stage;
mod store;
pub mod struck;
mod supercluster;
mod system;
mod trace;
mod units;
mod upgrade;

use anyhow::Result;

pub use stage::{Extent, Programs, Stage};

use crate::proof::Row;

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it promises, in one line.
    pub promise: &'static str,
    /// Whether it starts from hosts that belong to nobody, whatever another check left.
    pub starts_over: bool,
    /// Runs it.
    pub run: fn(&mut Stage) -> Result<Vec<Row>>,
}

/// All of them, in the order in which they run.
pub const CHECKS: &[Check] = &[
    Check {
        name: "boot",
        promise: "nine hosts boot, take the package and run the agent; they come back by themselves",
        starts_over: false,
        run: boot::check,
    },
    Check {
        name: "units",
        promise: "units are as closed as promised, and systemd ignores nothing of them",
        starts_over: false,
        run: units::check,
    },
    Check {
        name: "join",
        promise: "nobody but its owner joins a host, before and after it is joined; the owner joins it all the same",
        starts_over: true,
        run: join::check,
    },
    Check {
        name: "supercluster",
        promise: "one apply takes hosts with the package and user data to a working supercluster; the second plan is empty",
        starts_over: true,
        run: supercluster::check,
    },
    Check {
        name: "drift",
        promise: "everything managed that a hand changes is named by the next plan; an untouched system says nothing",
        starts_over: false,
        run: drift::check,
    },
    Check {
        name: "download",
        promise: "nats-server is installed by URL and SHA-256, and with a wrong sum it is not",
        starts_over: false,
        run: download::check,
    },
    Check {
        name: "revoked",
        promise: "a lost host is out of every route and gateway within 10 s of its apply",
        starts_over: false,
        run: revoked::check,
    },
    Check {
        name: "store",
        promise: "no server starts on a disk that is away, another's, broken or full; plan and host say why; no file is touched",
        starts_over: false,
        run: store::check,
    },
    Check {
        name: "power",
        promise: "a host, a site, all hosts, and a host without power come back by themselves with every message",
        starts_over: false,
        run: power::check,
    },
    Check {
        name: "upgrade",
        promise: "servers keep their process when the agent is upgraded or killed; a removal of the package keeps all data",
        starts_over: false,
        run: upgrade::check,
    },
    Check {
        name: "kill",
        promise: "whatever step of a change is the last before a SIGKILL or a power cut, applies converge; no rendition is a mixture",
        starts_over: false,
        run: kill::check,
    },
    Check {
        name: "lost",
        promise: "the disk of a lost host, with all its keys, opens nothing on the others once its owner has given it up",
        starts_over: false,
        run: lost::check,
    },
    Check {
        name: "trace",
        promise: "over the whole run no agent removes, renames or cuts a file under a store but its own marks",
        starts_over: false,
        run: trace::check,
    },
    // It leaves a log that was cut, of which every later plan tells.
    Check {
        name: "audit",
        promise: "an audit log that is flipped, cut, reordered or robbed of a record is told by `verify` and by the next plan",
        starts_over: false,
        run: audit::check,
    },
];
