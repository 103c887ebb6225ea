//! What may be asked of `creds`, and what comes of it.

use std::os::unix::fs::PermissionsExt;

use identity::{Credentials, Generations, role_of};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::*;

fn authority() -> Authority {
    let root = identity::RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

#[test]
fn lives_are_durations_or_never() {
    assert_eq!("never".parse(), Ok(Expiry::Never));
    assert_eq!("90m".parse(), Ok(Expiry::After(Duration::from_secs(5400))));
    assert_eq!("0s".parse::<Expiry>().unwrap_err(), "credentials need a life");
    assert!("tomorrow".parse::<Expiry>().unwrap_err().ends_with("; or say `never`"));
}

#[test]
fn roles_are_those_of_people() {
    assert_eq!(role("reader"), Ok(Role::Reader));
    assert_eq!(role("account:orders"), Ok(Role::Account("orders".parse().unwrap())));
    assert_eq!(role("peer").unwrap_err(), "a role is `operator`, `reader` or `account:NAME`");
    assert!(role("account:a/b").is_err());
}

#[test]
fn a_certificate_and_its_key_are_one_pem_text() {
    let now = OffsetDateTime::now_utc();
    let seed = Zeroizing::new([5; 32]);
    let text =
        certificate(&authority(), &Role::Reader, &seed, now, Expiry::After(Duration::from_secs(60))).unwrap();
    let leaf = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    assert_eq!(role_of(&leaf).unwrap(), ("acme".parse().unwrap(), Role::Reader));
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).unwrap();
    let again = authority().client_certificate(&Role::Reader, &seed, now, Duration::from_secs(60)).unwrap();
    assert_eq!(key.secret_pkcs8_der(), again.key.as_slice());
    assert!(text.lines().all(|line| line.len() <= 64));
    let endless = certificate(&authority(), &Role::Reader, &seed, now, Expiry::Never).unwrap_err();
    assert_eq!(endless.to_string(), "a client certificate ends: say `--expires` with a duration");
}

#[test]
fn a_secret_goes_to_a_new_private_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.creds");
    let (account, user) = ("orders".parse().unwrap(), "service".parse().unwrap());
    let now = OffsetDateTime::now_utc();
    let secret =
        authority().user_credentials(&account, &user, 1, &Zeroizing::new([6; 32]), now, None).creds();
    write_secret(&path, &secret).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read: Credentials = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    assert!(read.user.as_str().starts_with('U'));
    let error = format!("{:#}", write_secret(&path, "other").unwrap_err());
    assert_eq!(error, format!("cannot make the new file `{}`: File exists (os error 17)", path.display()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), *secret);
}
