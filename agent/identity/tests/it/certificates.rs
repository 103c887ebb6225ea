//! Certificates as rustls sees them: what verifies, and what a host with its issuer's key can never make verify.

use std::sync::Arc;

use identity::{
    CertificateAuthority, CertificatePem, HostNames, HostSecret, IssueError, LeafPem, Role, RoleError,
    caller_role, certificate_info, mint_leaf, role_of,
};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use time::OffsetDateTime;

use crate::{DAY, NOW, acme, authority_of, host_secret, names, seed};

fn roots(ca: &CertificatePem) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(ca.der().clone()).unwrap();
    Arc::new(store)
}

fn unix(at: OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp().try_into().unwrap()))
}

fn as_server(
    ca: &CertificatePem,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    name: &str,
    at: OffsetDateTime,
) -> Result<(), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca), provider).build().unwrap();
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(leaf, above, &name, &[], unix(at)).map(|_| ())
}

fn as_client(
    ca: &CertificatePem,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    at: OffsetDateTime,
) -> Result<(), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca), provider).build().unwrap();
    verifier.verify_client_cert(leaf, above, unix(at)).map(|_| ())
}

fn east_1() -> HostNames {
    names("east-1", &["nats.acme.example"], &["10.10.151.211", "fd00::211"])
}

struct Host {
    secret: HostSecret,
    issuer: CertificatePem,
    leaf: LeafPem,
}

fn host(names: &HostNames) -> Host {
    let secret = host_secret(10);
    let issuer = acme().issuer(&secret.keys(), names, NOW, DAY * 365).unwrap();
    let leaf = mint_leaf(&secret, &issuer, names, NOW, DAY * 30).unwrap();
    Host { secret, issuer, leaf }
}

fn refused(result: Result<(), Error>) -> CertificateError {
    match result {
        Err(Error::InvalidCertificate(error)) => error,
        other => panic!("expected a refused certificate, got {other:?}"),
    }
}

#[test]
fn a_leaf_is_its_own_host_and_no_other() {
    let Host { issuer, leaf, .. } = host(&east_1());
    let ca = acme().trust().host_ca;
    let above = [issuer.der().clone()];
    for own in ["east-1", "nats.acme.example", "10.10.151.211", "fd00::211"] {
        as_server(&ca, leaf.leaf.der(), &above, own, NOW).unwrap();
    }
    for other in ["east-2", "acme.example", "a.nats.acme.example", "10.10.151.212", "fd00::212"] {
        let error = refused(as_server(&ca, leaf.leaf.der(), &above, other, NOW));
        assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{other}: {error:?}");
    }
    as_client(&ca, leaf.leaf.der(), &above, NOW).unwrap();
    assert_eq!(caller_role(leaf.leaf.der(), CertificateAuthority::Host, acme().name()).unwrap(), Role::Peer);
    let direct = acme().direct_leaf(&host_secret(10).keys(), &east_1(), NOW, DAY * 90).unwrap();
    as_server(&ca, direct.leaf.der(), &[], "nats.acme.example", NOW).unwrap();
    assert_eq!(direct.chain(), direct.leaf.as_str());
}

#[test]
fn times_end_what_they_should() {
    let Host { secret, issuer, leaf } = host(&east_1());
    let ca = acme().trust().host_ca;
    let verify = |leaf: &LeafPem, at| as_server(&ca, leaf.leaf.der(), &[issuer.der().clone()], "east-1", at);
    assert!(matches!(refused(verify(&leaf, NOW + DAY * 31)), CertificateError::ExpiredContext { .. }));
    assert!(matches!(refused(verify(&leaf, NOW - DAY)), CertificateError::NotValidYetContext { .. }));
    // A clock that is a few minutes behind the signer's.
    verify(&leaf, NOW - time::Duration::minutes(9)).unwrap();

    let late = mint_leaf(&secret, &issuer, &east_1(), NOW + DAY * 350, DAY * 30).unwrap();
    let info = certificate_info(&late.chain()).unwrap();
    assert_eq!(info.not_after, NOW + DAY * 365, "a leaf never outlives its issuer");
    let error = mint_leaf(&secret, &issuer, &east_1(), NOW + DAY * 366, DAY * 30).unwrap_err();
    assert!(matches!(error, IssueError::Expired { .. }), "{error}");

    let info = certificate_info(&leaf.chain()).unwrap();
    let life = info.not_after - info.not_before;
    assert_eq!(info.renew_at(), info.not_before + life / 3);
    assert_eq!(info.alarm_at(), info.not_before + life / 2);
}

