//! Every reader here of what others wrote, each as one body for any bytes: for the fuzz targets and for tests (feature
//! `fuzz`).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::applier::claim::{self, ClaimRecord};
use crate::applier::ledger::{HostFacts, Kept, SectionEntry, checked_text, parse_checked};
use crate::applier::{self, rendition::Manifest};
use crate::border;
use crate::front::{mesh, monitor, resolver, tunnel};
use crate::parts::claims;
use crate::parts::firewall::{TrialRecord, generations};
use crate::parts::nats::{binary, log, proc_files};
use crate::parts::preflight::{mountinfo, settings};
use crate::parts::tls::Leaf;

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("ledger_section", kept::<SectionEntry>, || vec![entry().into_bytes()]),
    ("server_archive", binary::fuzz_archive, || vec![b"\x1f\x8b\x08".to_vec()]),
    ("ledger_facts", kept::<HostFacts>, || {
        let facts =
            HostFacts { store_id: Some("s".into()), confirmed_rendition: Some(3), ..HostFacts::default() };
        vec![serde_json::to_vec(&facts).expect("plain data")]
    }),
    ("claim_record", kept::<ClaimRecord>, || {
        vec![
            json!({ "host": "east-1", "generation": 1, "claim_id": "0".repeat(32) }).to_string().into_bytes(),
        ]
    }),
    ("enrollment_record", kept_enrollment, || {
        let burnt = json!({ "burnt": { "host": "east-1", "generation": 1 } });
        let seen = json!({ "seen": { "text": "x", "first_seen": 1 } });
        [burnt, seen].map(|record| record.to_string().into_bytes()).into()
    }),
    ("lease_record", kept::<host_state::lease::Lease>, || {
        vec![json!({ "lease_id": "0".repeat(32), "holder": "ci", "expires_ms": 1 }).to_string().into_bytes()]
    }),
    ("intent_record", kept_intent, || {
        vec![
            json!({ "from": null, "to": 1, "sections": [["claims", "0".repeat(64)]], "stage": "begun" })
                .to_string()
                .into_bytes(),
        ]
    }),
    ("leaf_record", kept::<Leaf>, || vec![b"{\"material\":{},\"certificate\":\"\"}".to_vec()]),
    ("manifest", plain::<Manifest>, || {
        let file = json!({ "sha256": "0".repeat(64), "mode": 384 });
        vec![
            json!({ "number": 1, "files": { "a": file }, "sections": [], "whole": true })
                .to_string()
                .into_bytes(),
        ]
    }),
    ("store_mark", plain::<host_state::observed::StoreFile>, || vec![b"{\"store_id\":\"s\"}".to_vec()]),
    ("monitor_answer", monitor_answer, || {
        let body = varz();
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        vec![
            [head.as_bytes(), body.as_slice()].concat(),
            b"HTTP/1.1 503 x\r\n\r\n{\"error\":\"no\"}".to_vec(),
        ]
    }),
    ("varz", read_varz, || vec![varz()]),
    ("resolver_answer", resolver::fuzz, || {
        let answer = json!({ "server": { "id": "NA" }, "data": ["A"], "error": { "description": "no" } });
        vec![answer.to_string().into_bytes()]
    }),
    ("resolver_file", claims::fuzz, || vec![b"e30.eyJpYXQiOjF9.AA".to_vec()]),
    ("server_identity", server_identity, || vec![b"{\"name\":\"east-1\",\"id\":\"NA\"}".to_vec()]),
    ("server_refusal", server_refusal, || {
        vec![b"'Permissions Violation for Publish to \"orders.new\"'".to_vec()]
    }),
    ("mountinfo", read_mountinfo, || {
        vec![
            b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n41 27 0:51 / /a\\040b ro - nfs4 h:/x rw"
                .to_vec(),
        ]
    }),
    ("host_settings", host_settings, || {
        vec![
            b"Filename Type Size Used Priority\n/dev/sda2 partition 1024 0 -2".to_vec(),
            b"Max open files            1024                 unlimited            files".to_vec(),
            b"always [madvise] never".to_vec(),
            b"32768\t60999".to_vec(),
            b"4222,8000-9000".to_vec(),
        ]
    }),
    ("kept_probe", plain::<host_state::preflight::Probe>, || {
        let latency = json!({ "writes": 1, "cut_short": false, "p50_us": 1, "p99_us": 1, "p999_us": 1 });
        vec![json!({ "taken_at": 1, "disk": "x", "latency": latency }).to_string().into_bytes()]
    }),
    ("border_message", border::fuzz, border_messages),
    ("nftables_events", generations::fuzz, || vec![generations::sample()]),
    ("firewall_trial", kept::<TrialRecord>, || {
        let trial =
            json!({ "id": "0".repeat(32), "boot": "b", "started_ms": 1, "ttl_ms": 60_000, "rules": {} });
        vec![trial.to_string().into_bytes()]
    }),
    ("process_words", process_words, || {
        let stat = format!(
            "7 (a) b) S {}",
            (4..30).map(|field: u32| field.to_string()).collect::<Vec<_>>().join(" ")
        );
        vec![stat.into_bytes(), b"nats-server: v2.15.1".to_vec(), b"[1] [ERR] no".to_vec()]
    }),
];

