//! The one table of what a changed setting costs. Must hold every field of the model; a test walks it.

/// What a change of one setting costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// A reload brings it.
    Reload,
    /// A reload brings a larger number, a restart a smaller one.
    ReloadUpwards,
    /// It waits for the next restart.
    Deferrable,
    /// The server refuses to reload it.
    Restart,
    /// Holds further settings; that it appears or goes away needs a restart.
    Section,
    /// Addresses of clusters by name: deferrable, but a cluster more or less needs a restart where unknown
    /// clusters are rejected.
    Remotes,
}

/// One rule: where the setting is in the model, its name in the server, its cost, and how we know.
pub(super) struct Row {
    /// Dotted path in the model, below `extra` in the server's own words.
    pub(super) model: &'static str,
    /// Dotted path under NATS's own names; empty where it is the model's.
    pub(super) setting: &'static str,
    /// What a change costs.
    pub(super) cost: Cost,
    /// `Source:` of the rule.
    source: &'static str,
}

/// A rule as documentation and tests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadRule {
    /// Dotted path in the model, below `extra` in the server's own words.
    pub model: &'static str,
    /// Dotted path under NATS's own names.
    pub setting: &'static str,
    /// `reload`, `reload upwards, restart downwards`, `deferred to the next restart` or `restart`.
    pub cost: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
}

/// Tried by reloading exactly this change on nats-server 2.15.1, each way; `acceptance-tests` does it again.
const TRIED: &str = "nats-server 2.15.1, tried by reload";
/// The server accepts a reload; that all of it takes effect is not proven, and a changed directory leaves the
/// claims behind, so nothing is promised.
const UNPROVEN: &str =
    "own rule: nats-server 2.15.1 accepts a reload, without proof that it takes full effect";
/// Our own decision, documented in the crate.
const OURS: &str = "own rule: lists of addresses are seeds";

const fn row(model: &'static str, setting: &'static str, cost: Cost, source: &'static str) -> Row {
    Row { model, setting, cost, source }
}

const fn same(model: &'static str, cost: Cost, source: &'static str) -> Row {
    Row { model, setting: "", cost, source }
}

