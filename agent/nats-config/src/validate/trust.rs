//! Rules of operator mode. JWTs are read for consistency only; whether a signature holds is not asked here.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::{FullResolver, OperatorTrust};

use super::{Problems, paths};

pub(super) fn check(trust: &OperatorTrust, problems: &mut Problems) {
    let OperatorTrust { operator_jwt, system_account, resolver, preload } = trust;
    check_operator(operator_jwt, system_account, problems);
    if !is_account_key(system_account) {
        let problem = "is no public key of an account";
        problems.add("trust.system_account", system_account, problem, "give `A` and 55 digits of base32");
    }
    if !preload.contains_key(system_account) {
        let problem = "lacks the system account, which the server must know at its first start";
        problems.absent("trust.preload", problem, "add the system account's JWT");
    }
    for (account, jwt) in preload {
        let path = format!("trust.preload.{account}");
        if !is_account_key(account) {
            problems.add(
                &path,
                account,
                "is no public key of an account",
                "give `A` and 55 digits of base32",
            );
        }
        match claims(jwt) {
            None => problems.add(&path, jwt, "is no JWT", "give the account's JWT itself"),
            Some(claims) => {
                check_kind(&path, &claims, "account", problems);
                let subject = text(&claims, "/sub");
                if subject != Some(account) {
                    let found = subject.unwrap_or("(absent)");
                    problems.add(&path, found, "is the JWT of another account", "give each account its own");
                }
            }
        }
    }
    check_resolver(resolver, preload.len(), problems);
}

fn check_operator(jwt: &str, system_account: &str, problems: &mut Problems) {
    let path = "trust.operator_jwt";
    let Some(claims) = claims(jwt) else {
        problems.add(path, jwt, "is no JWT", "give the operator's JWT itself, not a file name");
        return;
    };
    check_kind(path, &claims, "operator", problems);
    if let Some(declared) = text(&claims, "/nats/system_account").filter(|found| *found != system_account) {
        let problem = "is the system account that the operator JWT declares, and not `trust.system_account`";
        problems.add(path, declared, problem, "declare the same system account in both");
    }
}

fn check_kind(path: &str, claims: &Value, kind: &str, problems: &mut Problems) {
    let found = text(claims, "/nats/type").unwrap_or("(absent)");
    if found != kind {
        let problem = format!("is the kind of this JWT instead of `{kind}`");
        problems.add(path, found, &problem, &format!("give a JWT of the kind `{kind}`"));
    }
}

fn check_resolver(resolver: &FullResolver, preloaded: usize, problems: &mut Problems) {
    let FullResolver { dir, allow_delete: _, interval, timeout, limit } = resolver;
    paths::check_either("trust.resolver.dir", dir, problems);
    problems.positive("trust.resolver.interval", Some(*interval));
    problems.positive("trust.resolver.timeout", Some(*timeout));
    problems.count("trust.resolver.limit", Some(*limit), i64::MAX.unsigned_abs());
    if u64::try_from(preloaded).is_ok_and(|preloaded| *limit != 0 && preloaded > *limit) {
        let problem = format!("is less than the {preloaded} accounts of `trust.preload`");
        problems.add("trust.resolver.limit", limit, &problem, "raise it");
    }
}

fn is_account_key(key: &str) -> bool {
    let base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    key.len() == 56 && key.starts_with('A') && key.bytes().all(base32)
}

/// The claims of a JWT, unverified; none when it does not have the form of one.
fn claims(jwt: &str) -> Option<Value> {
    let mut parts = jwt.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn text<'a>(claims: &'a Value, pointer: &str) -> Option<&'a str> {
    claims.pointer(pointer).and_then(Value::as_str)
}
