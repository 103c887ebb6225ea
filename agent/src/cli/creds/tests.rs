//! What may be asked of `creds`, and what comes of it.

use std::os::unix::fs::PermissionsExt;

use identity::{AccountKey, CallerPem, Credentials, Generations};

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

fn keys(users: &[&str]) -> AccountKeyArgs {
    let include_user = users.iter().map(|user| user.parse().unwrap()).collect();
    AccountKeyArgs { signing_generation: 2, include_user }
}

#[test]
fn a_role_gets_one_text_that_reads_back() {
    let (now, seed) = (OffsetDateTime::now_utc(), Zeroizing::new([5; 32]));
    let minute = Expiry::After(Duration::from_secs(60));
    let text = role_text(&authority(), &Role::Reader, &keys(&[]), &seed, now, minute).unwrap();
    let reader: CallerPem = text.parse().unwrap();
    assert_eq!((reader.authority().as_str(), reader.role()), ("acme", &Role::Reader));
    let orders = Role::Account("orders".parse().unwrap());
    let text = role_text(&authority(), &orders, &keys(&["service", "worker:3"]), &seed, now, minute).unwrap();
    let key: AccountKey = text.parse().unwrap();
    let generation = |user: &str| key.user_generation(&user.parse().unwrap());
    assert_eq!((key.generation(), generation("service"), generation("worker")), (2, Some(1), Some(3)));
    let endless = role_text(&authority(), &Role::Reader, &keys(&[]), &seed, now, Expiry::Never).unwrap_err();
    assert_eq!(endless.to_string(), "a client certificate ends: say `--expires` with a duration");
    let misplaced = role_text(&authority(), &Role::Reader, &keys(&["a"]), &seed, now, minute).unwrap_err();
    assert_eq!(misplaced.to_string(), "`--include-user` goes with `--role account:NAME`");
    assert!("a:0".parse::<UserKey>().is_err() && "a b".parse::<UserKey>().is_err());
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
