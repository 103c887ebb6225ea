//! `nats_preflight`: whether each host is fit to keep JetStream data, as its agent finds it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::join_all;
use host_state::preflight::{Check, Preflight as Checks};
use identity::HostName;
use tfplug::{
    Attribute, DataRead, DataSource, DataSourceRequest, Diagnostic, Diagnostics, Failure, Schema, Type, Value,
};

use super::system_id;
use crate::agents::{HostEntry, System};
use crate::resources::natural_id::SystemId;
use crate::session::SessionSlot;

/// See the module.
pub struct Preflight {
    sessions: SessionSlot,
}

/// What one host's agent answers.
struct Host {
    cluster: String,
    checks: Result<Checks, Diagnostic>,
}

impl Preflight {
    /// In this session.
    #[must_use]
    pub fn new(sessions: SessionSlot) -> Preflight {
        Preflight { sessions }
    }

    /// Asks each host of the system, or of one of its clusters; no other is dialled.
    ///
    /// # Errors
    /// When no agent names the system, or no host is of this cluster. A host that does not answer is told with itself.
    async fn hosts(
        &self,
        id: &SystemId,
        cluster: Option<&str>,
    ) -> Result<BTreeMap<HostName, Host>, Diagnostic> {
        let system = self.sessions.session()?.system(&id.authority).await?;
        let is_asked = |entry: &HostEntry| cluster.is_none_or(|name| entry.cluster == name);
        let asked = system.hosts.iter().filter(|(_, entry)| is_asked(entry));
        let answers = asked.map(|(host, entry)| {
            let system = &system;
            async move {
                let checks = checks(system, host).await;
                (host.clone(), Host { cluster: entry.cluster.clone(), checks })
            }
        });
        let hosts: BTreeMap<_, _> = join_all(answers).await.into_iter().collect();
        match cluster {
            Some(cluster) if hosts.is_empty() => Err(no_hosts_of(cluster, &system)),
            Some(_) | None => Ok(hosts),
        }
    }
}

async fn checks(system: &System, host: &HostName) -> Result<Checks, Diagnostic> {
    system.agent(host).await?.preflight().await.map_err(|why| {
        Diagnostic::error(
            format!("Host `{host}` does not say whether it is fit"),
            format!("{}.", host_state::chain(&why)),
        )
    })
}

fn no_hosts_of(cluster: &str, system: &System) -> Diagnostic {
    let clusters: BTreeSet<&str> = system.hosts.values().map(|entry| entry.cluster.as_str()).collect();
    let clusters = Vec::from_iter(clusters).join("`, `");
    Diagnostic::error(
        format!("no host is of cluster `{cluster}`"),
        format!("Clusters of this system are `{clusters}`. Apply the cluster first, or name another one."),
    )
}

#[async_trait]
impl DataSource for Preflight {
    fn type_name(&self) -> &str {
        "nats_preflight"
    }

    fn schema(&self) -> Schema {
        let text = |name: &str, text: &str| Attribute::string(name).computed().description(text);
        let check = [
            text("name", "What it is about, like `fsync_latency`."),
            text("value", "What was found; begins with `unknown` where it could not be looked at."),
            text("threshold", "What passes."),
            text("verdict", "`pass`, `warn` or `refuse`; what is unknown never passes."),
            text("remedy", "What to do; null when it passes."),
        ];
        let host = [
            text("name", "Host name."),
            text("cluster", "Its cluster."),
            text("verdict", "The worst verdict of its checks; null when its agent does not answer."),
            Attribute::list_of("checks", check)
                .computed()
                .description("Every check, always the same ones; none when its agent does not answer."),
            text("problem", "Why its agent says nothing; null when it answers."),
        ];
        Schema::new(0)
            .description(
                "Whether each host is fit to keep JetStream data: the store's mount, file system, disk and capacity, its write \
                 latency as last measured, open files, swap, clock and ports. The same checks as `nats-agent preflight` on the \
                 host, for what its cluster asks of it; a `production` cluster is not put on a host that one of them refuses. \
                 Writes nothing on a host. A host that does not answer is told in `problems` and with a warning; a plan never \
                 fails for it.",
            )
            .attributes([
                Attribute::string("system").required().description("Id of the `nats_gateway` or `nats_cluster`."),
                Attribute::string("cluster").description("Only the hosts of this cluster; absent: all of the system."),
                Attribute::list_of("hosts", host).computed().description("Every host that was asked, by name."),
                Attribute::bool("fit").computed().description("Whether every host answered and none is refused."),
                Attribute::list("problems", Type::String)
                    .computed()
                    .description("Everything that is refused, and every host that does not answer."),
            ])
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        system_id(config).err().into_iter().collect()
    }

    async fn read(&self, request: DataSourceRequest) -> Result<DataRead, Failure> {
        let id = system_id(&request.config)?.ok_or_else(|| Failure::new("`system` is not known", ""))?;
        let cluster = request.config.attr("cluster").as_str();
        match self.hosts(&id, cluster).await {
            Ok(hosts) => {
                let silent = hosts.values().filter_map(|host| host.checks.as_ref().err());
                let warning = |why: &Diagnostic| Diagnostic::warning(why.summary.clone(), why.detail.clone());
                let diagnostics = silent.map(warning).collect();
                Ok(DataRead { state: state(&id, cluster, &hosts, problems(&hosts)), diagnostics })
            }
            Err(problem) => {
                let summary = format!("The hosts of `{id}` are not checked: {}", problem.summary);
                let state = state(&id, cluster, &BTreeMap::new(), vec![problem.summary]);
                Ok(DataRead { state, diagnostics: Diagnostic::warning(summary, problem.detail).into() })
            }
        }
    }
}

fn problems(hosts: &BTreeMap<HostName, Host>) -> Vec<String> {
    let of_host = |(name, host): (&HostName, &Host)| match &host.checks {
        Ok(checks) => checks.refusals().map(|check| format!("`{name}`: {check}")).collect(),
        Err(why) => vec![why.summary.clone()],
    };
    hosts.iter().flat_map(of_host).collect()
}

fn state(
    id: &SystemId,
    cluster: Option<&str>,
    hosts: &BTreeMap<HostName, Host>,
    problems: Vec<String>,
) -> Value {
    Value::object([
        ("system", id.to_string().into()),
        ("cluster", cluster.map(str::to_owned).into()),
        ("hosts", Value::list(hosts.iter().map(|(name, host)| host_value(name, host)))),
        ("fit", problems.is_empty().into()),
        ("problems", problems.into()),
    ])
}

fn host_value(name: &HostName, host: &Host) -> Value {
    let Host { cluster, checks } = host;
    let (found, why) = (checks.as_ref().ok(), checks.as_ref().err());
    Value::object([
        ("name", name.as_str().into()),
        ("cluster", cluster.as_str().into()),
        ("verdict", found.map(|found| found.verdict().to_string()).into()),
        ("checks", Value::list(found.into_iter().flat_map(|found| &found.checks).map(check_value))),
        ("problem", why.map(|why| format!("{}: {}", why.summary, why.detail)).into()),
    ])
}

fn check_value(check: &Check) -> Value {
    let Check { name, value, threshold, verdict, remedy } = check;
    Value::object([
        ("name", name.as_str().into()),
        ("value", value.as_str().into()),
        ("threshold", threshold.as_str().into()),
        ("verdict", verdict.to_string().into()),
        ("remedy", remedy.clone().into()),
    ])
}
