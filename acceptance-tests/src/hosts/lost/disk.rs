//! What somebody gets out of the disk of a host: every key, and what they can make with these.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use host_state::document::{ClusterSection, SignedSection};
use host_state::{SectionKind, layout};
use identity::{AuthorityName, CertificatePem, ClientIdentity, HostSecret, Role, Trust};
use nats_agent::applier::claim;
use nats_agent::applier::ledger::{Kept, Ledger};
use nats_agent::parts::effects::Effects;
use nats_agent::parts::tls::Leaf;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::rig::hosts::Host;
use crate::rig::hosts::execute::run;
use crate::rig::loopback::Folder;

/// How long a certificate is good that is made with a stolen key.
const VALIDITY: Duration = Duration::from_secs(3600);

/// A copy of everything that the agent and the server of a host keep, and what is in it.
#[derive(Debug)]
pub(super) struct Disk {
    /// Certificates with keys, and what each is: the host's own, and those that its issuer can sign.
    pub(super) callers: Vec<(String, ClientIdentity)>,
    /// Credentials of the host's two users, and whose they are.
    pub(super) users: Vec<(String, Zeroizing<String>)>,
    /// PEM of the CAs that tell hosts of the authority.
    pub(super) host_ca: String,
    /// PEM of the CA that servers are told by.
    pub(super) server_ca: PathBuf,
    /// Every section that the host had taken in.
    pub(super) sections: Vec<SignedSection>,
    /// Held, never read: the copy goes with it.
    _folder: Folder,
}

impl Disk {
    /// Copies the disk of a host that runs, and takes everything out that opens doors.
    ///
    /// # Errors
    /// When something is not where it should be.
    pub(super) fn copy(host: &Host) -> Result<Disk> {
        let folder = Folder::new("lost")?;
        let state = folder.path().join("nats-agent");
        let own = host.root().join("var/lib/nats-agent");
        run(Command::new("cp").arg("-a").arg(own).arg(&state))?;
        let Kept::Valid(claim) = claim::read(&state) else { anyhow::bail!("the copy holds no claim") };
        let text =
            fs::read_to_string(state.join(layout::HOST_SECRET_FILE)).context("read the host's keys")?;
        let secret = HostSecret::from_json(&text).context("read the host's keys")?;
        let keys: Value = serde_json::from_str(&text).context("read the host's keys")?;
        let leaf = Leaf::read(&state).context("read the host's certificate")?.context("it has none")?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(leaf.chain().as_bytes())
            .collect::<Result<_, _>>()
            .context("read the chain")?;
        let own = ClientIdentity { chain, key: secret.leaf_key_der() };
        let mut callers = vec![("its own certificate".to_owned(), own)];
        let issuer_key = keys["issuer_key"].as_str().context("the host has an issuer")?;
        for role in
            [Role::Operator, Role::Reader, Role::Account("orders".parse().context("an account")?), Role::Peer]
        {
            let forged = forge(&claim.trust, issuer_key, &claim.issuer, host.name(), &role)?;
            callers.push((format!("a certificate for role {role} by its issuer"), forged));
        }
        let ledger =
            Ledger::open(state.join(layout::LEDGER), Effects::default()).context("open the ledger")?;
        let sections = sections(&ledger)?;
        let cluster = sections.iter().find(|section| section.header.section == SectionKind::Cluster);
        let cluster: ClusterSection =
            cluster.context("it has a cluster section")?.body().context("read it")?;
        let user = |what: &str, jwt: &str, key: &str| -> Result<(String, Zeroizing<String>)> {
            let seed = keys[key].as_str().with_context(|| format!("the host has no `{key}`"))?;
            Ok((what.to_owned(), credentials(jwt, seed)))
        };
        let users = vec![
            user("its system user", &cluster.users.system_jwt, "system_user")?,
            user("its probe user", &cluster.users.probe_jwt, "probe_user")?,
        ];
        let server_ca = state.join(layout::CA_PATH);
        ensure!(server_ca.exists(), "the host has no rendition");
        let host_ca = claim.trust.host_ca_bundle();
        Ok(Disk { callers, users, host_ca, server_ca, sections, _folder: folder })
    }
}

/// Every section that was taken in.
fn sections(ledger: &Ledger) -> Result<Vec<SignedSection>> {
    let contents = ledger.read().context("read the ledger")?;
    let kinds = [SectionKind::Cluster, SectionKind::Gateway, SectionKind::Claims];
    let entries = kinds.into_iter().filter_map(|kind| contents.entry(kind));
    Ok(entries.map(|entry| entry.accepted.clone()).collect())
}

/// As `nats-agent creds` writes them. Source: nats-io/jwt v2, creds_utils.go.
fn credentials(jwt: &str, seed: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    ))
}

/// A certificate of a caller with `role`, signed by the issuer of the host.
fn forge(
    trust: &Trust,
    issuer_key: &str,
    issuer: &CertificatePem,
    host: &str,
    role: &Role,
) -> Result<ClientIdentity> {
    let own = KeyPair::from_pem(issuer_key).context("read the issuer's key")?;
    let by = Issuer::from_ca_cert_der(issuer.der(), &own).context("read the issuer")?;
    let authority: &AuthorityName = &trust.authority;
    let names = [
        SanType::DnsName(host.try_into().context("a host's name")?),
        SanType::URI(role.uri(authority).try_into().context("a role")?),
    ];
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::from_secs(60);
    params.not_after = now + VALIDITY;
    let key = KeyPair::generate().context("make a key")?;
    let certificate = params.signed_by(&key, &by).context("sign")?;
    let chain = vec![certificate.into(), issuer.der().clone()];
    Ok(ClientIdentity { chain, key: Zeroizing::new(key.serialize_der()) })
}
