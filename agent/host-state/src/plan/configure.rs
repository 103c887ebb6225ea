//! Which renditions are written, and whether the server reloads, restarts, starts or stops for them.

use nats_config::{Change, ServerConfig, reload_class, split};

use super::{End, Impact, Part, Step};
use crate::configuration;
use crate::desired::Desired;
use crate::diff::Difference;

/// What a [`Step::WriteRendition`] is rendered from.
///
/// While a server runs and need not restart, lists of addresses stay those that it runs with: it learns the others
/// from its peers, and would refuse to reload a changed gateway list.
pub fn rendition_config(
    desired: &Desired,
    running_config: Option<&ServerConfig>,
    part: Part,
) -> ServerConfig {
    let base = running_config.or(desired.rendered.as_ref());
    match (part, base) {
        (Part::Reloadable, Some(base)) => split(base, &desired.config).unwrap_or_else(|| base.clone()),
        (Part::Reloadable, None) | (Part::Whole, _) => desired.config.clone(),
    }
}

/// What the configuration asks of a server that runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// Nothing differs, or only what can wait.
    Nothing,
    /// A reload brings all of it.
    Reload,
    /// A restart brings it; a reload before brings a part earlier.
    Both,
    /// Only a restart brings it.
    Restart,
}

fn cost(desired: &Desired, running_config: Option<&ServerConfig>) -> Cost {
    let Some(base) = running_config.or(desired.rendered.as_ref()) else { return Cost::Restart };
    let is_left = |half: &ServerConfig| match reload_class(half, &desired.config) {
        Change::Same | Change::Deferrable { .. } => false,
        Change::Reload { .. } | Change::Restart { .. } => true,
    };
    match (reload_class(base, &desired.config), split(base, &desired.config)) {
        (Change::Same | Change::Deferrable { .. }, _) => Cost::Nothing,
        (Change::Reload { .. }, Some(half)) if !is_left(&half) => Cost::Reload,
        (Change::Reload { .. } | Change::Restart { .. }, Some(_)) => Cost::Both,
        (Change::Reload { .. } | Change::Restart { .. }, None) => Cost::Restart,
    }
}

/// Appends the steps between store and claims, and says what the server goes through.
pub(super) fn configure(
    desired: &Desired,
    removable: &[&Difference],
    running_config: Option<&ServerConfig>,
    end: End,
    steps: &mut Vec<Step>,
) -> Impact {
    let is_behind = desired.rendered.as_ref() != Some(&desired.config);
    match end {
        End::Stop => {
            steps.push(Step::Stop);
            rewrite(is_behind, removable, steps);
            Impact::Stop
        }
        End::Stopped => {
            rewrite(is_behind, removable, steps);
            Impact::None
        }
        End::Start => {
            rewrite(is_behind, removable, steps);
            steps.push(Step::Start);
            Impact::Start
        }
        End::Running { restart, keep } => {
            let outdated = removable.iter().any(|one| {
                matches!(one, Difference::RenditionMissing | Difference::RenditionOutdated { .. })
            });
            let cost = if outdated { cost(desired, running_config) } else { Cost::Nothing };
            let needs_restart =
                restart || matches!(cost, Cost::Both | Cost::Restart) || is_unknown(removable);
            match (needs_restart && !keep, cost) {
                (true, cost) => {
                    if cost == Cost::Both {
                        steps.push(Step::WriteRendition { part: Part::Reloadable });
                        steps.push(Step::Reload);
                    }
                    rewrite(is_behind, removable, steps);
                    steps.push(Step::Restart);
                    Impact::Restart
                }
                (false, Cost::Reload | Cost::Both) => {
                    steps.push(Step::WriteRendition { part: Part::Reloadable });
                    steps.push(Step::Reload);
                    Impact::Reload
                }
                (false, Cost::Nothing | Cost::Restart) => {
                    restore(removable, steps);
                    let reload = removable.iter().any(|one| {
                        matches!(
                            one,
                            Difference::RunningOther { .. } | Difference::CertificateNotServed { .. }
                        )
                    });
                    if reload {
                        steps.push(Step::Reload);
                    }
                    if reload { Impact::Reload } else { Impact::None }
                }
            }
        }
    }
}

/// Whether the running server holds settings that a reload may not bring back: those that nobody knows, and those
/// that need a restart.
fn is_unknown(removable: &[&Difference]) -> bool {
    let is_other = removable.iter().any(|one| matches!(one, Difference::RunningOther { .. }));
    let is_known = removable.iter().any(|one| match one {
        Difference::ConfigurationEdited { settings } => configuration::is_undone_by_reload(settings),
        _ => false,
    });
    is_other && !is_known
}

/// A rendition with everything where one is due, else the damaged files of the current one.
fn rewrite(is_behind: bool, removable: &[&Difference], steps: &mut Vec<Step>) {
    if is_behind {
        steps.push(Step::WriteRendition { part: Part::Whole });
    } else {
        restore(removable, steps);
    }
}

fn restore(removable: &[&Difference], steps: &mut Vec<Step>) {
    for difference in removable {
        let file = match difference {
            Difference::FileMissing { file }
            | Difference::FileChanged { file, .. }
            | Difference::FileMode { file, .. } => file.clone(),
            Difference::ConfigurationEdited { .. } => crate::layout::CONFIG_FILE.to_owned(),
            _ => continue,
        };
        let step = Step::RestoreFile { file };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
}
