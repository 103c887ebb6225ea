//! The binary, the process, and what the running server says of itself.

use super::Difference;
use crate::configuration;
use crate::desired::{Desired, Run};
use crate::document::BinarySource;
use crate::observed::{BinaryObserved, Observed, ProcessObserved, RunningObserved};

/// The binary that would be started.
pub(super) fn binary(desired: &Desired, observed: &BinaryObserved) -> Option<Difference> {
    let version = &desired.server.version;
    match (&desired.server.source, observed) {
        (BinarySource::File { path: _, sha256 }, found) => {
            let wanted = format!("{version} ({})", short(sha256));
            match found {
                BinaryObserved::Present { sha256: sum, version: found, path: _, download: _ } => {
                    let is_wanted = sum == sha256 && found == version;
                    let found = Some(format!("{found} ({})", short(sum)));
                    (!is_wanted).then_some(Difference::BinaryToInstall { desired: wanted, found })
                }
                BinaryObserved::Missing { path: _ } => {
                    Some(Difference::BinaryToInstall { desired: wanted, found: None })
                }
                BinaryObserved::Unusable { path: _, reason } => {
                    Some(Difference::BinaryToInstall { desired: wanted, found: Some(reason.clone()) })
                }
            }
        }
        (BinarySource::Url { url: _, sha256 }, found) => {
            let wanted = format!("{version} (download {})", short(sha256.as_str()));
            let found = match found {
                BinaryObserved::Present { download, version: found, .. } => {
                    let is_whole = download.as_deref() == Some(sha256.as_str());
                    if is_whole && found == version {
                        return None;
                    }
                    Some(if is_whole {
                        found.clone()
                    } else {
                        format!("{found} (changed since it was installed)")
                    })
                }
                BinaryObserved::Missing { path: _ } => None,
                BinaryObserved::Unusable { path: _, reason } => Some(reason.clone()),
            };
            Some(Difference::BinaryToInstall { desired: wanted, found })
        }
        (BinarySource::Agent | BinarySource::Path { .. }, BinaryObserved::Missing { path }) => {
            Some(foreign(format!("there is no nats-server at `{path}`"), true))
        }
        (BinarySource::Agent | BinarySource::Path { .. }, BinaryObserved::Unusable { path, reason }) => {
            Some(foreign(format!("the nats-server at `{path}` cannot be used: {reason}"), true))
        }
        (
            BinarySource::Agent | BinarySource::Path { .. },
            BinaryObserved::Present { path, version: found, sha256: _, download: _ },
        ) => (found != version).then(|| {
            foreign(format!("the nats-server at `{path}` is version `{found}`, not `{version}`"), false)
        }),
    }
}

fn foreign(problem: String, unusable: bool) -> Difference {
    Difference::BinaryForeign { problem, unusable }
}

/// Whether it runs as it should, and from the right binary.
pub(super) fn process(desired: &Desired, observed: &Observed, is_blocked: bool) -> Option<Difference> {
    match (&desired.run, &observed.process) {
        (Run::Held, ProcessObserved::Stopped { last_exit: _ }) => None,
        (Run::Held, ProcessObserved::Running { pid, .. }) => Some(Difference::ProcessRunning { pid: *pid }),
        (Run::Released(_), ProcessObserved::Stopped { last_exit }) => {
            (!is_blocked).then(|| Difference::ProcessStopped { last_exit: last_exit.clone() })
        }
        (Run::Released(_), ProcessObserved::Running { binary_sha256, pid: _, started_at: _ }) => {
            let wanted =
                wanted_binary(desired, &observed.binary).filter(|wanted| *wanted != binary_sha256)?;
            let (desired, found) = (wanted.to_owned(), binary_sha256.clone());
            (!is_blocked).then_some(Difference::ProcessOldBinary { desired, found })
        }
    }
}

/// SHA-256 of the binary that a start would use; `None` when that is unknown.
fn wanted_binary<'a>(desired: &'a Desired, observed: &'a BinaryObserved) -> Option<&'a str> {
    match (&desired.server.source, observed) {
        (BinarySource::File { path: _, sha256 }, _) => Some(sha256),
        (BinarySource::Url { .. }, found @ BinaryObserved::Present { sha256, .. })
            if binary(desired, found).is_none() =>
        {
            Some(sha256)
        }
        // To be installed: an archive does not tell the sum of what is in it, which is another one than what runs.
        (BinarySource::Url { url: _, sha256: wanted }, _) => Some(wanted.as_str()),
        (BinarySource::Agent | BinarySource::Path { .. }, BinaryObserved::Present { sha256, .. }) => {
            Some(sha256)
        }
        (
            BinarySource::Agent | BinarySource::Path { .. },
            BinaryObserved::Missing { .. } | BinaryObserved::Unusable { .. },
        ) => None,
    }
}

/// What the running server says: configuration, name, certificates.
pub(super) fn running(desired: &Desired, observed: &RunningObserved) -> Vec<Difference> {
    match observed {
        RunningObserved::Stopped => Vec::new(),
        RunningObserved::Silent { reason } => vec![Difference::RunningSilent { reason: reason.clone() }],
        RunningObserved::Answered { digest, server_name, certificates, version: _ } => {
            let wanted_name = desired.config.server_name.to_string();
            if *server_name != wanted_name {
                return vec![Difference::RunningStranger {
                    desired: wanted_name,
                    found: server_name.clone(),
                }];
            }
            let mut differences = Vec::new();
            if let Some(rendered) = &desired.rendered {
                let wanted = configuration::digest(rendered);
                if *digest != wanted {
                    differences.push(Difference::RunningOther { desired: wanted, found: digest.clone() });
                }
            }
            if let Some(wanted) = &desired.leaf_not_after {
                differences.extend(certificates.iter().filter(|(_, found)| *found != wanted).map(
                    |(listener, found)| Difference::CertificateNotServed {
                        listener: listener.clone(),
                        desired: wanted.clone(),
                        found: found.clone(),
                    },
                ));
            }
            differences
        }
    }
}

/// The first 12 digits of a checksum: enough to tell two apart by eye.
pub(super) fn short(sum: &str) -> String {
    format!("sha256 {}", sum.get(..12).unwrap_or(sum))
}
