//! Test vectors: every derivation string with its secret, and everything public, of one known root key.
//!
//! The golden file is what another implementation, or a person with the root key and a command line, checks against.

use data_encoding::HEXLOWER;
use serde_json::json;

use crate::{AccountLimits, JetStreamLimits, ResponsePermission, SubjectPermissions, UserTemplate};
use crate::{Authority, AuthorityName, ConnectionType, Generations, HostSecret, HostSeeds, Purpose, RootKey};
use zeroize::Zeroizing;

fn golden(name: &str, actual: &serde_json::Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(actual).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; UPDATE_GOLDEN=1 rewrites it, then review the diff",
        path.display()
    );
}

#[test]
fn derivation_and_public_artefacts_are_for_ever() {
    let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
    let root = RootKey::from_bytes(bytes).unwrap();
    let name: AuthorityName = "acme".parse().unwrap();
    let account = "orders".parse().unwrap();
    let user = "service".parse().unwrap();
    let host = "east-1".parse().unwrap();
    let derivation = crate::derivation::Derivation::new(&root, name.clone());
    let nkeys = [
        Purpose::OperatorIdentity,
        Purpose::SystemAccountIdentity,
        Purpose::ProbeAccountIdentity,
        Purpose::AccountIdentity(&account),
        Purpose::OperatorSigning(1),
        Purpose::SystemAccountSigning(1),
        Purpose::ProbeAccountSigning(1),
        Purpose::AccountSigning(&account, 1),
        Purpose::UserScope(&account, &user, 1),
        Purpose::Document(1),
        Purpose::Enrollment(&host, 1),
    ];
    let mut secrets: Vec<_> = nkeys
        .iter()
        .map(|purpose| json!({"info": purpose.info(&name), "secret": HEXLOWER.encode(derivation.secret(purpose).as_ref())}))
        .collect();
    for purpose in [Purpose::FleetCa(1), Purpose::HostCa(1)] {
        let pkcs8 = derivation.p256(&purpose).to_pkcs8_der();
        // The scalar stands at a fixed place of this one encoding: after 36 bytes.
        let scalar = HEXLOWER.encode(&pkcs8[36..68]);
        secrets.push(json!({"info": format!("{}/p256/0", purpose.info(&name)), "secret": scalar}));
    }
    let authority = Authority::derive(&root, name, Generations::default()).unwrap();
    let mut claims = authority.account_claims(
        account.clone(),
        AccountLimits {
            connections: Some(100),
            jetstream: Some(JetStreamLimits { max_storage: Some(50 << 30), ..JetStreamLimits::unlimited() }),
            ..AccountLimits::unlimited()
        },
    );
    let template = UserTemplate {
        publish: SubjectPermissions { allow: ["orders.>".to_owned()].into(), deny: [].into() },
        allow_responses: Some(ResponsePermission { max_messages: 1, ttl_ns: 0 }),
        connection_types: [ConnectionType::Standard, ConnectionType::LeafnodeWs].into(),
        ..UserTemplate::unrestricted()
    };
    claims.scopes.insert(user.clone(), authority.user_scope(&account, &user, 1, template));
    let now = time::macros::datetime!(2026-01-01 00:00 UTC);
    let seed = |fill| Zeroizing::new([fill; 32]);
    let credentials = authority.user_credentials(&account, &user, 1, &seed(7), now, None);
    let keys = HostSecret::from_seeds(&HostSeeds {
        issuer: seed(1),
        leaf: seed(2),
        system_user: seed(3),
        probe_user: seed(4),
    })
    .keys();
    golden(
        "vectors.json",
        &json!({
            "root_key": data_encoding::BASE64.encode(&bytes),
            "salt": crate::DERIVATION_PREFIX,
            "secrets": secrets,
            "trust": authority.trust(),
            "account_jwt": authority.account_jwt(&claims, 1_767_225_600).unwrap(),
            "credentials": credentials.creds().as_str(),
            "enrollment": authority.enrollment(host.clone(), 1).to_text().as_str(),
            "host_keys": keys,
            "system_user_jwt": authority.system_user_jwt(&host, &keys.system_user, now, now + time::Duration::days(365)),
            "probe_user_jwt": authority.probe_user_jwt(&host, &keys.probe_user, now, now + time::Duration::days(365)),
        }),
    );
}

#[test]
fn no_two_purposes_share_an_info_string() {
    let name: AuthorityName = "acme".parse().unwrap();
    let (a, b) = ("1".parse().unwrap(), "1.1".parse().unwrap());
    let user = "1".parse().unwrap();
    let host = "1".parse().unwrap();
    let all = [
        Purpose::OperatorIdentity,
        Purpose::SystemAccountIdentity,
        Purpose::ProbeAccountIdentity,
        Purpose::AccountIdentity(&a),
        Purpose::AccountIdentity(&b),
        Purpose::OperatorSigning(1),
        Purpose::OperatorSigning(11),
        Purpose::SystemAccountSigning(1),
        Purpose::ProbeAccountSigning(1),
        Purpose::AccountSigning(&a, 1),
        Purpose::AccountSigning(&b, 1),
        Purpose::UserScope(&a, &user, 1),
        Purpose::UserScope(&b, &user, 1),
        Purpose::FleetCa(1),
        Purpose::HostCa(1),
        Purpose::Document(1),
        Purpose::Enrollment(&host, 1),
    ];
    let infos: std::collections::BTreeSet<_> = all.iter().map(|purpose| purpose.info(&name)).collect();
    assert_eq!(infos.len(), all.len());
}