/// Every rule, by model path.
pub(super) const ROWS: &[Row] = &[
    same("server_name", Cost::Restart, TRIED),
    row("client.address", "listen", Cost::Restart, TRIED),
    row("client.port", "listen", Cost::Restart, TRIED),
    row("client.advertise", "client_advertise", Cost::Reload, TRIED),
    row("client.tls.cert_file", "tls.cert_file", Cost::Reload, TRIED),
    row("client.tls.key_file", "tls.key_file", Cost::Reload, TRIED),
    row("client.tls.ca_file", "tls.ca_file", Cost::Reload, TRIED),
    row("client.tls.verify", "tls.verify", Cost::Reload, TRIED),
    row("client.tls.timeout", "tls.timeout", Cost::Reload, TRIED),
    row("client.tls.pinned_certs", "tls.pinned_certs", Cost::Reload, TRIED),
    row("monitor", "http", Cost::Restart, TRIED),
    same("cluster", Cost::Section, TRIED),
    same("cluster.name", Cost::Restart, TRIED),
    row("cluster.address", "cluster.listen", Cost::Restart, TRIED),
    row("cluster.port", "cluster.listen", Cost::Restart, TRIED),
    same("cluster.advertise", Cost::Reload, TRIED),
    same("cluster.no_advertise", Cost::Reload, TRIED),
    same("cluster.routes", Cost::Deferrable, OURS),
    same("cluster.tls.cert_file", Cost::Reload, TRIED),
    same("cluster.tls.key_file", Cost::Reload, TRIED),
    same("cluster.tls.ca_file", Cost::Reload, TRIED),
    same("cluster.tls.verify", Cost::Reload, TRIED),
    same("cluster.tls.timeout", Cost::Reload, TRIED),
    same("cluster.tls.pinned_certs", Cost::Reload, TRIED),
    same("gateway", Cost::Section, TRIED),
    row("gateway.address", "gateway.listen", Cost::Restart, TRIED),
    row("gateway.port", "gateway.listen", Cost::Restart, TRIED),
    same("gateway.advertise", Cost::Restart, TRIED),
    row("gateway.reject_unknown", "gateway.reject_unknown_cluster", Cost::Restart, TRIED),
    row("gateway.remotes", "gateway.gateways", Cost::Remotes, OURS),
    same("gateway.tls.cert_file", Cost::Reload, TRIED),
    same("gateway.tls.key_file", Cost::Reload, TRIED),
    same("gateway.tls.ca_file", Cost::Reload, TRIED),
    same("gateway.tls.verify", Cost::Reload, TRIED),
    same("gateway.tls.timeout", Cost::Restart, TRIED),
    same("gateway.tls.pinned_certs", Cost::Reload, TRIED),
    same("jetstream", Cost::Section, TRIED),
    same("jetstream.store_dir", Cost::Restart, TRIED),
    row("jetstream.max_memory", "jetstream.max_memory_store", Cost::ReloadUpwards, TRIED),
    row("jetstream.max_storage", "jetstream.max_file_store", Cost::ReloadUpwards, TRIED),
    same("jetstream.unique_tag", Cost::Restart, TRIED),
    row("jetstream.sync", "jetstream.sync_interval", Cost::Restart, TRIED),
    same("jetstream.domain", Cost::Restart, TRIED),
    same("jetstream.limits.max_ack_pending", Cost::Reload, TRIED),
    same("jetstream.limits.max_ha_assets", Cost::Reload, TRIED),
    same("jetstream.limits.max_request_batch", Cost::Reload, TRIED),
    same("jetstream.limits.duplicate_window", Cost::Reload, TRIED),
    row("trust", "operator", Cost::Section, TRIED),
    row("trust.operator_jwt", "operator", Cost::Restart, TRIED),
    row("trust.system_account", "system_account", Cost::Restart, TRIED),
    row("trust.resolver.dir", "resolver.dir", Cost::Restart, UNPROVEN),
    row("trust.resolver.allow_delete", "resolver.allow_delete", Cost::Restart, UNPROVEN),
    row("trust.resolver.interval", "resolver.interval", Cost::Restart, UNPROVEN),
    row("trust.resolver.timeout", "resolver.timeout", Cost::Restart, UNPROVEN),
    row("trust.resolver.limit", "resolver.limit", Cost::Restart, UNPROVEN),
    row("trust.preload", "resolver_preload", Cost::Reload, TRIED),
    row("limits.max_payload", "max_payload", Cost::Reload, TRIED),
    row("limits.max_connections", "max_connections", Cost::Reload, TRIED),
    row("limits.max_pending", "max_pending", Cost::Restart, TRIED),
    row("limits.max_control_line", "max_control_line", Cost::Reload, TRIED),
    row("limits.max_subscriptions", "max_subscriptions", Cost::Restart, TRIED),
    row("limits.ping_interval", "ping_interval", Cost::Reload, TRIED),
    row("limits.ping_max", "ping_max", Cost::Reload, TRIED),
    row("limits.write_deadline", "write_deadline", Cost::Reload, TRIED),
    row("logging.debug", "debug", Cost::Reload, TRIED),
    row("logging.trace", "trace", Cost::Reload, TRIED),
    row("logging.utc", "logtime_utc", Cost::Reload, TRIED),
    row("logging.log_file", "log_file", Cost::Reload, TRIED),
    row("logging.rotate_at", "logfile_size_limit", Cost::Restart, TRIED),
    row("logging.rotated_files", "logfile_max_num", Cost::Restart, TRIED),
    row("tags", "server_tags", Cost::Reload, TRIED),
    row("lame_duck.duration", "lame_duck_duration", Cost::Restart, TRIED),
    row("lame_duck.grace_period", "lame_duck_grace_period", Cost::Restart, TRIED),
    same("pid_file", Cost::Reload, TRIED),
    same("extra.server_metadata", Cost::Reload, TRIED),
    same("extra.connect_error_reports", Cost::Reload, TRIED),
    same("extra.max_traced_msg_len", Cost::Reload, TRIED),
    same("extra.no_fast_producer_stall", Cost::Reload, TRIED),
    same("extra.logtime", Cost::Reload, TRIED),
    same("extra.cluster.pool_size", Cost::Reload, TRIED),
    same("extra.cluster.compression", Cost::Reload, TRIED),
    same("extra.cluster.ping_interval", Cost::Reload, TRIED),
    same("extra.cluster.connect_retries", Cost::Reload, TRIED),
    same("extra.jetstream.meta_compact", Cost::Reload, TRIED),
    same("extra.jetstream.meta_compact_size", Cost::Reload, TRIED),
    same("extra.jetstream.limits.batch", Cost::Reload, TRIED),
    same("extra.tls.handshake_first", Cost::Reload, TRIED),
];

/// The rule for exactly this path of the model.
pub(super) fn find_row(path: &[String]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.model.split('.').eq(path.iter().map(String::as_str)))
}

/// Where the addresses of remote clusters are in the model.
pub(super) fn remotes_path() -> [String; 2] {
    ["gateway".to_owned(), "remotes".to_owned()]
}

/// Every rule, for documentation and for tests that try them on a server. Settings that are not in it need a
/// restart.
pub fn reload_rules() -> impl Iterator<Item = ReloadRule> {
    ROWS.iter().map(|row| ReloadRule {
        model: row.model,
        setting: if row.setting.is_empty() {
            row.model.strip_prefix("extra.").unwrap_or(row.model)
        } else {
            row.setting
        },
        cost: match row.cost {
            Cost::Reload => "reload",
            Cost::ReloadUpwards => "reload upwards, restart downwards",
            Cost::Deferrable | Cost::Remotes => "deferred to the next restart",
            Cost::Restart | Cost::Section => "restart",
        },
        source: row.source,
    })
}
