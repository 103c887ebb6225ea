//! Every reader of outside text here, each as one body for any bytes: for the fuzz targets and for tests (feature `fuzz`).

use std::sync::LazyLock;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    AccountLimits, AccountName, AccountPublicKey, Authority, AuthorityName, CertificateAuthority,
    CertificatePem, Credentials, DocumentPublicKey, Enrollment, EnrollmentToken, Generations, HostKeys,
    HostName, HostNames, HostSecret, HostSeeds, Jwt, Nkey, NkeyKind, OperatorPublicKey, Role, RootKey, Trust,
    UserName, UserPublicKey, caller_role, certificate_info, decode_account,
};

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("jwt", jwt, || vec![account_jwt().as_str().into()]),
    ("account_claims", account_claims, || vec![account_payload()]),
    ("credentials", credentials, || vec![creds().as_bytes().to_vec()]),
    ("enrollment", enrollment, || {
        vec![AUTHORITY.enrollment("east-1".parse().expect("a name"), 1).to_text().as_bytes().to_vec()]
    }),
    ("certificate_pem", certificate_pem, || vec![AUTHORITY.trust().host_ca.as_str().into()]),
    ("certificate_der", certificate_der, || {
        vec![client().to_vec(), AUTHORITY.trust().host_ca.der().to_vec()]
    }),
    ("host_secret", host_secret, || vec![secret().to_json().as_bytes().to_vec()]),
    ("trust", trust, || vec![serde_json::to_vec(&AUTHORITY.trust()).expect("plain data")]),
    ("host_keys", host_keys, || vec![serde_json::to_vec(&secret().keys()).expect("plain data")]),
    ("keys_and_names", keys_and_names, || {
        let key = AUTHORITY.account_key(&"orders".parse().expect("a name")).to_string();
        vec![b"east-1".to_vec(), key.into_bytes(), AUTHORITY.trust().document_key.to_string().into_bytes()]
    }),
];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let root = RootKey::from_bytes(std::array::from_fn(|index| index as u8)).expect("bytes that differ");
    Authority::derive(&root, "acme".parse().expect("a name"), Generations::default()).expect("a good root")
});

fn account_jwt() -> Jwt {
    let claims = AUTHORITY.account_claims("orders".parse().expect("a name"), AccountLimits::unlimited());
    AUTHORITY.account_jwt(&claims, 1).expect("claims of ours")
}

fn creds() -> Zeroizing<String> {
    let (account, user) = ("orders".parse().expect("a name"), "service".parse().expect("a name"));
    let seed = Zeroizing::new([7; 32]);
    AUTHORITY.user_credentials(&account, &user, 1, &seed, OffsetDateTime::UNIX_EPOCH, None).creds()
}

fn client() -> CertificateDer<'static> {
    let (seed, then) = (Zeroizing::new([7; 32]), OffsetDateTime::UNIX_EPOCH);
    let made = AUTHORITY.client_certificate(&Role::Reader, &seed, then, Duration::from_secs(3600));
    made.expect("a certificate of ours").chain.remove(0)
}

fn secret() -> HostSecret {
    let seed = |fill| Zeroizing::new([fill; 32]);
    HostSecret::from_seeds(&HostSeeds {
        issuer: seed(1),
        leaf: seed(2),
        system_user: seed(3),
        probe_user: seed(4),
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn jwt(bytes: &[u8]) {
    if let Ok(jwt) = text(bytes).parse::<Jwt>() {
        let _ = decode_account(&jwt, &AUTHORITY.trust());
    }
}

/// A key that signs for the authority, as far as [`account_claims`] knows.
static SIGNER: LazyLock<Nkey> = LazyLock::new(|| Nkey::from_seed_bytes(NkeyKind::Operator, &[5; 32]));

/// Any bytes as the claims of a JWT that the authority signed, so that damage reaches their reader.
fn account_claims(bytes: &[u8]) {
    let mut trust = AUTHORITY.trust();
    trust.operator_signing_keys.insert(SIGNER.operator());
    let header = br#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(bytes));
    let signature = BASE64URL_NOPAD.encode(&SIGNER.sign(signed.as_bytes()));
    let Ok(jwt) = format!("{signed}.{signature}").parse::<Jwt>() else { return };
    let _ = decode_account(&jwt, &trust);
}

/// The claims of an account, issued by [`SIGNER`].
fn account_payload() -> Vec<u8> {
    let payload = account_jwt().parts().expect("a JWT of ours").payload;
    let mut claims: serde_json::Value = serde_json::from_slice(&payload).expect("JSON of ours");
    claims["iss"] = SIGNER.public_text().into();
    claims.to_string().into_bytes()
}

fn credentials(bytes: &[u8]) {
    let _ = text(bytes).parse::<Credentials>();
}

fn enrollment(bytes: &[u8]) {
    let text = text(bytes);
    let _ = EnrollmentToken::from_text(text);
    if let Ok(read) = text.parse::<Enrollment>() {
        assert!(read.to_text().parse::<Enrollment>().is_ok(), "an enrolment says itself");
    }
}

fn certificate_pem(bytes: &[u8]) {
    let text = text(bytes);
    let _ = certificate_info(text);
    if let Ok(pem) = text.parse::<CertificatePem>() {
        certificate_der(pem.der());
    }
}

fn certificate_der(bytes: &[u8]) {
    let (der, name) = (CertificateDer::from(bytes), AUTHORITY.trust().authority);
    for by in [CertificateAuthority::Fleet, CertificateAuthority::Host] {
        let _ = caller_role(&der, by, &name);
    }
}

fn host_secret(bytes: &[u8]) {
    let _ = HostSecret::from_json(text(bytes));
}

fn trust(bytes: &[u8]) {
    if let Ok(trust) = serde_json::from_slice::<Trust>(bytes) {
        let _ = (trust.fleet_ca_bundle(), trust.host_ca_bundle());
        assert!(!trust.verify_document("fuzz", b"", &[0; 64]), "nobody signed that");
    }
}

fn host_keys(bytes: &[u8]) {
    if let Ok(keys) = serde_json::from_slice::<HostKeys>(bytes) {
        let _ = keys.leaf_pin();
    }
    if let Ok(names) = serde_json::from_slice::<HostNames>(bytes) {
        let _ = names.problems();
    }
}

fn keys_and_names(bytes: &[u8]) {
    let text = text(bytes);
    let _ = (text.parse::<RootKey>(), text.parse::<DocumentPublicKey>());
    let _ =
        (text.parse::<OperatorPublicKey>(), text.parse::<AccountPublicKey>(), text.parse::<UserPublicKey>());
    let _ = (text.parse::<AuthorityName>(), text.parse::<AccountName>());
    let _ = (text.parse::<UserName>(), text.parse::<HostName>());
    for kind in [NkeyKind::Operator, NkeyKind::Account, NkeyKind::User] {
        let _ = Nkey::from_seed(kind, text);
    }
}