#[test]
fn information_names_everything_decisions_need() {
    let Host { secret, issuer, leaf } = host(&east_1());
    let info = certificate_info(&leaf.chain()).unwrap();
    assert_eq!(info.spki_pin, secret.keys().leaf_pin());
    assert_eq!(info.dns, east_1().dns_names());
    assert_eq!(info.ips, east_1().ips);
    assert!(info.uris.contains("nats-agent://acme/role/peer"));
    assert_eq!(info.issuer, certificate_info(issuer.as_str()).unwrap().subject);
    assert!(!info.is_ca && certificate_info(issuer.as_str()).unwrap().is_ca);
    let renewed = mint_leaf(&secret, &issuer, &east_1(), NOW + DAY * 10, DAY * 30).unwrap();
    let renewed = certificate_info(renewed.leaf.as_str()).unwrap();
    assert_eq!(renewed.spki_pin, info.spki_pin, "renewal keeps the key");
    assert_ne!(renewed.serial, info.serial, "renewal changes the serial");
}

/// What a host whose issuer key was stolen would sign, past all checks of ours.
fn forge(host: &Host, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let secret: serde_json::Value = serde_json::from_str(&host.secret.to_json()).unwrap();
    let key = KeyPair::from_pem(secret["issuer_key"].as_str().unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(host.issuer.as_str(), &key).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = NOW - DAY;
    params.not_after = NOW + DAY;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().into()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn a_stolen_issuer_cannot_be_another_host() {
    let ca = acme().trust().host_ca;
    let with_ips = host(&east_1());
    let without_ips = host(&names("east-1", &[], &[]));
    let cases = [
        (&with_ips, dns("east-2"), "east-2"),
        (&with_ips, dns("acme.example"), "acme.example"),
        (&with_ips, dns("evil.nats.acme.example"), "evil.nats.acme.example"),
        (&with_ips, dns("west.east-1"), "west.east-1"),
        (&with_ips, SanType::IpAddress("10.10.151.212".parse().unwrap()), "10.10.151.212"),
        (&with_ips, SanType::IpAddress("fd00::212".parse().unwrap()), "fd00::212"),
        (&without_ips, SanType::IpAddress("10.10.151.211".parse().unwrap()), "10.10.151.211"),
        (&without_ips, SanType::IpAddress("fd00::211".parse().unwrap()), "fd00::211"),
    ];
    for (host, san, name) in cases {
        let forged = forge(host, |params| params.subject_alt_names = vec![san]);
        let error = refused(as_server(&ca, &forged, &[host.issuer.der().clone()], name, NOW));
        assert!(format!("{error:?}").contains("NameConstraintViolation"), "{name}: {error:?}");
    }
    // The forgery itself is sound: with its own name it verifies.
    let own = forge(&with_ips, |params| params.subject_alt_names = vec![dns("east-1")]);
    as_server(&ca, &own, &[with_ips.issuer.der().clone()], "east-1", NOW).unwrap();
}

#[test]
fn a_stolen_issuer_cannot_make_another_issuer() {
    let host = host(&east_1());
    let ca = acme().trust().host_ca;
    let secret: serde_json::Value = serde_json::from_str(&host.secret.to_json()).unwrap();
    let key = KeyPair::from_pem(secret["issuer_key"].as_str().unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(host.issuer.as_str(), &key).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let middle_key = KeyPair::generate().unwrap();
    let middle = params.signed_by(&middle_key, &issuer).unwrap();
    let middle_issuer = Issuer::new(params, &middle_key);
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![dns("east-1")];
    let leaf: CertificateDer<'_> =
        leaf.signed_by(&KeyPair::generate().unwrap(), &middle_issuer).unwrap().into();
    let error = refused(as_server(&ca, &leaf, &[middle.into(), host.issuer.der().clone()], "east-1", NOW));
    assert!(format!("{error:?}").contains("PathLenConstraintViolated"), "{error:?}");
}

#[test]
fn no_host_can_mint_a_caller() {
    let trust = acme().trust();
    let host = host(&east_1());
    let above = [host.issuer.der().clone()];
    let forged = forge(&host, |params| {
        params.subject_alt_names = vec![SanType::URI("nats-agent://acme/role/operator".try_into().unwrap())];
    });
    assert_eq!(refused(as_client(&trust.fleet_ca, &forged, &above, NOW)), CertificateError::UnknownIssuer);
    // Below the host CA it verifies, which is why the role is judged by the CA as well.
    as_client(&trust.host_ca, &forged, &above, NOW).unwrap();
    let error = caller_role(&forged, CertificateAuthority::Host, acme().name()).unwrap_err();
    assert_eq!(error.to_string(), "role `operator` is not given by the host CA");
    // Nor is a caller a server or a peer.
    let caller = acme().client_certificate(&Role::Operator, &seed(9), NOW, DAY).unwrap();
    assert_eq!(
        refused(as_client(&trust.host_ca, &caller.chain[0], &[], NOW)),
        CertificateError::UnknownIssuer
    );
}

#[test]
fn callers_carry_one_role_of_one_authority() {
    let authority = acme();
    let trust = authority.trust();
    let roles = [
        (Role::Operator, "operator"),
        (Role::Reader, "reader"),
        (Role::Account("orders".parse().unwrap()), "account:orders"),
    ];
    for (role, word) in roles {
        assert_eq!(role.to_string(), word);
        let caller = authority.client_certificate(&role, &seed(9), NOW, DAY).unwrap();
        as_client(&trust.fleet_ca, &caller.chain[0], &[], NOW).unwrap();
        assert_eq!(role_of(&caller.chain[0]).unwrap(), ("acme".parse().unwrap(), role.clone()));
        assert_eq!(
            caller_role(&caller.chain[0], CertificateAuthority::Fleet, authority.name()).unwrap(),
            role
        );
        rustls::sign::CertifiedKey::from_der(
            caller.chain.clone(),
            rustls::pki_types::PrivatePkcs8KeyDer::from(caller.key.to_vec()).into(),
            &rustls::crypto::ring::default_provider(),
        )
        .unwrap()
        .keys_match()
        .unwrap();
        let error = refused(as_client(&trust.fleet_ca, &caller.chain[0], &[], NOW + DAY * 2));
        assert!(matches!(error, CertificateError::ExpiredContext { .. }));
    }
    let error = authority.client_certificate(&Role::Peer, &seed(9), NOW, DAY).unwrap_err();
    assert_eq!(error.to_string(), "role `peer` belongs to hosts, the fleet CA does not give it");

    let other = authority_of(0, "other", identity::Generations::default());
    let theirs = other.client_certificate(&Role::Operator, &seed(9), NOW, DAY).unwrap();
    let error = caller_role(&theirs.chain[0], CertificateAuthority::Fleet, authority.name()).unwrap_err();
    assert_eq!(error.to_string(), "certificate is of authority `other`, not `acme`");
    assert!(as_client(&trust.fleet_ca, &theirs.chain[0], &[], NOW).is_err());
    assert_eq!(role_of(trust.fleet_ca.der()).unwrap_err(), RoleError::Missing);
}

#[test]
fn unusable_roles_are_refused() {
    let host = host(&east_1());
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let role =
        |sans: Vec<SanType>| role_of(&forge(&host, |params| params.subject_alt_names = sans)).unwrap_err();
    let peer = || uri("nats-agent://acme/role/peer");
    assert_eq!(role(vec![peer(), uri("nats-agent://acme/role/operator")]), RoleError::Several);
    for unknown in
        ["nats-agent://acme/role/root", "nats-agent://acme/role/account:a/b", "nats-agent://ACME/role/peer"]
    {
        assert_eq!(role(vec![uri(unknown)]), RoleError::Unknown { uri: unknown.to_owned() });
    }
    assert_eq!(role(vec![dns("east-1")]), RoleError::Missing);
}

#[test]
fn minting_refuses_what_would_not_verify() {
    let Host { secret, issuer, .. } = host(&east_1());
    let mint = |secret: &HostSecret, names: &HostNames| {
        mint_leaf(secret, &issuer, names, NOW, DAY * 30).unwrap_err().to_string()
    };
    assert_eq!(
        mint(&secret, &names("east-1", &["other.example"], &["10.0.0.9", "10.10.151.211"])),
        "issuer certificate does not permit `other.example`, `10.0.0.9`"
    );
    assert!(mint(&host_secret(50), &east_1()).starts_with("issuer certificate is for key `"));
    let root = acme().trust().host_ca;
    assert!(matches!(
        mint_leaf(&secret, &root, &east_1(), NOW, DAY).unwrap_err(),
        IssueError::Authority(RoleError::Missing)
    ));
    let bad = names("10.9.9.9", &["*.acme.example", "10.0.0.1", "Upper", "a.7"], &["0.0.0.0"]);
    let error = acme().issuer(&secret.keys(), &bad, NOW, DAY).unwrap_err().to_string();
    for part in
        ["`10.9.9.9`", "`a.7`", "`*.acme.example`", "`10.0.0.1`", "`Upper`", "`0.0.0.0` is no address"]
    {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(
        acme().issuer(&secret.keys(), &east_1(), NOW, std::time::Duration::MAX).unwrap_err(),
        IssueError::Validity
    ));
}

#[test]
fn a_name_below_another_own_name_is_kept() {
    let nested = names("east-1", &["acme.example", "nats.acme.example"], &[]);
    let host = host(&nested);
    let ca = acme().trust().host_ca;
    for own in ["acme.example", "nats.acme.example", "east-1"] {
        as_server(&ca, host.leaf.leaf.der(), &[host.issuer.der().clone()], own, NOW).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever valid names a host has, its leaf verifies for each of them.
    #[test]
    fn every_listed_name_verifies(
        dns in proptest::collection::btree_set("[a-z]{1,8}(\\.[a-z0-9]{1,6}){0,3}", 0..6),
        ips in proptest::collection::btree_set(any::<[u8; 4]>(), 0..4),
    ) {
        let names = HostNames {
            host: "east-1".parse().unwrap(),
            dns,
            ips: ips.into_iter().map(std::net::IpAddr::from).collect(),
        };
        prop_assume!(names.problems().is_empty());
        let host = host(&names);
        let ca = acme().trust().host_ca;
        let all = names.dns_names().into_iter().chain(names.ips.iter().map(ToString::to_string));
        for name in all {
            as_server(&ca, host.leaf.leaf.der(), &[host.issuer.der().clone()], &name, NOW).unwrap();
        }
    }
}

#[test]
fn a_stolen_issuer_cannot_sign_mail_names() {
    let host = host(&east_1());
    let forged = forge(&host, |params| {
        params.subject_alt_names =
            vec![dns("east-1"), SanType::Rfc822Name("root@acme.example".try_into().unwrap())];
    });
    let error =
        refused(as_server(&acme().trust().host_ca, &forged, &[host.issuer.der().clone()], "east-1", NOW));
    assert!(format!("{error:?}").contains("NameConstraintViolation"), "{error:?}");
}