fn border_messages() -> Vec<Vec<u8>> {
    let section: serde_json::Value = serde_json::from_str(&entry()).expect("it was made of JSON");
    let section = &section["accepted"];
    let lease = json!({
        "lease_id": "0".repeat(32), "holder": "ci", "action": "renew", "ttl_ms": 1, "signature": "",
    });
    let caller = json!({ "role": { "account": "orders" }, "serial": "01" });
    let messages = [
        json!({ "call": { "id": 1, "call": "observe" } }),
        json!({ "call": { "id": 2, "call": { "preview": { "sections": [section] } } } }),
        json!({ "call": { "id": 3, "call": { "lease": { "order": lease, "caller": caller } } } }),
        json!({ "answer": { "id": 4, "answer": { "hold_ports": { "127.0.0.1:5222": { "Err": "no" } } } } }),
        json!({ "answer": { "id": 5, "answer": { "take_claims": { "newer": true } } } }),
        json!({ "call": { "id": 6, "call": { "healthz": { "monitor": "[::1]:8222", "query": "" } } } }),
        json!({ "farewell": { "reason": "no" } }),
    ];
    messages.iter().map(|message| message.to_string().into_bytes()).collect()
}

fn entry() -> String {
    let header = json!({
        "authority": "O", "section": "claims", "owner": "nats_authority/acme", "host": null, "claim_id": null,
        "generation": 1, "parent": null, "content": "0".repeat(64), "document_key": 1, "writer": "ci",
    });
    let section = json!({ "header": header, "body": "{}", "signature": "" });
    json!({ "accepted": section, "confirmed": { "earlier": section } }).to_string()
}

fn varz() -> Vec<u8> {
    json!({
        "config_digest": "sha256:0", "version": "2.15.1", "server_name": "east-1",
        "tls_cert_not_after": "2026-01-01T00:00:00Z", "cluster": { "tls_cert_not_after": "0001-01-01T00:00:00Z" },
    })
    .to_string()
    .into_bytes()
}

/// A file of the state directory: as found, which is believed only when its checksum fits, and, so that damage reaches
/// the reader, under a checksum that does. What is not believed must never look like a file that is missing.
fn kept<T: DeserializeOwned + Serialize + PartialEq>(bytes: &[u8]) {
    let found = parse_checked::<T>(bytes);
    assert!(!matches!(found, Kept::Missing), "a file that is there is not missing");
    let Ok(content) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        assert!(matches!(found, Kept::Unreadable { .. }), "no JSON is not believed");
        return;
    };
    if let Kept::Valid(value) = parse_checked::<T>(checked_text(&content).as_bytes()) {
        let again = parse_checked::<T>(checked_text(&value).as_bytes());
        assert!(again == Kept::Valid(value), "what was believed can be kept");
    }
}

fn kept_intent(bytes: &[u8]) {
    kept::<applier::Intent>(bytes);
}

fn kept_enrollment(bytes: &[u8]) {
    claim::fuzz(bytes);
}

fn plain<T: DeserializeOwned>(bytes: &[u8]) {
    let _ = serde_json::from_slice::<T>(bytes);
}

fn monitor_answer(bytes: &[u8]) {
    if let Ok(answer) = monitor::parse_answer(bytes) {
        let _ = monitor::refusal(&answer).to_string();
        let _ = monitor::parse_varz(&answer.body);
    }
}

fn read_varz(bytes: &[u8]) {
    let _ = monitor::parse_varz(bytes);
}

fn server_identity(bytes: &[u8]) {
    let _ = mesh::server_name(bytes);
}

fn server_refusal(bytes: &[u8]) {
    let _ = tunnel::refused_subject(&String::from_utf8_lossy(bytes));
}

/// Whatever is mounted, the root file system's line holds every path that no other does.
fn read_mountinfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(mounts) = mountinfo::parse(&text) {
        let _ = mounts.iter().map(mountinfo::Entry::mount).count();
        let is_rooted = mounts.iter().any(|entry| entry.point == "/");
        assert!(!is_rooted || mountinfo::holds(&mounts, std::path::Path::new("/data/jetstream")).is_ok());
    }
}

fn host_settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (settings::selected(&text), settings::swap_bytes(&text), settings::open_files_limit(&text));
    let _ = (settings::local_ports(&text), settings::port_ranges(&text));
}

fn process_words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = proc_files::parse_stat(&text);
    let _ = binary::parse_version(&text);
    let _ = text.lines().rev().find_map(log::complaint);
}
