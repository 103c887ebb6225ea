//! What is done to a system while something is killed: which resources it is about, and how the configuration changes.

use serde_json::{Value, json};

/// The shape of a lane's system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    /// One cluster of three servers.
    Alone,
    /// A gateway of three clusters with one server each.
    Gateway,
}

impl Layout {
    pub(super) fn clusters(self) -> &'static [(&'static str, usize)] {
        match self {
            Layout::Alone => &[("east", 3)],
            Layout::Gateway => &[("east", 1), ("west", 1), ("north", 1)],
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Layout::Alone => "a cluster of three servers",
            Layout::Gateway => "a gateway of three clusters with one server each",
        }
    }
}

/// One of terraform's operations on one part of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// A new account, user and stream.
    CreateTenant,
    /// New limits, permissions and settings of them.
    UpdateTenant,
    /// They go.
    DestroyTenant,
    /// A setting that servers reload.
    ReloadClusters,
    /// A setting that servers restart for.
    RestartClusters,
    /// A setting of the gateway, which servers restart for.
    UpdateGateway,
    /// Everything, on hosts that belong to nobody.
    CreateSystem,
    /// Everything, on hosts whose system was destroyed.
    CreateSystemAgain,
    /// Everything goes.
    DestroySystem,
}

impl Operation {
    /// Terraform's word for it.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Operation::CreateTenant | Operation::CreateSystem | Operation::CreateSystemAgain => "create",
            Operation::UpdateTenant
            | Operation::ReloadClusters
            | Operation::RestartClusters
            | Operation::UpdateGateway => "update",
            Operation::DestroyTenant | Operation::DestroySystem => "destroy",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Operation::CreateTenant => "create of account, user and stream",
            Operation::UpdateTenant => "update of account, user and stream",
            Operation::DestroyTenant => "destroy of account, user and stream",
            Operation::ReloadClusters => "update of clusters, by reload",
            Operation::RestartClusters => "update of clusters, by restart",
            Operation::UpdateGateway => "update of the gateway",
            Operation::CreateSystem => "create of all, on bare hosts",
            Operation::CreateSystemAgain => "create of all, on hosts that were held",
            Operation::DestroySystem => "destroy of all",
        }
    }

    /// What comes next in a lane, by chance: `dice` is any number, `tenants` how many there are.
    pub(super) fn next(layout: Layout, dice: u64, tenants: usize) -> Operation {
        match (dice % 100, layout) {
            (0..9, _) => Operation::DestroySystem,
            (9..17, _) => Operation::ReloadClusters,
            (17..20, _) => Operation::RestartClusters,
            (20..25, Layout::Gateway) => Operation::UpdateGateway,
            _ => Operation::next_of_tenants(dice / 100, tenants),
        }
    }

    /// The same among those that take a second.
    pub(super) fn next_of_tenants(dice: u64, tenants: usize) -> Operation {
        match (dice % 3, tenants) {
            (_, 0) | (0, 1..4) => Operation::CreateTenant,
            (1, _) => Operation::UpdateTenant,
            _ => Operation::DestroyTenant,
        }
    }
}

/// Adds an account, a user and a stream called `name`.
pub(super) fn add_tenant(configuration: &mut Value, name: &str) {
    let resources = &mut configuration["resource"];
    let mut account = resources["nats_account"]["orders"].clone();
    account["name"] = json!(name);
    let mut user = resources["nats_user"]["service"].clone();
    user["account"] = json!(format!("${{nats_account.{name}.id}}"));
    user["name"] = json!(name);
    let mut stream = resources["nats_stream"]["orders"].clone();
    stream["account"] = json!(format!("${{nats_account.{name}.id}}"));
    stream["name"] = json!(name.to_uppercase());
    stream["subjects"] = json!([format!("{name}.>")]);
    stream["max_bytes"] = json!("1MB");
    for (kind, value) in [("nats_account", account), ("nats_user", user), ("nats_stream", stream)] {
        resources[kind][name] = value;
    }
}

/// Changes each of them; `number` makes it another change each time.
pub(super) fn change_tenant(configuration: &mut Value, name: &str, number: u64) {
    let resources = &mut configuration["resource"];
    resources["nats_account"][name]["jetstream"]["max_storage"] = json!(format!("{}MB", 256 + number));
    resources["nats_user"][name]["publish"]["allow"][0] = json!(format!("{name}.{number}.>"));
    resources["nats_stream"][name]["description"] = json!(format!("change {number}"));
}

pub(super) fn remove_tenant(configuration: &mut Value, name: &str) {
    for kind in ["nats_account", "nats_user", "nats_stream"] {
        if let Some(resources) = configuration["resource"][kind].as_object_mut() {
            resources.remove(name);
        }
    }
}

/// Changes every cluster; `number` makes it another change each time.
pub(super) fn change_clusters(configuration: &mut Value, number: u64, restarts: bool) {
    for (_, cluster) in configuration["resource"]["nats_cluster"].as_object_mut().into_iter().flatten() {
        if restarts {
            cluster["jetstream"]["max_memory"] = json!(format!("{}MB", 64 + number));
        } else {
            cluster["limits"] = json!({ "max_payload": format!("{}KB", 1024 + number) });
        }
    }
}
