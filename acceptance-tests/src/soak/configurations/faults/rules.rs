//! Faults as data: what breaks one rule of one field. `*` stands for any one key.

/// One value too many ways wrong: put at the field, it must be refused at that field.
pub(super) struct Put {
    /// Dotted path in the model.
    pub(super) at: &'static str,
    /// JSON of values that break a rule.
    pub(super) values: &'static [&'static str],
}

const fn put(at: &'static str, values: &'static [&'static str]) -> Put {
    Put { at, values }
}

/// No file below the state directory.
const FILES: &[&str] =
    &[r#""/etc/nats/x.pem""#, r#""""#, r#""../x.pem""#, r#""a//b""#, r#""a/""#, r#""./a""#, r#""a\nb""#];
const UNSPECIFIED: &[&str] = &[r#""0.0.0.0:4222""#, r#""[::]:4222""#];
const NO_TIME: &[&str] = &[r#""0s""#];
/// 0 is the server's default, and more it cannot count.
const COUNT: &[&str] = &["0", "9223372036854775808"];
const SMALL_COUNT: &[&str] = &["0", "2147483648", "9223372036854775807"];
/// As [`COUNT`] where the type holds no larger number.
const NOTHING: &[&str] = &["0"];
const NO_TAG: &[&str] =
    &[r#"["az:a", ""]"#, r#"["az:a", "disk ssd"]"#, r#"["az:a", "x,y"]"#, r#"["az:a", "x\ty"]"#];

/// What the types can hold and a rule refuses.
pub(super) const RULES: &[Put] = &[
    put("client.port", NOTHING),
    put("client.advertise", UNSPECIFIED),
    put("monitor.port", NOTHING),
    put("monitor.address", &[r#""0.0.0.0""#, r#""10.0.0.1""#, r#""::""#, r#""fd00::1""#]),
    put("cluster.port", NOTHING),
    put("cluster.advertise", UNSPECIFIED),
    put("cluster.routes", &[r#"["0.0.0.0:5222"]"#, r#"["10.0.0.1:5222", "[::]:5222"]"#]),
    put("gateway.port", NOTHING),
    put("gateway.advertise", UNSPECIFIED),
    put("*.tls.cert_file", FILES),
    put("*.tls.key_file", FILES),
    put("*.tls.ca_file", FILES),
    put("*.tls.timeout", NO_TIME),
    put("cluster.tls.verify", &["false"]),
    put("gateway.tls.verify", &["false"]),
    put(
        "jetstream.store_dir",
        &[r#""data""#, r#""""#, r#""/""#, r#""/data/""#, r#""/data/../x""#, r#""/data//x""#, r#""/da\tta""#],
    ),
    put("jetstream.max_storage", NOTHING),
    put("jetstream.unique_tag", &[r#""""#, r#""a z:""#, r#""rack:""#]),
    put("jetstream.sync", &[r#"{ "every": "0s" }"#]),
    put("jetstream.domain", &[r#""""#, r#""a.b""#, r#""a b""#, r#""é""#]),
    put("jetstream.limits.max_ack_pending", COUNT),
    put("jetstream.limits.max_ha_assets", COUNT),
    put("jetstream.limits.max_request_batch", COUNT),
    put("jetstream.limits.duplicate_window", NO_TIME),
    put(
        "trust.operator_jwt",
        &[r#""/etc/nats/operator.jwt""#, r#""""#, r#""a.b""#, r#""a.b.c""#, r#""a.b.c.d""#],
    ),
    put("trust.system_account", &[r#""SYS""#, r#""""#, r#""AAAA""#]),
    put("trust.resolver.dir", &[r#""""#, r#""a/../b""#, r#""a/""#]),
    put("trust.resolver.interval", NO_TIME),
    put("trust.resolver.timeout", NO_TIME),
    put("trust.resolver.limit", COUNT),
    put("limits.max_payload", SMALL_COUNT),
    put("limits.max_connections", COUNT),
    put("limits.max_pending", NOTHING),
    put("limits.max_control_line", SMALL_COUNT),
    put("limits.max_subscriptions", COUNT),
    put("limits.ping_interval", NO_TIME),
    put("limits.ping_max", COUNT),
    put("limits.write_deadline", NO_TIME),
    put("logging.rotate_at", NOTHING),
    put("logging.rotated_files", COUNT),
    put("tags", NO_TAG),
    put("lame_duck.duration", &[r#""29s""#, r#""29s999ms""#, r#""0s""#]),
    put("pid_file", &[r#""""#, r#""a/../b""#, r#""a/""#]),
];

/// `host:port` alone, without a scheme, to one port.
const NO_ADDRESS: &[&str] = &[
    r#""10.0.0.1""#,
    r#""nats://10.0.0.1:4222""#,
    r#""10.0.0.1:0""#,
    r#""10.0.0.1:65536""#,
    r#""fd00::1:4222""#,
    r#""""#,
    r#""a b:4222""#,
];
const NO_ADDRESSES: &[&str] = &[
    r#"["10.0.0.1"]"#,
    r#"["nats-route://10.0.0.1:5222"]"#,
    r#"["10.0.0.1:0"]"#,
    r#"["10.0.0.1:5222", ""]"#,
];
const NO_PORT: &[&str] = &["-1", "65536", "1.5", r#""4222""#];
const NO_HOST: &[&str] = &[r#""localhost""#, r#""10.0.0""#, r#""""#, r#""10.0.0.1:4222""#];
/// Durations are texts with units.
const NO_DURATION: &[&str] = &["20", r#""20""#, r#""2d""#, r#""-1s""#, r#""""#, "2.5"];
/// Sizes are numbers here: a text means another number in another place.
const NO_SIZE: &[&str] = &[r#""200GB""#, r#""2MB""#, r#""200G""#, "-1", "1.5", "9223372036854775808"];
const NO_NAME: &[&str] = &[
    r#""""#,
    r#""a b""#,
    r#""-a""#,
    r#""é""#,
    r#""a/b""#,
    r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
];
const NO_COUNT: &[&str] = &["-1", "1.5", r#""10""#];

/// What the types cannot hold: each must fail to be read.
pub(super) const TYPES: &[Put] = &[
    put("server_name", NO_NAME),
    put("client.port", NO_PORT),
    put("client.address", NO_HOST),
    put("client.advertise", NO_ADDRESS),
    put("monitor.port", NO_PORT),
    put("monitor.address", NO_HOST),
    put("cluster.name", NO_NAME),
    put("cluster.port", NO_PORT),
    put("cluster.address", NO_HOST),
    put("cluster.advertise", NO_ADDRESS),
    put("cluster.routes", NO_ADDRESSES),
    put("gateway.port", NO_PORT),
    put("gateway.address", NO_HOST),
    put("gateway.advertise", NO_ADDRESS),
    put(
        "gateway.remotes",
        &[r#"{ "a b": ["10.0.0.1:7222"] }"#, r#"{ "west": ["10.0.0.1"] }"#, r#"{ "west": {} }"#],
    ),
    put("*.tls.timeout", NO_DURATION),
    put("*.tls.pinned_certs", &[r#"["12"]"#, r#"["zz"]"#]),
    put("jetstream.max_memory", NO_SIZE),
    put("jetstream.max_storage", NO_SIZE),
    put("jetstream.sync", &[r#""sometimes""#, r#"{ "every": "2" }"#, r#""2m""#]),
    put("jetstream.limits.max_ack_pending", NO_COUNT),
    put("jetstream.limits.max_ha_assets", NO_COUNT),
    put("jetstream.limits.max_request_batch", NO_COUNT),
    put("jetstream.limits.duplicate_window", NO_DURATION),
    put("trust.resolver.interval", NO_DURATION),
    put("trust.resolver.timeout", NO_DURATION),
    put("trust.resolver.limit", NO_COUNT),
    put("limits.max_payload", NO_SIZE),
    put("limits.max_connections", NO_COUNT),
    put("limits.max_pending", NO_SIZE),
    put("limits.max_control_line", NO_SIZE),
    put("limits.max_subscriptions", NO_COUNT),
    put("limits.ping_interval", NO_DURATION),
    put("limits.ping_max", NO_COUNT),
    put("limits.write_deadline", NO_DURATION),
    put("logging.rotate_at", NO_SIZE),
    put("logging.rotated_files", NO_COUNT),
    put("lame_duck.duration", NO_DURATION),
    put("lame_duck.grace_period", NO_DURATION),
];
