//! Parsers of outside text: none panics, none accepts without end, and damage to a valid text is noticed.

use identity::{
    CertificatePem, Credentials, Enrollment, HostKeys, HostSecret, Jwt, JwtError, MAX_HOST_SECRET_LEN,
    MAX_JWT_LEN, MAX_PEM_LEN, RootKey, Trust, UserPublicKey, certificate_info, decode_account, role_of,
};
use proptest::prelude::*;

use crate::{NOW, acme, host_secret, seed};

/// Feeds one text to every parser; what they return does not matter, that they return does.
fn feed_all(text: &str, trust: &Trust) {
    let _ = text.parse::<RootKey>();
    let _ = text.parse::<UserPublicKey>();
    let _ = text.parse::<Credentials>();
    let _ = text.parse::<Enrollment>();
    let _ = HostSecret::from_json(text);
    let _ = serde_json::from_str::<HostKeys>(text);
    let _ = serde_json::from_str::<Trust>(text);
    let _ = certificate_info(text);
    if let Ok(jwt) = text.parse::<Jwt>() {
        let _ = decode_account(&jwt, trust);
    }
    if let Ok(pem) = text.parse::<CertificatePem>() {
        let _ = role_of(pem.der());
    }
}

/// One valid text of each kind.
fn valid_texts() -> Vec<String> {
    let authority = acme();
    let (account, user) = ("orders".parse().unwrap(), "service".parse().unwrap());
    let secret = host_secret(10);
    let claims = authority.account_claims(account, identity::AccountLimits::unlimited());
    vec![
        authority.user_credentials(&claims.name, &user, 1, &seed(7), NOW, None).creds().to_string(),
        authority.enrollment("east-1".parse().unwrap(), 1).to_text().to_string(),
        secret.to_json().to_string(),
        serde_json::to_string(&secret.keys()).unwrap(),
        serde_json::to_string(&authority.trust()).unwrap(),
        authority.trust().host_ca.to_string(),
        authority.account_jwt(&claims, 1).unwrap().to_string(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,300}|[-A-Za-z0-9+/=._ \n]{0,300}") {
        feed_all(&text, &acme().trust());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_texts_are_survived(
        which in 0_usize..7,
        at in any::<proptest::sample::Index>(),
        replacement in "[-A-Za-z0-9+/=._\"{}\n]{0,3}",
        cut in 0_usize..4,
    ) {
        let mut text = valid_texts().swap_remove(which);
        let at = at.index(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &replacement);
        feed_all(&text, &acme().trust());
    }

    /// A flipped character of a signed account JWT is never read as other claims.
    #[test]
    fn no_damaged_account_is_accepted(at in any::<proptest::sample::Index>(), with in "[A-Za-z0-9_-]") {
        let claims = acme().account_claims("orders".parse().unwrap(), identity::AccountLimits::unlimited());
        let honest = acme().account_jwt(&claims, 1).unwrap().to_string();
        let at = at.index(honest.len());
        let mut text = honest.clone();
        text.replace_range(at..=at, &with);
        if text != honest && let Ok(jwt) = text.parse::<Jwt>() {
            prop_assert!(decode_account(&jwt, &acme().trust()).is_err());
        }
    }

    #[test]
    fn host_keys_round_trip(fill in 0_u8..250) {
        let secret = host_secret(fill);
        let read = HostSecret::from_json(&secret.to_json()).unwrap();
        prop_assert_eq!(read.to_json(), secret.to_json());
        prop_assert_eq!(read.keys(), secret.keys());
        let text = serde_json::to_string(&secret.keys()).unwrap();
        prop_assert_eq!(serde_json::from_str::<HostKeys>(&text).unwrap(), secret.keys());
    }
}

#[test]
fn length_is_judged_before_content() {
    let long = |length| "A".repeat(length + 5000);
    assert!(matches!(long(MAX_JWT_LEN).parse::<Jwt>().unwrap_err(), JwtError::TooLong(_)));
    assert!(long(MAX_JWT_LEN).parse::<Credentials>().unwrap_err().to_string().contains("more than a JWT"));
    assert!(long(MAX_PEM_LEN).parse::<CertificatePem>().unwrap_err().to_string().contains("at most 65536"));
    let error = HostSecret::from_json(&long(MAX_HOST_SECRET_LEN)).unwrap_err().to_string();
    assert!(error.contains("at most 16384"), "{error}");
    assert!(long(16 * 1024).parse::<Enrollment>().unwrap_err().to_string().contains("at most 16384"));
}

#[test]
fn texts_that_are_not_what_they_should_be_say_so() {
    let pem = acme().trust().host_ca.to_string();
    assert_eq!(
        format!("{pem}{pem}").parse::<CertificatePem>().unwrap_err().to_string(),
        "PEM text holds 2 certificates, it needs exactly 1"
    );
    assert_eq!(
        "".parse::<CertificatePem>().unwrap_err().to_string(),
        "PEM text holds 0 certificates, it needs exactly 1"
    );
    assert_eq!(
        format!("\r\n{}", pem.replace('\n', "\r\n")).parse::<CertificatePem>().unwrap(),
        acme().trust().host_ca
    );
    assert_eq!(
        "a.b".parse::<Jwt>().unwrap_err().to_string(),
        "JWT is not three base64url parts joined by dots"
    );
    let json = host_secret(10).to_json().replace("\"version\": 1", "\"version\": 2");
    assert_eq!(
        HostSecret::from_json(&json).unwrap_err().to_string(),
        "host keys are of version 2, this version reads 1"
    );
}
