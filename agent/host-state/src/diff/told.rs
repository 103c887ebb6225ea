//! Each difference in the words of people: drift, which apply removes, or a finding, which it cannot.

use nats_config::SettingDifference;

use super::process::short;
use super::{ClaimProblem, Difference, PortChange, StoreDanger, StoreUnmarked, UnitFault};
use crate::desired::Owner;
use crate::drift::{Drift, Finding};
use crate::firewall::TableDifference;
use crate::firewall::foreign::ForeignDrop;
use crate::layout;
use crate::preflight::size;

/// Beginning of the finding that the resolver's accounts could not be looked at, so that a caller can tell "not known"
/// from "nothing is wrong".
pub const RESOLVER_SILENT: &str = "the account resolver could not be asked";

/// The item of what the running server says.
const RUNNING: &str = "running";
/// The setting of [`Difference::RunningOther`].
const CONFIG_DIGEST: &str = "config_digest";

impl Drift {
    /// Whether the running server has another configuration than the one written for it.
    #[must_use]
    pub fn is_of_running_configuration(&self) -> bool {
        self.item == RUNNING && self.setting.as_deref() == Some(CONFIG_DIGEST)
    }
}

impl Difference {
    /// What people are told: every drift of it, at least one.
    ///
    /// # Errors
    /// The finding, when no step removes it.
    pub fn told(&self) -> Result<Vec<Drift>, Finding> {
        match self {
            Difference::RenditionMissing => Ok(one("configuration", None, Some("rendered"), None)),
            Difference::RenditionOutdated { settings } | Difference::ConfigurationEdited { settings } => {
                Ok(settings.iter().map(setting).collect())
            }
            Difference::ChangeBlocked { settings } => Err(finding(
                "configuration",
                format!("{} cannot change: it takes a restart, and the server could not be started again", {
                    if settings.is_empty() {
                        "the server".to_owned()
                    } else {
                        format!("`{}`", settings.join("`, `"))
                    }
                }),
                "remove what keeps the server from starting, the other findings say what, then apply again",
            )),
            Difference::FileMissing { file } => {
                Ok(one(item_of(file), Some(file), Some("the file of the rendition"), None))
            }
            Difference::FileChanged { file, desired, found } => {
                Ok(one(item_of(file), Some(file), Some(&short(desired)), Some(&short(found))))
            }
            Difference::FileMode { file, desired, found } => {
                Ok(one(item_of(file), Some(file), Some(&mode(*desired)), Some(&mode(*found))))
            }
            Difference::FileUnreadable { file, reason } => Err(finding(
                item_of(file),
                format!("`{file}` cannot be read: {reason}"),
                "let the agent's user read the state directory, then plan again",
            )),
            Difference::RunningOther { desired, found } => {
                Ok(one(RUNNING, Some(CONFIG_DIGEST), Some(&digest(desired)), Some(&digest(found))))
            }
            Difference::CertificateNotServed { listener, desired, found } => Ok(one(
                RUNNING,
                Some(&format!("certificate of {listener}")),
                Some(&format!("valid until {desired}")),
                Some(&format!("valid until {found}")),
            )),
            Difference::RunningSilent { reason } => Err(finding(
                RUNNING,
                format!("nats-server runs and does not answer on its monitoring port: {reason}"),
                "look at the server's log; restart it when it hangs",
            )),
            Difference::RunningStranger { desired, found } => Err(finding(
                RUNNING,
                format!("server `{found}` answers on the monitoring port of `{desired}`"),
                "stop the other server or give it another port",
            )),
            Difference::StoreUnmarked(why) => {
                Ok(one("store", Some(layout::STORE_IDENTITY_FILE), Some("this host's"), unmarked(*why)))
            }
            Difference::StoreMode { desired, found } => {
                Ok(one("store", Some("mode"), Some(&mode(*desired)), Some(&mode(*found))))
            }
            Difference::StoreOwner { desired, found } => {
                Ok(one("store", Some("owner"), Some(&desired.to_string()), Some(&found.to_string())))
            }
            Difference::StoreBallast { desired, found, has_room: true } => {
                Ok(one("store", Some("ballast"), Some(&size(*desired)), found.map(size).as_deref()))
            }
            Difference::StoreBallast { desired, found: _, has_room: false } => Err(finding(
                "store",
                format!("there is no room for the ballast file of {}", size(*desired)),
                "remove data or enlarge the disk; the next apply makes the file, which is deleted when the disk is full",
            )),
            Difference::StoreDanger(danger) => Err(store(danger)),
            Difference::BinaryToInstall { desired, found } => {
                Ok(one("binary", None, Some(desired), found.as_deref()))
            }
            Difference::BinaryForeign { problem, unusable: _ } => Err(finding(
                "binary",
                problem.clone(),
                "install the version that `server` names, or name the one that is installed",
            )),
            Difference::Unit(fault) => unit(fault),
            Difference::ProcessStopped { last_exit } => {
                let found =
                    last_exit.as_ref().map_or("stopped".to_owned(), |exit| format!("stopped ({exit})"));
                Ok(one("process", None, Some("running"), Some(&found)))
            }
            Difference::ProcessRunning { pid } => {
                Ok(one("process", None, Some("held"), Some(&format!("running (pid {pid})"))))
            }
            Difference::ProcessOldBinary { desired, found } => {
                Ok(one("process", Some("binary"), Some(&short(desired)), Some(&short(found))))
            }
            Difference::ClaimsSilent { reason } => Err(finding(
                "claims",
                format!("{RESOLVER_SILENT}: {reason}"),
                "wait until the server answers, then plan again",
            )),
            Difference::Claim { account, name, problem } => claim(account, name, problem),
            // Without a rule before or after there is no port to name, and the rules differ all the same.
            Difference::FirewallOutdated { ports } if ports.is_empty() => {
                Ok(one("firewall", None, Some("no rule"), Some("never loaded")))
            }
            Difference::FirewallOutdated { ports } => Ok(ports.iter().flat_map(port).collect()),
            Difference::FirewallTable { items } => Ok(items.iter().flat_map(table).collect()),
            Difference::FirewallForeign(foreign) => Err(foreign_drop(foreign)),
            Difference::FirewallUnreadable { reason } => Err(finding(
                "firewall",
                format!("the firewall cannot be looked at: {reason}"),
                "look at the cause, then plan again; the kernel goes on with the rules that it has",
            )),
        }
    }
}

