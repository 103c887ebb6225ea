//! Account JWTs: what is written is read again, one change changes one thing, and nothing foreign is accepted.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64URL_NOPAD;
use identity::{
    AccountClaims, AccountLimits, ConnectionType, DecodeAccountError, EncodeAccountError, Generations,
    JetStreamLimits, Jwt, JwtError, Nkey, NkeyKind, ResponsePermission, Revoked, SubjectPermissions,
    UserScope, UserTemplate, decode_account,
};
use proptest::prelude::*;

use crate::{acme, authority_of};

const ISSUED: i64 = 1_767_225_600;

fn orders(limits: AccountLimits) -> AccountClaims {
    acme().account_claims("orders".parse().unwrap(), limits)
}

fn allow(subjects: &[&str]) -> SubjectPermissions {
    SubjectPermissions { allow: subjects.iter().map(|s| (*s).to_owned()).collect(), deny: BTreeSet::new() }
}

fn with_user(mut claims: AccountClaims, user: &str, publish: &[&str]) -> AccountClaims {
    let user = user.parse().unwrap();
    let template = UserTemplate { publish: allow(publish), ..UserTemplate::unrestricted() };
    let scope = acme().user_scope(&claims.name, &user, 1, template);
    claims.scopes.insert(user, scope);
    claims
}

fn round_trip(claims: &AccountClaims) -> AccountClaims {
    let jwt = acme().account_jwt(claims, ISSUED).unwrap();
    let decoded = decode_account(&jwt.as_str().parse().unwrap(), &acme().trust()).unwrap();
    assert_eq!(decoded.issued_at, ISSUED);
    decoded.claims
}

/// The JWT of `claims` with its JSON edited, signed again by `signer` and under its name.
fn edited(claims: &AccountClaims, signer: &Nkey, edit: impl FnOnce(&mut serde_json::Value)) -> Jwt {
    let jwt = acme().account_jwt(claims, ISSUED).unwrap();
    let parts: Vec<_> = jwt.as_str().split('.').collect();
    let mut json: serde_json::Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap();
    json["iss"] = signer.public_text().into();
    edit(&mut json);
    let signed = format!("{}.{}", parts[0], BASE64URL_NOPAD.encode(json.to_string().as_bytes()));
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signer.sign(signed.as_bytes()))).parse().unwrap()
}

/// The operator signing key of `acme`, derived here a second time from the published rules.
fn operator_signing_key() -> Nkey {
    let root: [u8; 32] = std::array::from_fn(|i| i as u8);
    let mut seed = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(b"nats-authority/v1"), &root)
        .expand(b"nats-authority/v1/acme/operator-signing/1", &mut seed)
        .unwrap();
    Nkey::from_seed_bytes(NkeyKind::Operator, &seed)
}

#[test]
fn changing_one_scope_keeps_all_else() {
    let before = with_user(
        with_user(orders(AccountLimits::unlimited()), "service", &["orders.>"]),
        "audit",
        &["audit.>"],
    );
    let mut read = round_trip(&before);
    assert_eq!(read, before);
    read.scopes.get_mut(&"audit".parse().unwrap()).unwrap().template.publish = allow(&["audit.log"]);
    let after = round_trip(&read);
    assert_eq!(after.scopes[&"service".parse().unwrap()], before.scopes[&"service".parse().unwrap()]);
    assert_eq!(after, with_user(before, "audit", &["audit.log"]));
}

#[test]
fn the_same_claims_are_the_same_bytes() {
    let claims = with_user(orders(AccountLimits::unlimited()), "service", &["orders.>"]);
    assert_eq!(acme().account_jwt(&claims, ISSUED).unwrap(), acme().account_jwt(&claims, ISSUED).unwrap());
    assert_ne!(
        acme().account_jwt(&claims, ISSUED).unwrap(),
        acme().account_jwt(&claims, ISSUED + 1).unwrap()
    );
}

#[test]
fn a_tombstone_lets_nobody_in() {
    let name = "orders".parse().unwrap();
    let key = acme().account_key(&name);
    let tombstone = AccountClaims::tombstone(name, key, ISSUED);
    assert!(round_trip(&tombstone).is_tombstone());
    assert_eq!(tombstone.revocations, BTreeMap::from([(Revoked::All, ISSUED)]));
    assert!(!orders(AccountLimits::unlimited()).is_tombstone());
}

