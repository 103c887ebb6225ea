//! What may depend on what, and what pure code must not name. Data only; docs/architecture.md says why.

/// Which crates of the workspace each crate may depend on, in any kind of dependency. A crate that is missing here
/// is a finding, so a new one forces the decision.
pub(super) const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("nats-config", &[]),
    ("identity", &[]),
    ("tfplug", &[]),
    ("host-state", &["nats-config"]),
    ("nats-agent-api", &["nats-config", "host-state", "identity"]),
    ("nats-agent", &["nats-config", "host-state", "identity", "nats-agent-api"]),
    ("terraform-provider-nats", &["nats-config", "host-state", "identity", "nats-agent-api", "tfplug"]),
    (
        "acceptance-tests",
        &[
            "nats-config",
            "host-state",
            "identity",
            "nats-agent-api",
            "nats-agent",
            "terraform-provider-nats",
            "tfplug",
        ],
    ),
    ("xtask", &["acceptance-tests"]),
];

/// Crates whose tests may also use the rigs of `acceptance-tests` (a real nats-server, guarded processes), which name
/// none of our own crates; scenarios with both provider and agent stay there.
pub(super) const TESTS_USE_RIGS: &[&str] = &["nats-agent", "terraform-provider-nats"];

/// Crates that are pure from end to end.
pub(super) const PURE_CRATES: &[&str] = &["nats-config", "host-state", "identity"];

/// What a pure crate must not depend on, tests aside.
pub(super) const IMPURE_DEPENDENCIES: &[&str] = &[
    "async-nats",
    "getrandom",
    "hyper",
    "libc",
    "nix",
    "rand",
    "reqwest",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tonic",
];

/// A part of the tree and the names that its code, tests aside, must not use.
pub(super) struct Scope {
    /// Relative to the workspace; each a folder with all below it, or `x` for both `x.rs` and `x/`.
    pub(super) places: &'static [&'static str],
    /// Files of these places that it does not hold for.
    pub(super) except: &'static [&'static str],
    /// How a finding calls the place.
    pub(super) what: &'static str,
    /// Paths that must not be named, nor anything below them.
    pub(super) paths: &'static [&'static str],
    /// Names that must not stand anywhere in a path.
    pub(super) names: &'static [&'static str],
    /// Methods without arguments that read a file system, a resolver or a clock, whatever they are called on.
    pub(super) methods: &'static [&'static str],
}

