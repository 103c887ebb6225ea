//! The agent's own rules over a `cluster` section: what a signed document may still not ask of this host.
//!
//! Signed does not mean right: a document for another host's store, or with files outside the state directory, is
//! refused with all of its problems before anything is written.

use host_state::document::{BinarySource, ClusterSection, StoreIdentity};
use host_state::layout;
use identity::Trust;
use nats_config::{ListenerTls, ServerConfig};

use super::claim::ClaimRecord;
use crate::parts::tls::Material;

/// Every rule that `section` breaks; empty when it may be taken in.
#[must_use]
pub(super) fn cluster(claim: &ClaimRecord, trust: &Trust, section: &ClusterSection) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect = |what: &str, found: &str, wanted: &str| {
        if found != wanted {
            problems.push(format!("{what} is `{found}`, it has to be `{wanted}`"));
        }
    };
    expect("`host`", &section.host, &claim.host);
    expect("`config.server_name`", section.config.server_name.as_str(), &claim.host);
    if let Some(cluster) = &section.config.cluster {
        expect("`config.cluster.name`", cluster.name.as_str(), &section.cluster);
    }
    let StoreIdentity { authority, cluster, server_name, system_account } = &section.store.identity;
    expect("`store.identity.authority`", authority, trust.operator.as_str());
    expect("`store.identity.cluster`", cluster, &section.cluster);
    expect("`store.identity.server_name`", server_name, &claim.host);
    expect("`store.identity.system_account`", system_account, trust.system_account.as_str());
    if let Some(jetstream) = &section.config.jetstream {
        expect("`config.jetstream.store_dir`", &jetstream.store_dir, &section.store.directory);
    }
    match serde_json::from_value::<Trust>(section.trust.clone()) {
        Ok(carried) => expect("`trust.operator`", carried.operator.as_str(), trust.operator.as_str()),
        Err(error) => problems.push(format!("`trust` cannot be read: {error}")),
    }
    problems.extend(paths(&section.config));
    problems.extend(section.gateway.iter().flat_map(|gateway| tls_paths("gateway", &gateway.tls)));
    problems.extend(access(section));
    if section.gateway.is_some() && section.release.is_some() {
        problems.push("`release` is given although the gateway releases this host".to_owned());
    }
    if let Err(error) = Material::of(&section.host, &section.tls) {
        problems.push(format!("`tls`: {}", host_state::chain(&error)));
    }
    problems
}

/// Files and directories of the server, which are the agent's to name.
fn paths(config: &ServerConfig) -> Vec<String> {
    let mut problems = tls_paths("client", &config.client.tls);
    problems.extend(config.cluster.iter().flat_map(|cluster| tls_paths("cluster", &cluster.tls)));
    if let Some(trust) = &config.trust
        && trust.resolver.dir != layout::RESOLVER
    {
        problems.push(format!(
            "the resolver's directory is `{}`, it has to be `{}`",
            trust.resolver.dir,
            layout::RESOLVER
        ));
    }
    for (what, found, wanted) in [
        ("pid_file", &config.pid_file, layout::PID_FILE),
        ("log_file", &config.logging.log_file, layout::LOG_FILE),
    ] {
        if let Some(found) = found.as_ref().filter(|found| *found != wanted) {
            problems.push(format!("`{what}` is `{found}`, it has to be `{wanted}`"));
        }
    }
    problems
}

fn tls_paths(listener: &str, tls: &ListenerTls) -> Vec<String> {
    let ListenerTls { cert_file, key_file, ca_file, .. } = tls;
    [
        ("cert_file", cert_file, layout::CERT_PATH),
        ("key_file", key_file, layout::KEY_PATH),
        ("ca_file", ca_file, layout::CA_PATH),
    ]
    .into_iter()
    .filter(|(_, found, wanted)| found != wanted)
    .map(|(name, found, wanted)| {
        format!("`{name}` of the {listener} port is `{found}`, it has to be `{wanted}`")
    })
    .collect()
}

/// What the agent itself needs: a monitoring port, and absolute paths.
fn access(section: &ClusterSection) -> Vec<String> {
    let mut problems = Vec::new();
    if section.config.monitor.is_none() {
        problems.push(
            "`config.monitor` is absent, and without it nobody sees whether the server is well".to_owned(),
        );
    }
    if !section.store.directory.starts_with('/') {
        problems.push(format!("`store.directory` is `{}`, it has to be absolute", section.store.directory));
    }
    match &section.server.source {
        BinarySource::Agent | BinarySource::Url { .. } => {}
        BinarySource::Path { path } | BinarySource::File { path, .. } if path.starts_with('/') => {}
        BinarySource::Path { path } | BinarySource::File { path, .. } => {
            problems.push(format!("the path of nats-server is `{path}`, it has to be absolute"));
        }
    }
    if let BinarySource::File { sha256, .. } = &section.server.source
        && sha256.parse::<nats_config::Sha256Hex>().is_err()
    {
        problems.push("the checksum of nats-server is no SHA-256 sum".to_owned());
    }
    // Version and checksum become a directory's name.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    if section.server.version.is_empty() || !section.server.version.chars().all(is_plain) {
        problems.push(format!("`{}` is no version of nats-server", section.server.version));
    }
    problems
}