#[test]
fn claims_of_others_are_refused() {
    let claims = orders(AccountLimits::unlimited());
    let trust = acme().trust();
    let other = authority_of(9, "acme", Generations::default());
    let error = decode_account(&other.account_jwt(&claims, ISSUED).unwrap(), &trust).unwrap_err();
    assert!(error.to_string().ends_with("which is no signing key of authority `acme`"), "{error}");

    let thief = Nkey::from_seed_bytes(NkeyKind::Operator, &[5; 32]);
    let honest = operator_signing_key().public_text();
    let jwt = edited(&claims, &thief, |json| json["iss"] = honest.into());
    let error = decode_account(&jwt, &trust).unwrap_err();
    assert!(matches!(error, DecodeAccountError::Jwt(JwtError::Signature { .. })), "{error}");

    // A reserved name is the system account's own: under another key nobody has it.
    let named = edited(&claims, &operator_signing_key(), |json| json["name"] = "SYS".into());
    let error = decode_account(&named, &trust).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "account name `SYS` is reserved");
    let generation = |operator_signing| {
        authority_of(0, "acme", Generations { operator_signing, ..Generations::default() })
    };
    let is_trusted = |signer: u32, by: u32| {
        decode_account(&generation(signer).account_jwt(&claims, ISSUED).unwrap(), &generation(by).trust())
            .is_ok()
    };
    // Each signs by the key before its newest, which those trust that were not told of the newest yet.
    assert!(is_trusted(1, 2) && is_trusted(2, 1) && is_trusted(3, 2) && is_trusted(2, 2) && is_trusted(3, 3));
    assert!(!is_trusted(3, 1) && !is_trusted(1, 3));
}

#[test]
fn the_authoritys_own_accounts_are_read_and_signed_anew_with_revocations() {
    for generations in [Generations::default(), Generations { account_signing: 3, ..Generations::default() }]
    {
        let authority = authority_of(0, "acme", generations);
        let trust = authority.trust();
        let [system, probe] = authority.own_accounts();
        for (claims, jwt) in [(system, &trust.system_account_jwt), (probe, &trust.probe_account_jwt)] {
            let told = decode_account(jwt, &trust).unwrap();
            assert_eq!(told.claims, claims);
            let mut revoked = claims;
            revoked.revocations.insert(Revoked::All, ISSUED);
            let signed = decode_account(&authority.account_jwt(&revoked, ISSUED).unwrap(), &trust).unwrap();
            assert_eq!(signed.claims, revoked);
            assert!(signed.issued_at > told.issued_at, "servers keep the newer one");
        }
    }
}

#[test]
fn what_would_be_lost_is_refused() {
    let claims = with_user(orders(AccountLimits::unlimited()), "service", &["orders.>"]);
    let refused = |edit: fn(&mut serde_json::Value)| {
        let jwt = edited(&claims, &operator_signing_key(), edit);
        let error = decode_account(&jwt, &acme().trust()).unwrap_err();
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    };
    decode_account(&edited(&claims, &operator_signing_key(), |_| {}), &acme().trust()).unwrap();
    type Case = (fn(&mut serde_json::Value), &'static str);
    let cases: [Case; 8] = [
        (|json| json["nats"]["exports"] = serde_json::json!([{"name": "x"}]), "unknown field `exports`"),
        (|json| json["nats"]["limits"]["imports"] = 3.into(), "limits of data, imports or exports"),
        (
            |json| json["nats"]["default_permissions"]["pub"]["deny"] = serde_json::json!([">"]),
            "default permissions",
        ),
        (|json| json["nats"]["tags"] = serde_json::json!([]), "signing keys other than its tags say"),
        (|json| json["nats"]["tags"][0] = "team:a".into(), "tag `team:a`"),
        (|json| json["nats"]["signing_keys"][1]["description"] = "mine".into(), "a scope without generation"),
        (|json| json["nats"]["limits"]["streams"] = 5.into(), "JetStream limits without storage"),
        (|json| json["nats"]["type"] = "operator".into(), "JWT is of type `operator` version 2"),
    ];
    for (edit, expected) in cases {
        let text = refused(edit);
        assert!(text.contains(expected), "`{expected}` in `{text}`");
    }
}

#[test]
fn invalid_claims_report_every_problem() {
    let mut claims = orders(AccountLimits {
        connections: Some(1 << 40),
        jetstream: Some(JetStreamLimits {
            max_memory: Some(0),
            max_storage: Some(0),
            max_streams: Some(0),
            ..JetStreamLimits::unlimited()
        }),
        ..AccountLimits::unlimited()
    });
    claims = with_user(claims, "service", &["a..b", "a b"]);
    let template = UserTemplate { max_payload: Some(u64::MAX), ..UserTemplate::unrestricted() };
    let key = claims.scopes.values().next().unwrap().key.clone();
    claims.scopes.insert("twin".parse().unwrap(), UserScope { generation: 1, key: key.clone(), template });
    claims.signing_keys.clear();
    let error = acme().account_jwt(&claims, ISSUED).unwrap_err();
    let EncodeAccountError::Claims(problems) = &error else { panic!("{error}") };
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "connections is 1099511627776, it must be from 0 to 2147483647",
            "jetstream.max_streams is 0, it must be from 1 to 9223372036854775807",
            "jetstream allows neither memory nor storage, leave it out to have none",
            "the account has no signing key",
            &format!("signing key `{key}` is used twice"),
            "user `service` publish.allow holds `a b`, which is no subject",
            "user `service` publish.allow holds `a..b`, which is no subject",
            "user `twin` max_payload is 18446744073709551615, it must be from 0 to 2147483647",
        ]
    );
}