/// Every scope. A file may be in several.
pub(super) const SCOPES: &[Scope] = &[
    Scope {
        places: &[
            "agent/nats-config/src",
            "agent/host-state/src",
            "agent/identity/src",
            "provider/src/topology",
            "provider/tfplug/src/value",
            "provider/tfplug/src/schema",
            "provider/tfplug/src/plan",
        ],
        except: &[],
        what: "pure code",
        paths: &[
            "tokio",
            "rand",
            "getrandom",
            "rustix",
            "libc",
            "ring::rand",
            "aws_lc_rs::rand",
            "std::env",
            "std::fs",
            "std::process",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "std::os::unix::net",
            "std::thread",
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "time::OffsetDateTime::now_utc",
            "time::OffsetDateTime::now_local",
            "time::UtcDateTime::now",
            "nkeys::KeyPair::new",
            "nkeys::KeyPair::new_account",
            "nkeys::KeyPair::new_cluster",
            "nkeys::KeyPair::new_operator",
            "nkeys::KeyPair::new_server",
            "nkeys::KeyPair::new_user",
            "rcgen::KeyPair::generate",
            "rcgen::KeyPair::generate_for",
        ],
        names: &["OsRng", "SystemRandom", "ThreadRng", "thread_rng"],
        methods: &[
            "canonicalize",
            "elapsed",
            "exists",
            "is_dir",
            "is_file",
            "read_dir",
            "read_link",
            "symlink_metadata",
            "to_socket_addrs",
            "try_exists",
        ],
    },
    Scope {
        places: &["provider/src/topology"],
        except: &[],
        what: "the topology, which is pure,",
        paths: &[
            "crate::agents",
            "crate::data_sources",
            "crate::ephemeral",
            "crate::functions",
            "crate::jetstream",
            "crate::provider",
            "crate::resources",
            "crate::rollout",
        ],
        names: &[],
        methods: &[],
    },
    Scope {
        places: &["agent/src/applier", "agent/src/border"],
        except: &[],
        what: "the applier and the border before it, which have no inet sockets,",
        paths: &[
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "tokio::net::TcpListener",
            "tokio::net::TcpSocket",
            "tokio::net::TcpStream",
            "tokio::net::UdpSocket",
            "tokio::net::lookup_host",
            "rustix::net::AddressFamily::INET",
            "rustix::net::AddressFamily::INET6",
            "async_nats",
            "hyper",
            "hyper_util",
            "reqwest",
            "tonic",
        ],
        names: &[],
        methods: &["to_socket_addrs"],
    },
    Scope {
        places: &["agent/src/applier", "agent/src/parts", "agent/src/shadow"],
        except: &["agent/src/applier/files.rs", "agent/src/applier/files/directory.rs"],
        what: "the applier, which changes files through `applier/files` by named effects only,",
        paths: &[
            "std::fs::DirBuilder",
            "std::fs::File::create",
            "std::fs::File::create_new",
            "std::fs::File::options",
            "std::fs::OpenOptions",
            "std::fs::copy",
            "std::fs::create_dir",
            "std::fs::create_dir_all",
            "std::fs::hard_link",
            "std::fs::remove_dir",
            "std::fs::remove_dir_all",
            "std::fs::remove_file",
            "std::fs::rename",
            "std::fs::set_permissions",
            "std::fs::soft_link",
            "std::fs::write",
            "std::os::unix::fs::chown",
            "std::os::unix::fs::lchown",
            "std::os::unix::fs::symlink",
            "tokio::fs",
        ],
        names: &[],
        methods: &[],
    },
    Scope {
        places: &["agent/src/applier", "agent/src/parts", "agent/src/shadow"],
        except: &[
            "agent/src/applier/files.rs",
            "agent/src/applier/files/directory.rs",
            "agent/src/applier/files/reading.rs",
        ],
        what: "the applier, which changes files through `applier/files` by named effects only,",
        paths: &["rustix::fs"],
        names: &[],
        methods: &[],
    },
    Scope {
        places: &["agent/src/applier/files/reading.rs"],
        except: &[],
        what: "what reads files for the applier, and changes none,",
        paths: &[
            "rustix::fs::OFlags::APPEND",
            "rustix::fs::OFlags::CREATE",
            "rustix::fs::OFlags::RDWR",
            "rustix::fs::OFlags::TMPFILE",
            "rustix::fs::OFlags::TRUNC",
            "rustix::fs::OFlags::WRONLY",
            "rustix::fs::chmod",
            "rustix::fs::chmodat",
            "rustix::fs::chown",
            "rustix::fs::chownat",
            "rustix::fs::fallocate",
            "rustix::fs::fchmod",
            "rustix::fs::fchown",
            "rustix::fs::ftruncate",
            "rustix::fs::link",
            "rustix::fs::linkat",
            "rustix::fs::mkdir",
            "rustix::fs::mkdirat",
            "rustix::fs::mknodat",
            "rustix::fs::rename",
            "rustix::fs::renameat",
            "rustix::fs::renameat_with",
            "rustix::fs::rmdir",
            "rustix::fs::symlink",
            "rustix::fs::symlinkat",
            "rustix::fs::unlink",
            "rustix::fs::unlinkat",
        ],
        names: &[],
        methods: &[],
    },
    Scope {
        places: &["agent/src/applier", "agent/src/parts", "agent/src/shadow"],
        except: &[
            "agent/src/parts/firewall/nft.rs",
            "agent/src/parts/nats/binary.rs",
            "agent/src/parts/nats/check.rs",
            "agent/src/parts/nats/process.rs",
            "agent/src/shadow.rs",
        ],
        what: "the applier, whose processes are started and signalled by named effects in five files only,",
        paths: &[
            "std::process::Command",
            "tokio::process",
            "rustix::process::kill_current_process_group",
            "rustix::process::kill_process",
            "rustix::process::kill_process_group",
            "rustix::process::pidfd_send_signal",
        ],
        names: &[],
        methods: &[],
    },
];

/// Names of files and folders that say nothing of their concern.
pub(super) const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "misc", "shared", "types", "util", "utils"];
