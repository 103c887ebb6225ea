//! A lost host as the neighbour of agents that it was: its own certificate, and those that its issuer signs for whoever has
//! its disk, tried at every call of other hosts' agents. An agent that does anything but deny a call has answered.

use std::fs;
use std::path::Path;
use std::time::Duration;

use acceptance_tests::rig::agents::Host;
use acceptance_tests::scenario::system::System;
use acceptance_tests::scenario::traffic::talk;
use host_state::{chain, layout};
use identity::{CertificatePem, ClientIdentity, HostNames, HostSecret, Role, mint_leaf};
use nats_agent_api::server::{METHODS, Method};
use nats_agent_api::wrong_peer::call;
use nats_agent_api::{AgentClient, CallError, Expected, Timeouts};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use time::OffsetDateTime;
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3600);

/// Certificates of a host in the hands of a thief, each with what it is.
pub(super) struct Stolen {
    /// Those of the key that neighbours pin: the host's own, and another one by its issuer.
    pub(super) pinned: Vec<(&'static str, ClientIdentity)>,
    /// By its issuer for a key that a thief made: nobody has ever pinned it.
    pub(super) of_another_key: (&'static str, ClientIdentity),
}

impl Stolen {
    /// Takes them from the state directory `state` of a host at `address`.
    pub(super) fn from(system: &System, host: &Host, state: &Path) -> Stolen {
        let text = fs::read_to_string(state.join(layout::HOST_SECRET_FILE)).unwrap();
        let secret = HostSecret::from_json(&text).unwrap();
        let pem = fs::read_to_string(state.join(layout::CURRENT).join(layout::CERT_FILE)).unwrap();
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap();
        // The leaf, then the issuer.
        let issuer: CertificatePem = pem[pem.rfind("-----BEGIN").unwrap()..].parse().unwrap();
        let ips = [host.address().into()].into();
        let names = HostNames { host: host.name().parse().unwrap(), dns: [].into(), ips };
        let again = mint_leaf(&secret, &issuer, &names, OffsetDateTime::now_utc(), HOUR).unwrap();
        let again = vec![again.leaf.der().clone(), chain[1].clone()];
        let forged = forged(system, host, &issuer, &text);
        let own = ClientIdentity { chain, key: secret.leaf_key_der() };
        let again = ClientIdentity { chain: again, key: secret.leaf_key_der() };
        Stolen {
            pinned: vec![("its own certificate", own), ("another one that its issuer signed", again)],
            of_another_key: ("one for another key that its issuer signed", forged),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(&'static str, ClientIdentity)> {
        self.pinned.iter().chain([&self.of_another_key])
    }
}

fn forged(system: &System, host: &Host, issuer: &CertificatePem, secret: &str) -> ClientIdentity {
    let secret: Value = serde_json::from_str(secret).unwrap();
    let own = KeyPair::from_pem(secret["issuer_key"].as_str().unwrap()).unwrap();
    let by = Issuer::from_ca_cert_der(issuer.der(), own).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName(host.name().try_into().unwrap()),
        SanType::URI(Role::Peer.uri(system.authority().name()).try_into().unwrap()),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(60);
    params.not_after = OffsetDateTime::now_utc() + HOUR;
    let key = KeyPair::generate().unwrap();
    let chain = vec![params.signed_by(&key, &by).unwrap().into(), issuer.der().clone()];
    ClientIdentity { chain, key: Zeroizing::new(key.serialize_der()) }
}

/// Connects to the agent of `host`.
pub(super) async fn connect(
    system: &System,
    host: &Host,
    identity: &ClientIdentity,
) -> anyhow::Result<AgentClient> {
    let host_ca = system.authority().trust().host_ca_bundle();
    let (address, timeouts) = (host.agent_address().to_string(), Timeouts::default());
    Ok(AgentClient::connect(&address, identity, &host_ca, Expected::default(), timeouts).await?)
}

/// What the agents of `hosts` answer who shows `identity`, as `host: call: how`; and why each refused `Claims`.
pub(super) fn tried(
    system: &System,
    hosts: &[String],
    identity: &ClientIdentity,
) -> (Vec<String>, Vec<String>) {
    let (mut answered, mut refused) = (Vec::new(), Vec::new());
    for host in hosts {
        let called = talk(async {
            let agent = connect(system, system.host(host), identity).await?;
            let mut called = Vec::new();
            for method in METHODS {
                called.push((method, call(&agent, method, Vec::new()).await));
            }
            Ok(called)
        });
        for (method, result) in called.unwrap() {
            match result {
                Err(CallError::Denied { .. }) if method != Method::Claims => {}
                Err(why @ CallError::Denied { .. }) => refused.push(format!("{host}: {}", chain(&why))),
                Ok(()) => answered.push(format!("{host}: {method:?}: yes")),
                Err(why) => answered.push(format!("{host}: {method:?}: {}", chain(&why))),
            }
        }
    }
    (answered, refused)
}