#[test]
fn about_3_700_scopes_fit_and_more_are_refused() {
    let claims = |count: usize| {
        let mut claims = orders(AccountLimits::unlimited());
        for i in 0..count {
            // Any account key will do: deriving thousands is not what is tested.
            let seed: [u8; 32] = std::array::from_fn(|byte| i.to_be_bytes().get(byte).copied().unwrap_or(1));
            let key = Nkey::from_seed_bytes(NkeyKind::Account, &seed).public_text().parse().unwrap();
            let scope = UserScope { generation: 1, key, template: UserTemplate::unrestricted() };
            claims.scopes.insert(format!("u{i}").parse().unwrap(), scope);
        }
        claims
    };
    assert_eq!(round_trip(&claims(3_000)).scopes.len(), 3_000);
    let error = acme().account_jwt(&claims(6_000), ISSUED).unwrap_err();
    assert!(matches!(error, EncodeAccountError::TooLong { .. }), "{error}");
}

fn subjects(may_queue: bool) -> impl Strategy<Value = BTreeSet<String>> {
    let pattern = if may_queue {
        "[a-z$_]{1,4}(\\.[a-z*]{1,3}){0,2}(\\.>)?( [a-z]{1,5})?"
    } else {
        "[a-z$_]{1,4}(\\.[a-z*]{1,3}){0,2}(\\.>)?"
    };
    proptest::collection::btree_set(pattern, 0..3)
}

fn permissions(may_queue: bool) -> impl Strategy<Value = SubjectPermissions> {
    (subjects(may_queue), subjects(may_queue)).prop_map(|(allow, deny)| SubjectPermissions { allow, deny })
}

fn limit(min: u64, max: u64) -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(min..=max)
}

prop_compose! {
    fn templates()(
        publish in permissions(false),
        subscribe in permissions(true),
        allow_responses in proptest::option::of((any::<i32>(), any::<i64>()).prop_map(|(max_messages, ttl_ns)| ResponsePermission { max_messages, ttl_ns })),
        max_subscriptions in limit(0, i32::MAX as u64),
        max_payload in limit(0, i32::MAX as u64),
        max_data in limit(0, i64::MAX as u64),
        connection_types in proptest::sample::subsequence(vec![
            ConnectionType::Standard, ConnectionType::Websocket, ConnectionType::Leafnode, ConnectionType::LeafnodeWs,
            ConnectionType::Mqtt, ConnectionType::MqttWs, ConnectionType::InProcess,
        ], 0..=7),
        bearer in any::<bool>(),
    ) -> UserTemplate {
        UserTemplate {
            publish, subscribe, allow_responses, max_subscriptions, max_payload, max_data,
            connection_types: connection_types.into_iter().collect(), bearer,
        }
    }
}

prop_compose! {
    fn jetstream()(
        max_memory in limit(0, i64::MAX as u64),
        max_storage in limit(1, i64::MAX as u64),
        max_streams in limit(1, i64::MAX as u64),
        max_consumers in limit(1, i64::MAX as u64),
        max_ack_pending in limit(1, i64::MAX as u64),
        memory_max_stream_bytes in limit(1, i64::MAX as u64),
        storage_max_stream_bytes in limit(1, i64::MAX as u64),
        max_bytes_required in any::<bool>(),
    ) -> JetStreamLimits {
        JetStreamLimits {
            max_memory, max_storage, max_streams, max_consumers, max_ack_pending, memory_max_stream_bytes,
            storage_max_stream_bytes, max_bytes_required,
        }
    }
}

prop_compose! {
    fn account_limits()(
        connections in limit(0, i32::MAX as u64),
        leafnode_connections in limit(0, i32::MAX as u64),
        subscriptions in limit(0, i32::MAX as u64),
        payload in limit(0, i32::MAX as u64),
        disallow_bearer in any::<bool>(),
        jetstream in proptest::option::of(jetstream()),
    ) -> AccountLimits {
        AccountLimits { connections, leafnode_connections, subscriptions, payload, disallow_bearer, jetstream }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reading_what_was_written_gives_it_back(
        limits in account_limits(),
        users in proptest::collection::btree_map("[A-Za-z0-9]([A-Za-z0-9_-]{0,10}[A-Za-z0-9])?", (1_u32.., templates()), 0..4),
        generations in proptest::collection::btree_set(1_u32.., 1..4),
        revoked in proptest::collection::btree_map(any::<[u8; 32]>(), any::<i64>(), 0..3),
        revoke_all in proptest::option::of(any::<i64>()),
    ) {
        let authority = acme();
        let mut claims = orders(limits);
        claims.signing_keys = generations.into_iter().map(|g| (g, authority.account_signing_key(&claims.name, g))).collect();
        for (user, (generation, template)) in users {
            let user = user.parse().unwrap();
            let scope = authority.user_scope(&claims.name, &user, generation, template);
            claims.scopes.insert(user, scope);
        }
        claims.revocations = revoked
            .into_iter()
            .map(|(seed, at)| (Revoked::User(Nkey::from_seed_bytes(NkeyKind::User, &seed).public_text().parse().unwrap()), at))
            .chain(revoke_all.map(|at| (Revoked::All, at)))
            .collect();
        prop_assert_eq!(round_trip(&claims), claims);
    }
}
