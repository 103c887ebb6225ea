//! User JWTs: scoped ones carry no rights of their own, hosts' and short-lived ones carry few.

use data_encoding::BASE64URL_NOPAD;
use identity::{AdminPurpose, AdminUserError, Credentials, Nkey, NkeyKind, UserPublicKey};

use crate::{NOW, acme, host_secret, seed};

fn claims(jwt: &identity::Jwt) -> serde_json::Value {
    let payload = jwt.as_str().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

fn allowed(jwt: &identity::Jwt, direction: &str) -> Vec<String> {
    serde_json::from_value(claims(jwt)["nats"][direction]["allow"].clone()).unwrap()
}

#[test]
fn a_scoped_user_has_no_rights_of_its_own() {
    let (account, user) = ("orders".parse().unwrap(), "service".parse().unwrap());
    let credentials = acme().user_credentials(&account, &user, 3, &seed(7), NOW, None);
    let claims = claims(&credentials.jwt);
    assert_eq!(claims["iss"], acme().scope_key(&account, &user, 3).as_str());
    assert_eq!(claims["sub"], credentials.user.as_str());
    assert_eq!(claims["name"], "service");
    assert!(claims.get("exp").is_none());
    assert_eq!(
        claims["nats"],
        serde_json::json!({
            "pub": {}, "sub": {}, "issuer_account": acme().account_key(&account).as_str(), "type": "user", "version": 2
        })
    );
    let brought: UserPublicKey =
        Nkey::from_seed_bytes(NkeyKind::User, &[7; 32]).public_text().parse().unwrap();
    assert_eq!(acme().user_jwt_for_key(&account, &user, 3, &brought, NOW, None), credentials.jwt);
}

#[test]
fn credentials_are_read_back_and_expire_when_told() {
    let (account, user) = ("orders".parse().unwrap(), "service".parse().unwrap());
    let until = NOW + time::Duration::hours(1);
    let credentials = acme().user_credentials(&account, &user, 1, &seed(7), NOW, Some(until));
    assert_eq!(claims(&credentials.jwt)["exp"], until.unix_timestamp());
    let read: Credentials = credentials.creds().parse().unwrap();
    assert_eq!((&read.user, &read.jwt), (&credentials.user, &credentials.jwt));
    assert_eq!(read.sign(b"nonce"), credentials.sign(b"nonce"));
    assert!(credentials.user.verify(b"nonce", &read.sign(b"nonce")));

    let text = credentials.creds();
    let error = text.replace("SEED", "SED").parse::<Credentials>().unwrap_err();
    assert_eq!(error.to_string(), "credentials hold no `USER NKEY SEED` block");
    let error = "-----BEGIN NATS USER JWT-----".parse::<Credentials>().unwrap_err();
    assert_eq!(error.to_string(), "credentials hold no `NATS USER JWT` block");
}

#[test]
fn a_host_may_ask_and_push_claims_and_no_more() {
    let keys = host_secret(10).keys();
    let host = "east-1".parse().unwrap();
    let until = NOW + time::Duration::days(365);
    let system = acme().system_user_jwt(&host, &keys.system_user, NOW, until);
    assert_eq!(claims(&system)["sub"], keys.system_user.as_str());
    assert_eq!(claims(&system)["exp"], until.unix_timestamp());
    assert_eq!(claims(&system)["nats"]["issuer_account"], acme().trust().system_account.as_str());
    let publish = allowed(&system, "pub");
    for needed in ["$SYS.REQ.SERVER.*.VARZ", "$SYS.REQ.SERVER.*.JSZ", "$SYS.REQ.CLAIMS.UPDATE"] {
        assert!(publish.iter().any(|subject| subject == needed), "{needed} in {publish:?}");
    }
    for subject in &publish {
        assert!(
            !subject.starts_with("$JS.") && !subject.contains('>') || subject == identity::PROBE_SUBJECTS,
            "{subject}"
        );
        assert!(
            !["RELOAD", "LDM", "KICK", "DELETE", "PROFILEZ"].iter().any(|word| subject.ends_with(word)),
            "{subject}"
        );
        assert!(!subject.ends_with('*'), "{subject}");
    }
    let probe = acme().probe_user_jwt(&host, &keys.probe_user, NOW, until);
    assert_eq!(allowed(&probe, "pub"), [identity::PROBE_SUBJECTS]);
    assert_eq!(claims(&probe)["nats"]["issuer_account"], acme().trust().probe_account.as_str());
}

#[test]
fn short_lived_users_are_short_lived_and_narrow() {
    let orders = "orders".parse().unwrap();
    let user = acme().admin_user(&AdminPurpose::JetStream(orders, 1), &seed(8), NOW, 5).unwrap();
    assert_eq!(user.expires, NOW + time::Duration::minutes(5));
    assert_eq!(claims(&user.jwt)["exp"], user.expires.unix_timestamp());
    assert_eq!(allowed(&user.jwt, "pub"), ["$JS.ACK.>", "$JS.API.>"]);
    assert_eq!(allowed(&user.jwt, "sub"), ["_INBOX.>"]);
    assert_eq!(claims(&user.jwt)["iss"], acme().account_signing_key(&"orders".parse().unwrap(), 1).as_str());
    assert!(user.public_key.verify(b"nonce", &user.sign(b"nonce")));
    for minutes in [0, 61] {
        let error = acme().admin_user(&AdminPurpose::SystemClaims, &seed(8), NOW, minutes).unwrap_err();
        assert_eq!(error, AdminUserError::Minutes(minutes));
    }
    let claims_user = acme().admin_user(&AdminPurpose::SystemClaims, &seed(8), NOW, 5).unwrap();
    assert!(allowed(&claims_user.jwt, "pub").iter().all(|subject| subject.contains("CLAIMS")));
    let monitor = acme().admin_user(&AdminPurpose::SystemMonitor, &seed(8), NOW, 5).unwrap();
    assert!(allowed(&monitor.jwt, "pub").iter().all(|subject| subject.starts_with("$SYS.REQ.SERVER.")));
}
