//! Makes a host's certificates older, as if it had been told so long ago: issuer and the agent's own users in the signed
//! section, the leaf, and the rendition with it. Everything stays signed by the keys that signed it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use data_encoding::BASE64;
use host_state::document::{AgentUsers, ClusterSection, ContentHash, SECTION_DOMAIN, canonical};
use host_state::{SectionKind, SignedSection, layout};
use identity::{Authority, HostSecret};
use nats_agent::applier::ledger::{ConfirmedMark, HostFacts, Kept, Ledger, SectionEntry};
use nats_agent::applier::rendition::{FileSet, Renditions};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::{Leaf, Material};
use time::OffsetDateTime;

use super::ISSUER_DAYS;
use crate::rig::agents::Host;
use crate::scenario::system::System;

/// The host's own keys.
pub(super) fn secret(host: &Host) -> Result<HostSecret> {
    let text =
        fs::read_to_string(host.state_dir().join(layout::HOST_SECRET_FILE)).context("read the keys")?;
    HostSecret::from_json(&text).map_err(|error| anyhow!("{error}"))
}

/// Gives the host an issuer and a leaf of those days while its agent is down, then starts the agent. The server goes on.
pub(super) fn age(
    system: &mut System,
    host: &str,
    issuer: OffsetDateTime,
    leaf: OffsetDateTime,
) -> Result<()> {
    system.host_mut(host).agent()?.kill()?;
    put(&system.authority(), system.host(host), issuer, leaf)?;
    system.host_mut(host).start()?;
    system.host_mut(host).await_listening(Duration::from_secs(60))
}

/// As [`age`], on a host whose agent does not run.
pub(super) fn put(
    authority: &Authority,
    host: &Host,
    issuer: OffsetDateTime,
    leaf: OffsetDateTime,
) -> Result<()> {
    let (state_dir, effects) = (host.state_dir(), Effects::default());
    let ledger = Ledger::open(state_dir.join(layout::LEDGER), effects.clone())?;
    let Kept::Valid(entry) = ledger.section(SectionKind::Cluster) else {
        return Err(anyhow!("the ledger of `{}` has no cluster section", host.name()));
    };
    let secret = secret(host)?;
    let (section, material) = aged(authority, &secret, &entry.accepted, host, issuer)?;
    let leaf = material.mint(&secret, leaf)?;

    let renditions = Renditions::open(state_dir.clone(), effects.clone())?;
    let current = renditions.current()?.context("the host has no rendition")?;
    let (manifest, config) = (renditions.manifest(current)?, renditions.model(current)?);
    let files = FileSet::new(&config, &leaf.chain(), &secret.leaf_key_pem(), &leaf.material.host_ca);
    let mark = |(kind, content)| match kind {
        SectionKind::Cluster => (kind, section.header.content.clone()),
        SectionKind::Gateway | SectionKind::Claims => (kind, content),
    };
    let sections = manifest.sections.into_iter().map(mark).collect();
    let candidate = renditions.write_candidate(&files, sections, manifest.whole)?;
    renditions.keep(&candidate)?;
    leaf.write(&effects, &state_dir)?;
    let entry = SectionEntry { accepted: section, confirmed: ConfirmedMark::Accepted };
    ledger.write_section(SectionKind::Cluster, &entry)?;
    if let Kept::Valid(facts) = ledger.facts() {
        ledger.write_facts(&HostFacts { confirmed_rendition: Some(candidate.number), ..facts })?;
    }
    Ok(renditions.switch(Some(candidate.number))?)
}

/// The section with issuer and users of that day, signed again under the same number.
fn aged(
    authority: &Authority,
    secret: &HostSecret,
    section: &SignedSection,
    host: &Host,
    then: OffsetDateTime,
) -> Result<(SignedSection, Material)> {
    let mut body: ClusterSection = section.body()?;
    let kept = Leaf::read(&host.state_dir())?.context("the host keeps no leaf")?.material;
    let (keys, life) = (secret.keys(), time::Duration::days(ISSUER_DAYS));
    let issuer = authority.issuer(&keys, &kept.names, then, life.unsigned_abs())?;
    body.tls.issuer = issuer.as_str().to_owned();
    let (name, expires) = (&kept.names.host, then + life);
    body.users = AgentUsers {
        system_jwt: authority.system_user_jwt(name, &keys.system_user, then, expires).as_str().to_owned(),
        probe_jwt: authority.probe_user_jwt(name, &keys.probe_user, then, expires).as_str().to_owned(),
    };
    let body = canonical(&body);
    let mut header = section.header.clone();
    header.content = ContentHash::of(&body);
    let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    let section = SignedSection { header, body, signature: BASE64.encode(&signature) };
    Ok((section, Material { issuer, ..kept }))
}
