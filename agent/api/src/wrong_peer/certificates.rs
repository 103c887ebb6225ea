//! Certificates that a caller should not get away with.

use std::time::Duration;

use identity::{
    Authority, AuthorityName, CertificatePem, ClientIdentity, Generations, HostKeys, HostSecret,
    PublicKeyInfo, Role, RootKey, mint_leaf,
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PublicKeyData, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::fake::{host_names, host_secret};

/// Host that the matrix pretends to be.
const HOST: &str = "wrong-peer";

/// An authority of the same name and another root key.
pub(super) fn stranger(authority: &Authority) -> Authority {
    of_another_root(authority.name().clone())
}

/// An authority of another name and another root key.
pub(super) fn another() -> Authority {
    of_another_root("another".parse().expect("a good name"))
}

fn of_another_root(name: AuthorityName) -> Authority {
    let root =
        RootKey::from_bytes(std::array::from_fn(|index| 200 - index as u8)).expect("not one byte repeated");
    Authority::derive(&root, name, Generations::default()).expect("first generations")
}

/// A genuine certificate in the hands of somebody who has not got its key.
pub(super) fn stolen(genuine: &ClientIdentity) -> ClientIdentity {
    let key = KeyPair::generate().expect("ring has randomness");
    ClientIdentity { chain: genuine.chain.clone(), key: Zeroizing::new(key.serialize_der()) }
}

fn params(authority: &Authority, role: Option<&Role>, names: Vec<SanType>) -> CertificateParams {
    let uri = role.map(|role| SanType::URI(role.uri(authority.name()).try_into().expect("ASCII")));
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.into_iter().chain(uri).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Nobody signed it but itself.
pub(super) fn self_signed(authority: &Authority, role: &Role, now: OffsetDateTime) -> ClientIdentity {
    let key = KeyPair::generate().expect("ring has randomness");
    let mut params = params(authority, Some(role), Vec::new());
    params.not_before = now - Duration::from_secs(60);
    params.not_after = now + Duration::from_secs(3600);
    let certificate = params.self_signed(&key).expect("plain parameters");
    ClientIdentity { chain: vec![certificate.into()], key: Zeroizing::new(key.serialize_der()) }
}

/// A host of the authority whose root user signs whatever they like, with a leaf key that agents know.
pub(super) struct HostIssuer<'a> {
    authority: &'a Authority,
    neighbour: &'a HostSecret,
    key: KeyPair,
    certificate: CertificatePem,
    now: OffsetDateTime,
}

impl<'a> HostIssuer<'a> {
    pub(super) fn new(
        authority: &'a Authority,
        neighbour: &'a HostSecret,
        now: OffsetDateTime,
    ) -> HostIssuer<'a> {
        let key = KeyPair::generate().expect("ring has randomness");
        let keys = HostKeys {
            issuer_spki: PublicKeyInfo::from_der(&key.subject_public_key_info()).expect("a P-256 key"),
            ..host_secret(HOST).keys()
        };
        let life = Duration::from_secs(86_400);
        let certificate = authority.issuer(&keys, &host_names(HOST), now, life).expect("good names");
        HostIssuer { authority, neighbour, key, certificate, now }
    }

    /// A leaf of this issuer, for callers or for servers only.
    pub(super) fn caller(&self, role: Option<Role>, for_callers: bool) -> ClientIdentity {
        self.forged(role, |params| {
            if !for_callers {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
        })
    }

    /// A leaf of this issuer for callers, after `change`.
    pub(super) fn forged(
        &self,
        role: Option<Role>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientIdentity {
        let der = PrivatePkcs8KeyDer::from(self.neighbour.leaf_key_der().to_vec());
        self.forged_with(&KeyPair::try_from(&der).expect("a host's key"), role, change)
    }

    /// A leaf of this issuer for a peer, right but for its key, of which no section tells.
    pub(super) fn of_unpinned_key(&self) -> ClientIdentity {
        self.forged_with(&KeyPair::generate().expect("ring has randomness"), Some(Role::Peer), |_| {})
    }

    fn forged_with(
        &self,
        leaf: &KeyPair,
        role: Option<Role>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientIdentity {
        let names = vec![SanType::DnsName(HOST.try_into().expect("ASCII"))];
        let mut params = params(self.authority, role.as_ref(), names);
        params.not_before = self.now - Duration::from_secs(60);
        params.not_after = self.now + Duration::from_secs(3600);
        change(&mut params);
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), &self.key).expect("an issuer of ours");
        let certificate = params.signed_by(leaf, &issuer).expect("plain parameters");
        let chain = vec![certificate.into(), self.certificate.der().clone()];
        ClientIdentity { chain, key: Zeroizing::new(leaf.serialize_der()) }
    }

    /// A leaf with two roles: that of a host, and the one that it would like to have.
    pub(super) fn two_roles(&self) -> ClientIdentity {
        let more = SanType::URI(Role::Operator.uri(self.authority.name()).try_into().expect("ASCII"));
        self.forged(Some(Role::Peer), |params| params.subject_alt_names.push(more))
    }

    /// A leaf that a leaf of this issuer signed, as if it were an issuer too.
    pub(super) fn below_a_leaf(&self) -> ClientIdentity {
        let middle = self.caller(Some(Role::Peer), true);
        let der = PrivatePkcs8KeyDer::from(middle.key.to_vec());
        let key = KeyPair::try_from(&der).expect("a key of ours");
        let leaf = KeyPair::generate().expect("ring has randomness");
        let names = vec![SanType::DnsName(HOST.try_into().expect("ASCII"))];
        let params = params(self.authority, Some(&Role::Peer), names);
        let issuer = Issuer::from_ca_cert_der(&middle.chain[0], &key).expect("a certificate of ours");
        let certificate = params.signed_by(&leaf, &issuer).expect("plain parameters");
        let chain = std::iter::once(certificate.into()).chain(middle.chain).collect();
        ClientIdentity { chain, key: Zeroizing::new(leaf.serialize_der()) }
    }

    /// The issuer's own certificate and key.
    pub(super) fn issuer(&self) -> ClientIdentity {
        let chain = vec![self.certificate.der().clone()];
        ClientIdentity { chain, key: Zeroizing::new(self.key.serialize_der()) }
    }

    /// A genuine leaf of a host that has missed its renewal.
    pub(super) fn expired(&self, now: OffsetDateTime) -> ClientIdentity {
        let secret = host_secret(HOST);
        let (names, then) = (host_names(HOST), now - Duration::from_secs(86_400));
        let year = Duration::from_secs(365 * 86_400);
        let issuer = self.authority.issuer(&secret.keys(), &names, then, year).expect("good names");
        let leaf =
            mint_leaf(&secret, &issuer, &names, then, Duration::from_secs(3600)).expect("its own issuer");
        let chain = vec![leaf.leaf.der().clone(), issuer.der().clone()];
        ClientIdentity { chain, key: secret.leaf_key_der() }
    }
}
