//! What a change of configuration means on this host: the words of `nats-config` in the words of this crate.

use nats_config::{
    Change, ServerConfig, SettingDifference, reload_class, reload_rules, setting_differences, split,
};
use serde_json::Value;

/// The digest that `/varz` shows for `config`.
pub(crate) fn digest(config: &ServerConfig) -> String {
    nats_config::render(config).digest.to_string()
}

/// `config` under NATS's own names.
pub(crate) fn settings(config: &ServerConfig) -> Value {
    serde_json::from_str(&nats_config::render(config).text).expect("rendered configuration is JSON")
}

/// The settings in which `rendered` is behind `desired`. While a server runs, deferrable ones are left out: the
/// file keeps them until the server restarts for another reason.
pub(crate) fn pending_settings(
    rendered: &ServerConfig,
    desired: &ServerConfig,
    is_running: bool,
) -> Vec<SettingDifference> {
    let (now, later) = match reload_class(rendered, desired) {
        Change::Same => return Vec::new(),
        Change::Deferrable { settings } if is_running => (Vec::new(), settings),
        Change::Deferrable { settings } => (settings.into_iter().collect(), Default::default()),
        Change::Reload { settings, deferrable } => (settings.into_iter().collect(), deferrable),
        Change::Restart { restart, reload, deferrable: _ } => {
            (restart.into_iter().chain(reload).collect(), Default::default())
        }
    };
    if now.is_empty() {
        return Vec::new();
    }
    let is_now = |setting: &str| now.iter().any(|name| overlap(name, setting));
    let is_later = |setting: &str| later.iter().any(|name| overlap(name, setting));
    let told: Vec<SettingDifference> = setting_differences(&settings(desired), &settings(rendered))
        .into_iter()
        .filter(|one| !is_later(&one.setting) || is_now(&one.setting))
        .collect();
    if told.is_empty() {
        return now
            .into_iter()
            .map(|setting| SettingDifference { setting, desired: None, found: None })
            .collect();
    }
    told
}

/// What a change asks of a server that runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nothing differs, or only what can wait.
    Nothing,
    /// A reload brings all of it.
    Reload,
    /// A restart brings it; a reload before brings a part earlier.
    Both,
    /// Only a restart brings it.
    Restart,
}

/// What it takes to bring a server that runs `base` to `desired`; `None` when nobody knows what it runs.
pub(crate) fn cost(base: Option<&ServerConfig>, desired: &ServerConfig) -> Cost {
    let Some(base) = base else { return Cost::Restart };
    let is_left = |half: &ServerConfig| match reload_class(half, desired) {
        Change::Same | Change::Deferrable { .. } => false,
        Change::Reload { .. } | Change::Restart { .. } => true,
    };
    match (reload_class(base, desired), split(base, desired)) {
        (Change::Same | Change::Deferrable { .. }, _) => Cost::Nothing,
        (Change::Reload { .. }, Some(half)) if !is_left(&half) => Cost::Reload,
        (Change::Reload { .. } | Change::Restart { .. }, Some(_)) => Cost::Both,
        (Change::Reload { .. } | Change::Restart { .. }, None) => Cost::Restart,
    }
}

/// Whether a reload brings a server from these edited settings back, whatever their values were.
pub(crate) fn is_undone_by_reload(edited: &[SettingDifference]) -> bool {
    edited
        .iter()
        .all(|one| reload_rules().any(|rule| rule.cost == "reload" && is_below(&one.setting, rule.setting)))
}

/// Whether one of two dotted paths is the other or lies below it.
fn overlap(one: &str, other: &str) -> bool {
    is_below(one, other) || is_below(other, one)
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