fn one(item: &str, setting: Option<&str>, desired: Option<&str>, found: Option<&str>) -> Vec<Drift> {
    vec![Drift {
        item: item.to_owned(),
        setting: setting.map(str::to_owned),
        desired: desired.map(str::to_owned),
        found: found.map(str::to_owned),
    }]
}

fn finding(item: &str, problem: String, remedy: &str) -> Finding {
    Finding { item: item.to_owned(), problem, remedy: remedy.to_owned() }
}

fn unit(fault: &UnitFault) -> Result<Vec<Drift>, Finding> {
    let file = layout::DROP_IN_PATH;
    let drift = |setting: &str, desired: &str, found: Option<&str>| {
        Ok(one("unit", Some(setting), Some(desired), found))
    };
    match fault {
        UnitFault::Missing => drift(file, "the agent's drop-in", None),
        UnitFault::Edited { settings } if settings.is_empty() => {
            drift(file, "as it was written", Some("changed in comments or spaces"))
        }
        UnitFault::Edited { settings } => Ok(settings
            .iter()
            .map(|SettingDifference { setting, desired, found }| Drift {
                item: "unit".to_owned(),
                setting: Some(setting.clone()),
                desired: desired.clone(),
                found: found.clone(),
            })
            .collect()),
        UnitFault::Mode { found } => drift(file, &mode(layout::PUBLIC_MODE), Some(&mode(*found))),
        UnitFault::OtherOwner { found } => {
            drift(file, &Owner { uid: 0, gid: 0 }.to_string(), Some(&found.to_string()))
        }
        UnitFault::Masked => drift("nats-server.service", "not masked", Some("masked")),
        UnitFault::Stale => {
            drift("nats-server.service", "as its files say", Some("read before they changed"))
        }
        UnitFault::Unreadable { reason } => Err(finding(
            "unit",
            format!("`nats-server.service` could not be looked at: {reason}"),
            "look at the system's D-Bus and systemd; nothing is started until they answer",
        )),
        UnitFault::NotLoaded { state } => Err(finding(
            "unit",
            format!("systemd cannot use `nats-server.service` ({state})"),
            "install the agent's package again, then look at `systemctl status nats-server`",
        )),
        UnitFault::Replaced { path } => Err(finding(
            "unit",
            format!("`{path}` stands before the package's `nats-server.service`"),
            "remove it, or carry on knowing that the server runs under its rules; `systemctl revert` removes it",
        )),
        UnitFault::Foreign { path } => Err(finding(
            "unit",
            format!("`{path}` changes `nats-server.service` and is not the agent's"),
            "remove it, or say what it says in the cluster's own settings",
        )),
        UnitFault::Enabled => Err(finding(
            "unit",
            "`nats-server.service` is enabled, so it starts at boot before the agent has looked at its store"
                .to_owned(),
            "`systemctl disable nats-server`; the agent starts it",
        )),
    }
}

