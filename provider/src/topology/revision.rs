//! The revision of a cluster: one text that changes with anything its hosts are told, and never with their keys.

use sha2::{Digest, Sha256};

/// The revision of what was declared under an authority of revision `trust`: 16 lower-case hex digits.
///
/// `declared` holds the configuration and each node's enrolment generation. Keys are no part of it, because they
/// are learnt only when a host is claimed and a plan must know the revision before.
pub fn revision(trust: &str, declared: &serde_json::Value) -> String {
    let mut hash = Sha256::new();
    let declared = declared.to_string();
    for part in [trust, declared.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
}
