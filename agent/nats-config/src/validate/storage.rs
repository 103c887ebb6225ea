//! Rules of JetStream.

use crate::{JetStream, JetStreamLimits, ServerConfig, SyncInterval};

use super::{Problems, paths};

pub(super) fn check(config: &ServerConfig, problems: &mut Problems) {
    let Some(jetstream) = &config.jetstream else { return };
    let JetStream { store_dir, max_memory: _, max_storage, unique_tag, sync, domain, limits } = jetstream;
    paths::check_absolute("jetstream.store_dir", store_dir, problems);
    if max_storage.bytes() == 0 {
        let problem = "leaves no room for any file stream";
        problems.add("jetstream.max_storage", max_storage, problem, "give a size such as `200GB`");
    }
    if let Some(prefix) = unique_tag {
        check_unique_tag(prefix, config, problems);
    }
    if let SyncInterval::Every(interval) = sync {
        problems.positive("jetstream.sync", Some(*interval));
    }
    if let Some(domain) = domain {
        let bad = |character: char| !character.is_ascii_alphanumeric() && !"-_".contains(character);
        if domain.is_empty() || domain.contains(bad) {
            let problem = "is no domain: it is part of subjects";
            let remedy = "use letters and digits of ASCII, `-` and `_`";
            problems.add("jetstream.domain", format!("{domain:?}"), problem, remedy);
        }
    }
    let JetStreamLimits { max_ack_pending, max_ha_assets, max_request_batch, duplicate_window } = limits;
    let int64 = i64::MAX.unsigned_abs();
    problems.count("jetstream.limits.max_ack_pending", *max_ack_pending, int64);
    problems.count("jetstream.limits.max_ha_assets", *max_ha_assets, int64);
    problems.count("jetstream.limits.max_request_batch", *max_request_batch, int64);
    problems.positive("jetstream.limits.duplicate_window", *duplicate_window);
}

/// The server places no replica on a server without a tag of that prefix, and says so only when a stream is
/// created. Source: nats-server 2.15.1 server/jetstream_cluster.go (`selectPeerGroup`).
fn check_unique_tag(prefix: &str, config: &ServerConfig, problems: &mut Problems) {
    if prefix.is_empty() || prefix.chars().any(|one| one.is_whitespace() || one.is_control()) {
        let problem = "is no prefix of tags";
        problems.add("jetstream.unique_tag", format!("{prefix:?}"), problem, "write it like `az:`");
        return;
    }
    let prefix_lower = prefix.to_lowercase();
    let tags: Vec<&String> =
        config.tags.iter().filter(|tag| tag.to_lowercase().starts_with(&prefix_lower)).collect();
    if tags.len() != 1 {
        let problem = format!("needs exactly one tag that starts with it, and there are {}", tags.len());
        let remedy = format!("give this server one tag such as `{prefix}a`");
        problems.add("jetstream.unique_tag", prefix, &problem, &remedy);
    }
}
