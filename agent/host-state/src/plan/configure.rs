//! Which renditions are written, and whether the server reloads, restarts, starts or stops for them.

use nats_config::{Change, ServerConfig, reload_class, split};

use super::{End, Impact, Part, Step};
use crate::configuration::{self, Cost};
use crate::desired::Desired;
use crate::diff::Difference;

/// What a [`Step::WriteRendition`] is rendered from. `running_config` stands for the current rendition where there is
/// none.
///
/// While a server runs and need not restart, lists of addresses stay those of the current rendition: the server learns
/// the others from its peers, and would refuse to reload a changed gateway list.
pub fn rendition_config(
    desired: &Desired,
    running_config: Option<&ServerConfig>,
    part: Part,
) -> ServerConfig {
    match (part, desired.rendered.as_ref().or(running_config)) {
        (Part::Reloadable, Some(base)) => split(base, &desired.config).unwrap_or_else(|| base.clone()),
        (Part::Reloadable, None) | (Part::Whole, _) => desired.config.clone(),
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
            let base = desired.rendered.as_ref().or(running_config);
            let cost = if outdated { configuration::cost(base, &desired.config) } else { Cost::Nothing };
            let is_unknown = is_unknown(desired, removable, running_config);
            let needs_restart = restart || matches!(cost, Cost::Both | Cost::Restart) || is_unknown;
            match (needs_restart && !keep, cost) {
                (true, cost) => {
                    // A server that runs something unknown may refuse any reload.
                    if cost == Cost::Both && !is_unknown {
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
                    // Outdated and yet running what is desired: only the rendition is behind.
                    if outdated {
                        steps.push(Step::WriteRendition { part: Part::Reloadable });
                    } else {
                        restore(removable, steps);
                    }
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

/// Whether the running server holds settings that a reload may not bring to what is rendered next: those that nobody
/// knows, and those that need a restart.
fn is_unknown(desired: &Desired, removable: &[&Difference], running_config: Option<&ServerConfig>) -> bool {
    let is_other = removable.iter().any(|one| matches!(one, Difference::RunningOther { .. }));
    let is_edit = removable.iter().any(|one| match one {
        Difference::ConfigurationEdited { settings } => configuration::is_undone_by_reload(settings),
        _ => false,
    });
    let next = rendition_config(desired, running_config, Part::Reloadable);
    let is_near = running_config.is_some_and(|running| match reload_class(running, &next) {
        Change::Same => true,
        Change::Reload { settings: _, deferrable } => deferrable.is_empty(),
        Change::Deferrable { .. } | Change::Restart { .. } => false,
    });
    is_other && !is_edit && !is_near
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