/// The word for what a file of a rendition is.
fn item_of(file: &str) -> &'static str {
    match file {
        layout::CERT_FILE | layout::CA_FILE => "certificate",
        layout::KEY_FILE => "key",
        _ => "configuration",
    }
}

/// `nats-config` has hidden what may be secret and shortened what is long.
fn setting(difference: &SettingDifference) -> Drift {
    let SettingDifference { setting, desired, found } = difference;
    Drift {
        item: "configuration".to_owned(),
        setting: Some(setting.clone()),
        desired: desired.clone(),
        found: found.clone(),
    }
}

fn mode(bits: u32) -> String {
    format!("mode {bits:04o}")
}

fn digest(digest: &str) -> String {
    short(digest.strip_prefix("sha256:").unwrap_or(digest))
}

/// What is there instead of the identity file; absent when nothing is.
fn unmarked(why: StoreUnmarked) -> Option<&'static str> {
    match why {
        StoreUnmarked::NoDirectory | StoreUnmarked::NoIdentity => None,
        StoreUnmarked::Damaged => Some("damaged"),
        StoreUnmarked::OtherMode => Some("of other permission bits"),
        StoreUnmarked::NoLineage => Some("without this meta group"),
    }
}

fn store(danger: &StoreDanger) -> Finding {
    let (problem, remedy) = match danger {
        StoreDanger::Gone { directory } => (
            format!("store directory `{directory}` is gone, this host has data in it"),
            "mount the disk; where it is lost, enrol the host anew so that it joins empty",
        ),
        StoreDanger::Emptied { directory } => (
            format!("store directory `{directory}` is empty, this host has data in it"),
            "mount the right disk; where it is lost, enrol the host anew so that it joins empty",
        ),
        StoreDanger::Unreadable { reason } => (
            format!("the store directory cannot be looked at: {reason}"),
            "let the agent's user read the store directory, then plan again",
        ),
        StoreDanger::Another { field, desired, found } => (
            format!("the store belongs to {field} `{found}`, not to `{desired}`"),
            "mount this host's disk, or name another `store_dir`; nothing is started on it and nothing deleted",
        ),
        StoreDanger::Unknown { directory } => (
            format!("there is data in store directory `{directory}` and nothing says whose"),
            "name an empty `store_dir`, or move the data away; nothing is started on it and nothing deleted",
        ),
        StoreDanger::OtherAccounts { desired, found } => (
            format!(
                "the store holds data of {} account(s), like `{}`, and not of system account `{desired}`",
                found.len(),
                found.first().map_or("", String::as_str)
            ),
            "mount this host's disk, or name another `store_dir`; nothing is started on it and nothing deleted",
        ),
        StoreDanger::DataOwner { directory, desired, found } => (
            format!("the data in `{directory}` belongs to user {found}, nats-server runs as user {desired}"),
            "give it to that user with `chown -R`, then apply again; an agent changes no file of a store",
        ),
        StoreDanger::OnRoot { directory, disk } => (
            format!(
                "store directory `{directory}` lies on the root file system, {disk}: no disk is mounted at it or above it"
            ),
            "mount the disk, and have it mounted at boot; where the root disk is meant, set \
             `jetstream.store_on_root = true`",
        ),
        StoreDanger::ReadOnly { directory, disk, point } => (
            format!(
                "store directory `{directory}` cannot be written: {disk} is mounted read-only at `{point}`"
            ),
            "a disk with errors is remounted read-only: look at `dmesg`, repair it, mount it `rw`, restart \
             `nats-agent-applier.service`, which sees mounts as they were when it started, then plan again",
        ),
        StoreDanger::Full { directory, disk, has_ballast } => {
            let problem = format!("store directory `{directory}` is full: {disk} has no free byte");
            return finding("store", problem, &when_full(directory, *has_ballast));
        }
        StoreDanger::Lineage { desired, found } => (
            format!("the store belongs to meta group `{found}`, the release is into `{desired}`"),
            "formed systems are never merged: release into the meta group of the data, or use an empty `store_dir`",
        ),
    };
    finding("store", problem, remedy)
}

