//! Byte stability, rotation, and that nothing secret shows.

use std::collections::BTreeSet;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use identity::{Authority, DeriveError, Generations, Nkey, NkeyKind, Trust};
use proptest::prelude::*;

use crate::{NOW, acme, authority_of, host_secret, root, seed};

fn claims(jwt: &str) -> serde_json::Value {
    let payload = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

#[test]
fn everything_public_is_stable_to_the_byte() {
    let text = |authority: &Authority| serde_json::to_string(&authority.trust()).unwrap();
    assert_eq!(text(&acme()), text(&acme()));
    let read: Trust = serde_json::from_str(&text(&acme())).unwrap();
    assert_eq!(read, acme().trust());
    assert_ne!(text(&acme()), text(&authority_of(1, "acme", Generations::default())), "another root key");
    assert_ne!(text(&acme()), text(&authority_of(0, "acme2", Generations::default())), "another name");
}

#[test]
fn the_operator_trusts_signing_keys_only() {
    let trust = acme().trust();
    let operator = claims(trust.operator_jwt.as_str());
    assert_eq!(operator["iss"], operator["sub"]);
    assert_eq!(operator["nats"]["strict_signing_key_usage"], true);
    assert_eq!(operator["nats"]["system_account"], trust.system_account.as_str());
    let signing: BTreeSet<_> = trust.operator_signing_keys.iter().map(ToString::to_string).collect();
    assert!(!signing.contains(trust.operator.as_str()));
    for jwt in [&trust.system_account_jwt, &trust.probe_account_jwt] {
        let account = claims(jwt.as_str());
        assert!(signing.contains(account["iss"].as_str().unwrap()));
        assert_eq!(account["iat"], identity::AUTHORITY_ISSUED_AT);
        assert_eq!(account["nats"]["limits"]["conn"], -1);
        assert!(account["nats"]["limits"].get("disk_storage").is_none(), "no JetStream");
    }
}

#[test]
fn a_rotation_changes_its_own_keys_and_overlaps() {
    let one = acme().trust();
    let all = Generations { operator_signing: 2, account_signing: 2, fleet_ca: 2, host_ca: 2, document: 2 };
    let two = authority_of(0, "acme", all).trust();
    assert_eq!(
        (&one.operator, &one.system_account, &one.probe_account),
        (&two.operator, &two.system_account, &two.probe_account)
    );
    assert!(
        two.operator_signing_keys.is_superset(&one.operator_signing_keys)
            && two.operator_signing_keys.len() == 2
    );
    assert_eq!(two.previous_fleet_ca.as_ref(), Some(&one.fleet_ca));
    assert_eq!(two.previous_host_ca.as_ref(), Some(&one.host_ca));
    assert_eq!(two.previous_document_key.as_ref(), Some(&one.document_key));
    assert!(
        two.fleet_ca_bundle().contains(one.fleet_ca.as_str())
            && two.fleet_ca_bundle().starts_with(two.fleet_ca.as_str())
    );
    assert!(two.host_ca_bundle().contains(one.host_ca.as_str()));
    let keys = claims(two.system_account_jwt.as_str())["nats"]["signing_keys"].as_array().unwrap().len();
    assert_eq!(keys, 2);

    let signature = acme().document_key().sign("apply", b"x");
    assert!(two.verify_document("apply", b"x", &signature) && one.verify_document("apply", b"x", &signature));
    let three = authority_of(0, "acme", Generations { document: 3, ..all }).trust();
    assert!(!three.verify_document("apply", b"x", &signature), "two rotations end the oldest");

    let only_ca = authority_of(0, "acme", Generations { fleet_ca: 2, ..Generations::default() }).trust();
    assert_eq!(
        (only_ca.host_ca, only_ca.operator_jwt, only_ca.document_key),
        (one.host_ca, one.operator_jwt, one.document_key)
    );
}

#[test]
fn generation_zero_is_refused() {
    let generations = Generations { host_ca: 0, ..Generations::default() };
    let error = Authority::derive(&root(0), "acme".parse().unwrap(), generations).unwrap_err();
    assert_eq!(error, DeriveError::Generation("host_ca"));
    assert_eq!(error.to_string(), "generation `host_ca` is 0, generations count from 1");
}

#[test]
fn deleting_accounts_takes_a_self_signed_request_of_a_trusted_key() {
    let account = acme().account_key(&"orders".parse().unwrap());
    let request = acme().delete_accounts_jwt(&[account.clone()].into(), 1_767_225_600);
    let claims = claims(request.as_str());
    let signer = claims["iss"].as_str().unwrap().parse().unwrap();
    assert!(acme().trust().operator_signing_keys.contains(&signer));
    assert_eq!(claims["iss"], claims["sub"]);
    assert_eq!(claims["nats"]["accounts"], serde_json::json!([account.as_str()]));
}

#[test]
fn the_id_of_a_jwt_is_a_hash_of_its_claims() {
    let trust = acme().trust();
    let id = claims(trust.operator_jwt.as_str())["jti"].as_str().unwrap().to_owned();
    assert_eq!(BASE32_NOPAD.decode(id.as_bytes()).unwrap().len(), 32);
    assert_ne!(id, claims(trust.system_account_jwt.as_str())["jti"].as_str().unwrap());
}

#[test]
fn debug_shows_no_secret() {
    let authority = acme();
    let secret = host_secret(10);
    let account = "orders".parse().unwrap();
    let user = "service".parse().unwrap();
    let credentials = authority.user_credentials(&account, &user, 1, &seed(7), NOW, None);
    let admin = authority.admin_user(&identity::AdminPurpose::SystemMonitor, &seed(8), NOW, 5).unwrap();
    let enrollment = authority.enrollment("east-1".parse().unwrap(), 1);
    let client = authority.client_certificate(&identity::Role::Operator, &seed(9), NOW, crate::DAY).unwrap();
    let nkey = Nkey::from_seed_bytes(NkeyKind::User, &seed(7));
    let shown = format!(
        "{:?} {authority:?} {secret:?} {credentials:?} {admin:?} {enrollment:?} {client:?} {nkey:?} {:?} {:?}",
        root(0),
        authority.document_key(),
        authority.trust(),
    );
    let json: serde_json::Value = serde_json::from_str(&secret.to_json()).unwrap();
    let mut secrets: Vec<String> = ["issuer_key", "leaf_key", "system_user", "probe_user"]
        .iter()
        .flat_map(|field| json[field].as_str().unwrap().lines().map(ToOwned::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.starts_with("---"))
        .collect();
    secrets.push(nkey.seed().to_string());
    secrets.push(Nkey::from_seed_bytes(NkeyKind::User, &seed(8)).seed().to_string());
    secrets.push(enrollment.token.to_text().to_string());
    secrets.push(credentials.jwt.as_str().to_owned());
    assert_eq!(secrets.len(), 12);
    for secret in secrets {
        assert!(!shown.contains(&secret), "Debug shows `{secret}`");
    }
    assert!(!shown.contains("[7, 7, 7") && !shown.contains("[0, 1, 2, 3"), "Debug shows raw bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Another root key shares no public key with this one.
    #[test]
    fn root_keys_share_nothing(bytes in any::<[u8; 32]>()) {
        prop_assume!(bytes.iter().any(|byte| *byte != bytes[0]));
        let root = identity::RootKey::from_bytes(bytes).unwrap();
        let other = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap().trust();
        let ours = acme().trust();
        prop_assert_ne!(other.operator, ours.operator);
        prop_assert_ne!(other.system_account, ours.system_account);
        prop_assert_ne!(other.fleet_ca, ours.fleet_ca);
        prop_assert_ne!(other.document_key, ours.document_key);
        prop_assert!(other.operator_signing_keys.is_disjoint(&ours.operator_signing_keys));
    }
}
