//! File names below a state directory, and the ports that are used when nobody says otherwise. The one place for both.
//!
//! Names of nats-server's own files are relative to the state directory, which is the server's working directory,
//! so that a candidate can be checked byte for byte in a trial directory whose `current` points to it.

/// Symlink to the rendition that holds now.
pub const CURRENT: &str = "current";
/// Directory of renditions, one numbered directory each.
pub const RENDITIONS: &str = "renditions";
/// End of the name of a candidate that was rendered and not yet switched to, like `000008.trial`.
pub const TRIAL_SUFFIX: &str = ".trial";
/// Directory in which candidates are checked; holds a `current` of its own and nothing that lasts.
pub const TRIAL: &str = "trial";

/// nats-server configuration, in a rendition.
pub const CONFIG_FILE: &str = "nats-server.json";
/// Leaf and issuer certificate, in a rendition.
pub const CERT_FILE: &str = "server.pem";
/// Leaf key, in a rendition.
pub const KEY_FILE: &str = "server-key.pem";
/// Host CA certificate, in a rendition.
pub const CA_FILE: &str = "ca.pem";
/// SHA-256 and mode of each other file, in a rendition.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The [`ServerConfig`](nats_config::ServerConfig) that a rendition was made from, as JSON, in a rendition.
pub const MODEL_FILE: &str = "model.json";

/// [`CONFIG_FILE`] as nats-server is started with it.
pub const CONFIG_PATH: &str = "current/nats-server.json";
/// [`CERT_FILE`] as the configuration names it.
pub const CERT_PATH: &str = "current/server.pem";
/// [`KEY_FILE`] as the configuration names it.
pub const KEY_PATH: &str = "current/server-key.pem";
/// [`CA_FILE`] as the configuration names it.
pub const CA_PATH: &str = "current/ca.pem";

/// Permission bits of [`KEY_FILE`] and of every other file that holds a secret.
pub const SECRET_MODE: u32 = 0o600;
/// Permission bits of files that hold none.
pub const PUBLIC_MODE: u32 = 0o644;
/// Permission bits of directories of the state directory.
pub const DIRECTORY_MODE: u32 = 0o700;
/// [`SECRET_MODE`] of a file that nats-server reads as a user of its own: by its group.
pub const SHARED_SECRET_MODE: u32 = 0o640;
/// [`DIRECTORY_MODE`] where nats-server is a user of its own. Set-group-id: what is made below belongs to its group.
pub const SHARED_DIRECTORY_MODE: u32 = 0o2750;
/// Permission bits of [`SHADOW`] where the trial is a user of its own.
pub const SCRATCH_MODE: u32 = 0o2770;

/// Directory of all that nats-server writes itself; it writes nowhere else but in its store.
pub const SERVER: &str = "server";
/// Directory of nats-server's full resolver: account JWTs.
pub const RESOLVER: &str = "server/resolver";
/// Process id of the running nats-server, written by itself.
pub const PID_FILE: &str = "server/nats-server.pid";
/// Which start of the unit of nats-server was from which files, written by the agent so that a restarted agent knows.
pub const UNIT_FILE: &str = "unit.json";
/// The applier's drop-in of nats-server's unit, below the directory of an administrator's units.
pub const DROP_IN_PATH: &str = "nats-server.service.d/50-nats-agent.conf";
/// What the trial unit is asked, beside [`SHADOW`]: its user reads it and does not write it.
pub const SHADOW_REQUEST: &str = "shadow-request.json";
/// What the trial unit answers.
pub const SHADOW_ANSWER: &str = "shadow/answer.json";
/// nats-server's log.
pub const LOG_FILE: &str = "server/nats-server.log";
/// Standard output and error of a nats-server that is the agent's child; its log proper is [`LOG_FILE`].
pub const OUTPUT_FILE: &str = "server/nats-server.out";
/// Scratch directory of trial boots; holds nothing that lasts.
pub const SHADOW: &str = "shadow";
/// Process id, start time and binary of the child, written by the agent so that a restarted agent finds it again.
pub const CHILD_FILE: &str = "child.json";
/// Directory of nats-server binaries that the agent installed, one directory for each version and checksum.
pub const BINARIES: &str = "binaries";
/// Directory of downloads where the agent is one process. On a host it is [`HOST_DOWNLOADS`].
pub const DOWNLOADS: &str = "downloads";
/// Directory of downloads on a host: the only one that the front may write in.
pub const HOST_DOWNLOADS: &str = "/var/cache/nats-agent";

