//! The schema of `nats_cluster`. Defaults within nested objects are told here and applied by [`super::block`].

use nats_config::NatsDuration;
use tfplug::{Attribute, Schema, Type};

use crate::resources::meaning::{same_duration, same_size};
use crate::resources::members::members_type;
use crate::resources::trust::trust_type;
use crate::timeouts::Timeouts;

/// How long operations may take when nothing is said.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    create: NatsDuration::from_secs(600),
    update: NatsDuration::from_secs(3600),
    delete: NatsDuration::from_secs(600),
};

/// Attributes that say what is wanted, in the order of the documentation; what an import finds again.
pub(super) const DECLARED: [&str; 15] = [
    "name",
    "profile",
    "nodes",
    "server",
    "ports",
    "jetstream",
    "limits",
    "logging",
    "lame_duck",
    "firewall",
    "gateway",
    "rollout",
    "on_drift",
    "server_config",
    "deletion_protection",
];

fn size(name: &str) -> Attribute {
    Attribute::string(name).equivalent(same_size)
}

fn duration(name: &str) -> Attribute {
    Attribute::string(name).equivalent(same_duration)
}

/// The `rollout` attribute, shared with `nats_gateway`.
pub(in crate::resources) fn rollout() -> Attribute {
    Attribute::object(
        "rollout",
        [
            Attribute::number("max_unavailable")
                .description("How many servers of one cluster may be down at once. Default 1."),
            duration("settle").description(
                "How long everything must be well before the next server is touched. Default `10s`.",
            ),
        ],
    )
    .description("How a change goes through the servers. A failed gate stops it; the next apply continues.")
}

/// The `deletion_protection` attribute, shared with `nats_gateway`.
pub(in crate::resources) fn deletion_protection(what: &str) -> Attribute {
    Attribute::bool("deletion_protection").default(true).description(format!(
        "Refuses to destroy {what}. Set it to `false` and apply before a destroy. Default `true`."
    ))
}

/// `drift` and `findings`, shared with `nats_gateway`.
pub(in crate::resources) fn observations() -> [Attribute; 2] {
    [
        Attribute::list("drift", Type::String).computed().description(
            "What was changed on the hosts and not here, one text for each host and setting. Always planned to be \
             empty: an apply removes it.",
        ),
        Attribute::list("findings", Type::String)
            .computed()
            .use_state_for_unknown()
            .description("What is wrong on the hosts and an apply cannot remove, each with what a person does about it."),
    ]
}

pub(super) fn schema() -> Schema {
    Schema::new(0)
        .description(
            "One cluster of nats-servers with JetStream, each on a host with an agent. Destroying it stops the \
             servers and keeps their stores.",
        )
        .attribute(Attribute::new("authority", trust_type()).required().description("The `trust` of its `nats_authority`."))
        .attribute(Attribute::string("name").required().description(
            "Name of the cluster, unique within its gateway. Never to be changed: it stands in every store.",
        ))
        .attribute(Attribute::string("profile").default("production").description(
            "`production` (default) holds every topology, disk and firewall rule; `development` relaxes them.",
        ))
        .attribute(nodes())
        .attributes([server(), ports(), jetstream(), limits(), logging(), lame_duck(), firewall()])
        .attribute(Attribute::bool("gateway").default(false).description(
            "Whether it is one of several clusters: it is then staged and waits until its `nats_gateway` releases \
             it. Default `false`.",
        ))
        .attribute(rollout())
        .attribute(Attribute::string("on_drift").default("report").description(
            "What agents do about drift between applies: `report` (default) or `repair`.",
        ))
        .attribute(Attribute::string("server_config").equivalent(same_json).description(
            "Further settings of nats-server as a JSON object under NATS's own names, from `jsonencode`. Merged \
             last; settings that attributes own are refused. Not for secrets.",
        ))
        .attribute(deletion_protection("the cluster"))
        .attribute(TIMEOUTS.attribute())
        .attribute(Attribute::string("id").computed().use_state_for_unknown().description("`<authority>/<name>`."))
        .attribute(Attribute::new("members", members_type()).computed().description(
            "What a `nats_gateway` needs of the cluster. Its `revision` changes with anything the hosts are told.",
        ))
        .attributes(observations())
}