fn when_full(directory: &str, has_ballast: bool) -> String {
    if has_ballast {
        let ballast = layout::STORE_BALLAST_FILE;
        format!("delete `{directory}/{ballast}` to make room, apply, then remove data or enlarge the disk")
    } else {
        "enlarge the disk, or move what is not nats-server's off it; nothing in the store is deleted"
            .to_owned()
    }
}

fn port(change: &PortChange) -> Vec<Drift> {
    let PortChange { port, desired, found } = change;
    let found = found.as_deref().unwrap_or("open to everybody");
    one("firewall", Some(port), desired.as_deref(), Some(found))
}

fn table(difference: &TableDifference) -> Vec<Drift> {
    let TableDifference { place, desired, found } = difference;
    one("firewall", Some(place), desired.as_deref(), found.as_deref())
}

fn foreign_drop(drop: &ForeignDrop) -> Finding {
    let ForeignDrop { family, table, chain, what, ports } = drop;
    let ports: Vec<String> = ports.iter().map(|(name, port)| format!("{port} ({name})")).collect();
    let ports = ports.join(", ");
    finding(
        "firewall",
        format!(
            "chain `{chain}` of table `{family} {table}` drops what is allowed here on port {ports}: `{what}`"
        ),
        "accept these ports there too, or leave them to this agent; its own table can deny, never allow",
    )
}

fn claim(account: &str, name: &str, problem: &ClaimProblem) -> Result<Vec<Drift>, Finding> {
    let drift = |desired: &str, found: Option<&str>| Ok(one("claims", Some(name), Some(desired), found));
    match problem {
        ClaimProblem::Missing => drift("known to the server", None),
        ClaimProblem::Older { desired, found } => {
            let found =
                found.map_or("a JWT that cannot be decoded".to_owned(), |found| format!("issued at {found}"));
            drift(&format!("issued at {desired}"), Some(&found))
        }
        ClaimProblem::Changed { desired, found } => drift(&short(desired), Some(&short(found))),
        ClaimProblem::Alive => drift("deleted", Some("alive")),
        ClaimProblem::Newer { desired, found } => Err(finding(
            "claims",
            format!(
                "the server has a JWT of account `{name}` issued at {found}, newer than the one issued at {desired} \
                 that this host knows"
            ),
            "somebody else writes this account, or this host missed a change: apply again from the newest state",
        )),
        ClaimProblem::Unknown => Err(finding(
            "claims",
            format!("the server knows account `{account}`, which nobody declares"),
            "import it as `nats_account`, or delete it with the operator's key",
        )),
    }
}