/// Directory of the ledger: one file a section.
pub const LEDGER: &str = "ledger";
/// The change that is under way; absent when none is.
pub const INTENT_FILE: &str = "intent.json";
/// What the agent made of OS randomness at its first start. Secret.
pub const HOST_SECRET_FILE: &str = "host-secret.json";
/// Whose host it is; absent until claimed.
pub const CLAIM_FILE: &str = "claim.json";
/// What the host may be claimed with; after a claim, which enrolment was burnt.
pub const ENROLLMENT_FILE: &str = "enrollment.json";
/// The lease that keeps two applies apart; absent when nobody holds it.
pub const LEASE_FILE: &str = "lease.json";

/// Directory of the audit log: numbered files of records, one a line.
pub const AUDIT: &str = "audit";
/// Permission bits of a file of the audit log.
pub const AUDIT_MODE: u32 = 0o640;

/// Firewall rules that were confirmed: what is loaded at boot; absent before the first.
pub const FIREWALL_FILE: &str = "firewall.json";
/// Firewall rules on trial; absent when none are.
pub const FIREWALL_TRIAL_FILE: &str = "firewall-trial.json";

/// File in the store directory that says whose data it is, beside nats-server's own `jetstream` directory.
pub const STORE_IDENTITY_FILE: &str = "nats-agent-store.json";
/// File in the store directory that holds nothing but room: deleted by a person when the disk is full.
pub const STORE_BALLAST_FILE: &str = "nats-agent-ballast";
/// File that the latency probe writes to beside or in the store directory, and removes.
pub const PROBE_FILE: &str = "nats-agent-probe";
/// What the newest latency probe measured.
pub const PROBE_RESULT_FILE: &str = "probe.json";
/// Directory that nats-server appends to its store directory.
/// Source: nats-server 2.15.1 server/jetstream.go (`JetStreamStoreDir`).
pub const STORE_DATA: &str = "jetstream";

/// Port of clients.
pub const CLIENT_PORT: u16 = 4222;
/// Port of routes.
pub const CLUSTER_PORT: u16 = 5222;
/// Port of gateways.
pub const GATEWAY_PORT: u16 = 7222;
/// nats-server's monitoring port, on loopback only.
pub const MONITOR_PORT: u16 = 8222;
/// The agent's `/metrics`.
pub const METRICS_PORT: u16 = 7777;
/// The agent.
pub const AGENT_PORT: u16 = 8442;

/// Name of a rendition's directory below [`RENDITIONS`], like `000008`.
pub fn rendition_name(number: u64) -> String {
    format!("{number:06}")
}

/// Name of a candidate's directory below [`RENDITIONS`], like `000008.trial`.
pub fn candidate_name(number: u64) -> String {
    format!("{number:06}{TRIAL_SUFFIX}")
}

/// The number of a rendition's directory; `None` for candidates and for anything else.
pub fn rendition_number(name: &str) -> Option<u64> {
    let is_ours = name.len() >= 6 && name.bytes().all(|byte| byte.is_ascii_digit());
    let number = name.parse().ok().filter(|_| is_ours)?;
    (rendition_name(number) == name).then_some(number)
}

/// Name of a file of the audit log below [`AUDIT`], like `000001.jsonl`.
pub fn audit_file(number: u64) -> String {
    format!("{number:06}.jsonl")
}

/// The number of a file of the audit log; `None` for anything else.
pub fn audit_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (audit_file(number) == name).then_some(number)
}

/// A section's file below [`LEDGER`], like `cluster.json`.
pub fn ledger_file(section: crate::SectionKind) -> String {
    format!("{section}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_current_and_file() {
        for (path, file) in
            [(CONFIG_PATH, CONFIG_FILE), (CERT_PATH, CERT_FILE), (KEY_PATH, KEY_FILE), (CA_PATH, CA_FILE)]
        {
            assert_eq!(path, format!("{CURRENT}/{file}"));
        }
    }

    #[test]
    fn what_the_server_writes_lies_in_its_own_directory() {
        for path in [RESOLVER, PID_FILE, LOG_FILE, OUTPUT_FILE] {
            assert!(path.starts_with(&format!("{SERVER}/")), "{path}");
        }
    }

    #[test]
    fn only_names_that_we_wrote_are_renditions() {
        for number in [0, 8, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(rendition_number(&rendition_name(number)), Some(number));
            assert_eq!(rendition_number(&candidate_name(number)), None);
        }
        for other in ["", "8", "0000008", "+00008", "current", "00000８"] {
            assert_eq!(rendition_number(other), None, "{other}");
        }
        assert_eq!(audit_number(&audit_file(8)), Some(8));
        for other in ["8.jsonl", "0000008.jsonl", "+00008.jsonl", "000008.jsonl.bak", "000008"] {
            assert_eq!(audit_number(other), None, "{other}");
        }
    }
}