/// Whether both are the same JSON.
fn same_json(a: &tfplug::Value, b: &tfplug::Value) -> bool {
    let parse = |value: &tfplug::Value| {
        value.as_str().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
    };
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

fn nodes() -> Attribute {
    Attribute::map_of(
        "nodes",
        [
            Attribute::string("agent").required().description("`host:port` of its agent."),
            Attribute::string("address").required().description("Address that clients and other clusters reach it by."),
            Attribute::string("cluster_address")
                .description("Address that the other nodes of the cluster reach it by. Default: `address`."),
            Attribute::list("tags", Type::String)
                .description("Tags for the placement of streams, like `az:a`. nats-server reads them in lower case."),
            Attribute::set("extra_names", Type::String)
                .description("Further DNS names and addresses in its certificate."),
            Attribute::string("store_dir").description("Its store directory. Default: that of `jetstream`."),
            Attribute::bool("absent").description(
                "The host is away for long, or lost: it is not awaited, and in no list and no pins of the others. Its seats \
                 in the meta group and in streams stay its own and count for their quorums until it comes back. Default \
                 `false`.",
            ),
            Attribute::number("generation").description(
                "Which enrolment of the host this is. Raise it, and that of its `nats_host_enrollment`, to take the \
                 host in anew. Default 1.",
            ),
        ],
    )
    .required()
    .description(
        "The nodes by name. A node's name is its server name, a lower-case DNS name; a removed node's name is \
         never to be used again.",
    )
}

fn server() -> Attribute {
    Attribute::object(
        "server",
        [
            Attribute::string("version").description("nats-server version. Default `2.15.1`."),
            Attribute::string("path")
                .description("Absolute path of a binary that is installed on each host already. Default: the agent's own."),
            Attribute::string("file").description(
                "Absolute path on each host of a binary to install side by side with others, with `sha256`. Not \
                 with `path`.",
            ),
            Attribute::string("url").description(
                "Where each host downloads it, `https://` or `http://`, with `sha256`: the binary itself, or a release of \
                 nats-server (`.tar.gz`). Installed side by side with others. Not with `path` or `file`.",
            ),
            Attribute::string("sha256").description("SHA-256 of `file`, or of what `url` gives, 64 hex digits."),
        ],
    )
    .description("The nats-server binary.")
}

fn ports() -> Attribute {
    let port = |name: &str, of: &str, default: u16| {
        Attribute::number(name).description(format!("Port of {of}. Default {default}."))
    };
    use host_state::layout;
    Attribute::object(
        "ports",
        [
            port("client", "clients", layout::CLIENT_PORT),
            port("cluster", "routes between the nodes", layout::CLUSTER_PORT),
            port("gateway", "gateways between clusters", layout::GATEWAY_PORT),
            port("monitor", "nats-server's monitoring, on loopback only", layout::MONITOR_PORT),
            port(
                "metrics",
                "the agent's metrics; reserved, nothing is served there yet",
                layout::METRICS_PORT,
            ),
        ],
    )
    .description("Ports, the same on every node.")
}

fn jetstream() -> Attribute {
    Attribute::object(
        "jetstream",
        [
            size("max_memory").required().description("Most bytes of memory streams on one server, like `16GB`."),
            size("max_storage").required().description("Most bytes of file streams on one server, like `200GB`."),
            Attribute::string("store_dir").required().description(
                "Absolute directory; a `nats-agent` marks it as this server's and starts on no other.",
            ),
            Attribute::bool("store_on_root").description(
                "Whether `store_dir` may lie on the root file system. Without, a `production` cluster is not put on such a \
                 host, because it looks like a disk that is not mounted; a `development` one is, and preflight warns. \
                 Default `false`.",
            ),
            Attribute::string("unique_tag").description(
                "Prefix of the tag, like `az:`, of which a stream's replicas must all have different values.",
            ),
            Attribute::string("sync").equivalent(same_duration).description(
                "When writes reach the disk: `always` (default), before each acknowledgement, or a time like `2m`, \
                 within which acknowledged messages may be lost to a power cut.",
            ),
            Attribute::string("domain").description("JetStream domain."),
        ],
    )
    .required()
    .description("JetStream, the same on every node.")
}

fn limits() -> Attribute {
    Attribute::object(
        "limits",
        [
            size("max_payload").description("Largest message. Server default `1MB`."),
            Attribute::number("max_connections")
                .description("Most client connections. Server default 65536."),
            size("max_pending").description("Most bytes buffered for one client. Server default `64MB`."),
            size("max_control_line").description("Longest protocol line. Server default `4KB`."),
            Attribute::number("max_subscriptions")
                .description("Most subscriptions of one connection. Server default: unbounded."),
            duration("ping_interval")
                .description("Pause between pings to an idle client. Server default `2m`."),
            Attribute::number("ping_max")
                .description("Unanswered pings until a connection is dropped. Server default 2."),
            duration("write_deadline")
                .description("Longest time one write to a client may take. Server default `10s`."),
        ],
    )
    .description("Bounds on what clients may do; what is left out is the server's default.")
}

fn logging() -> Attribute {
    Attribute::object(
        "logging",
        [
            Attribute::bool("debug").description("Log debug lines too. Default `false`."),
            Attribute::bool("trace")
                .description("Log the protocol, which names subjects; for short use. Default `false`."),
        ],
    )
    .description("What nats-server logs.")
}

fn lame_duck() -> Attribute {
    Attribute::object(
        "lame_duck",
        [
            duration("duration").description(
                "How long clients are moved away before a server stops, at least `30s`. Default `2m`.",
            ),
            duration("grace_period")
                .description("How long clients may leave by themselves first. Default `10s`."),
        ],
    )
    .description("How a server says goodbye to its clients.")
}

fn firewall() -> Attribute {
    Attribute::object(
        "firewall",
        [
            Attribute::list("clients", Type::String)
                .description("Networks of clients, like `10.0.0.0/8`. Without any, everybody may connect."),
            Attribute::list("management", Type::String).description(
                "Networks of operators: beside peers only they may reach the agents. Without any, everybody may try.",
            ),
            Attribute::list("metrics", Type::String).description(
                "Networks that may reach the metrics port, never the whole world. Without any, only the host itself may.",
            ),
        ],
    )
    .description("Who may reach the ports; the peers of cluster and gateway are derived.")
}
