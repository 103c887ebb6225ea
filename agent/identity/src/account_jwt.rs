//! Account claims to JWT and back, losing nothing: reading, changing one entry and writing again changes that entry
//! only.
//!
//! Generations have no field in NATS' own claims: an account signing key's stands in a tag
//! (`signing-key:<generation>:<key>`), a scope's in its `description`; a scope's `role` is the user's name. A field
//! that this version does not know is refused, because writing the JWT again would lose it.
//! Source: nats-io/jwt v2 account_claims.go, signingkeys.go.

mod wire;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use crate::accounts::{AccountClaims, AccountLimits, ClaimsProblem};
use crate::jwt::{HasId, Jwt, JwtError, MAX_JWT_LEN};
use crate::names::{AccountName, NameError, PROBE_ACCOUNT, SYSTEM_ACCOUNT};
use crate::nkey::{AccountPublicKey, Nkey, OperatorPublicKey};
use crate::trust::Trust;
use wire::{
    Wire, WireAccount, WirePermissions, WireSigningKey, canonical_number, limits_from_wire, limits_to_wire,
    scope_from_wire, scope_to_wire, unknown,
};

/// A verified account JWT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedAccount {
    /// What it says.
    pub claims: AccountClaims,
    /// `iat`, Unix seconds. Each new JWT of an account must have a greater one.
    pub issued_at: i64,
    /// The operator signing key that signed it.
    pub issuer: OperatorPublicKey,
}

/// Why account claims were not signed.
#[derive(Debug, Error)]
pub enum EncodeAccountError {
    /// All problems of the claims.
    #[error("account claims are not valid: {}", join(.0))]
    Claims(Vec<ClaimsProblem>),
    /// More scopes than fit a claims request.
    #[error(
        "account JWT would have {length} bytes, at most {MAX_JWT_LEN} can be pushed: let users share scopes"
    )]
    TooLong {
        /// Bytes it would have.
        length: usize,
    },
}

fn join(problems: &[ClaimsProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a text was not accepted as one of the authority's account JWTs.
#[derive(Debug, Error)]
pub enum DecodeAccountError {
    /// Not a NATS JWT, or the signature is wrong.
    #[error("account JWT is not usable")]
    Jwt(#[from] JwtError),
    /// Signed by a key that is none of the authority's operator signing keys.
    #[error("account JWT is issued by `{issuer}`, which is no signing key of authority `{authority}`")]
    Issuer {
        /// The issuer it names.
        issuer: OperatorPublicKey,
        /// The authority that was expected.
        authority: String,
    },
    /// Claims of another type or version.
    #[error("JWT is of type `{kind}` version {version}, not an account's of version 2")]
    Kind {
        /// Its type.
        kind: String,
        /// Its version.
        version: i64,
    },
    /// A value that this version would not write.
    #[error("account JWT holds {what}, which this version cannot keep")]
    Unknown {
        /// What it is.
        what: String,
    },
    /// A name in it is refused.
    #[error("account JWT holds a refused name")]
    Name(#[from] NameError),
    /// The claims break the rules.
    #[error("account claims are not valid: {}", join(.0))]
    Claims(Vec<ClaimsProblem>),
}

/// JWT of an account that the authority keeps for itself: no limits, no JetStream, no users with scopes.
pub(crate) fn encode_own(
    name: &str,
    key: &AccountPublicKey,
    signing_keys: &BTreeMap<u32, AccountPublicKey>,
    issued_at: i64,
    operator: &Nkey,
) -> Jwt {
    Jwt::sign(
        Wire {
            jti: String::new(),
            iat: issued_at,
            iss: operator.operator(),
            name: name.to_owned(),
            sub: key.clone(),
            nats: WireAccount {
                limits: limits_to_wire(&AccountLimits::unlimited()),
                signing_keys: signing_keys.values().cloned().map(WireSigningKey::Plain).collect(),
                revocations: BTreeMap::new(),
                default_permissions: WirePermissions::default(),
                tags: signing_key_tags(signing_keys),
                kind: "account".to_owned(),
                version: 2,
            },
        },
        operator,
    )
}

#[derive(Serialize)]
struct DeleteRequest<'a> {
    jti: String,
    iat: i64,
    iss: OperatorPublicKey,
    name: &'static str,
    sub: OperatorPublicKey,
    nats: DeleteList<'a>,
}

#[derive(Serialize)]
struct DeleteList<'a> {
    accounts: &'a BTreeSet<AccountPublicKey>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

impl HasId for DeleteRequest<'_> {
    fn set_id(&mut self, id: String) {
        self.jti = id;
    }
}

/// The operator's order to forget accounts.
pub(crate) fn delete_request(accounts: &BTreeSet<AccountPublicKey>, issued_at: i64, operator: &Nkey) -> Jwt {
    let signer = operator.operator();
    let nats = DeleteList { accounts, kind: "generic", version: 2 };
    let request = DeleteRequest {
        jti: String::new(),
        iat: issued_at,
        iss: signer.clone(),
        name: "delete accounts",
        sub: signer,
        nats,
    };
    Jwt::sign(request, operator)
}

fn signing_key_tags(signing_keys: &BTreeMap<u32, AccountPublicKey>) -> Vec<String> {
    signing_keys.iter().map(|(generation, key)| format!("signing-key:{generation}:{key}")).collect()
}

/// Signs `claims` as issued at `issued_at` (Unix seconds).
pub(crate) fn encode(
    claims: &AccountClaims,
    issued_at: i64,
    operator: &Nkey,
) -> Result<Jwt, EncodeAccountError> {
    let problems = claims.problems();
    if !problems.is_empty() {
        return Err(EncodeAccountError::Claims(problems));
    }
    let AccountClaims { name, key, limits, signing_keys, scopes, revocations } = claims;
    let plain = signing_keys.values().cloned().map(WireSigningKey::Plain);
    let scoped =
        scopes.iter().map(|(user, scope)| WireSigningKey::Scope(Box::new(scope_to_wire(user, scope))));
    let wire = Wire {
        jti: String::new(),
        iat: issued_at,
        iss: operator.operator(),
        name: name.to_string(),
        sub: key.clone(),
        nats: WireAccount {
            limits: limits_to_wire(limits),
            signing_keys: plain.chain(scoped).collect(),
            revocations: revocations.clone(),
            default_permissions: WirePermissions::default(),
            tags: signing_key_tags(signing_keys),
            kind: "account".to_owned(),
            version: 2,
        },
    };
    let jwt = Jwt::sign(wire, operator);
    match jwt.as_str().len() {
        length if length > MAX_JWT_LEN => Err(EncodeAccountError::TooLong { length }),
        _ => Ok(jwt),
    }
}

/// Reads an account JWT that one of the authority's operator signing keys signed, also of the system and the probe account.
///
/// # Errors
/// When it is no JWT, not signed by the authority, or holds anything that encoding it again would lose.
pub fn decode_account(jwt: &Jwt, trust: &Trust) -> Result<DecodedAccount, DecodeAccountError> {
    let parts = jwt.parts()?;
    let wire: Wire = serde_json::from_slice(&parts.payload).map_err(JwtError::Claims)?;
    if !trust.operator_signing_keys.contains(&wire.iss) {
        return Err(DecodeAccountError::Issuer { issuer: wire.iss, authority: trust.authority.to_string() });
    }
    if !wire.iss.verify(parts.signed, &parts.signature) {
        return Err(JwtError::Signature { issuer: wire.iss.to_string() }.into());
    }
    let Wire { jti: _, iat, iss, name, sub, nats } = wire;
    let WireAccount { limits, signing_keys, revocations, default_permissions, tags, kind, version } = nats;
    if kind != "account" || version != 2 {
        return Err(DecodeAccountError::Kind { kind, version });
    }
    if default_permissions != WirePermissions::default() {
        return Err(unknown("default permissions".to_owned()));
    }
    let mut plain = BTreeSet::new();
    let mut scopes = BTreeMap::new();
    for signing_key in signing_keys {
        match signing_key {
            WireSigningKey::Plain(key) => {
                plain.insert(key);
            }
            WireSigningKey::Scope(scope) => {
                let (user, scope) = scope_from_wire(*scope)?;
                if scopes.insert(user.clone(), scope).is_some() {
                    return Err(unknown(format!("two scopes of user `{user}`")));
                }
            }
        }
    }
    let signing_keys = tags.iter().map(|tag| signing_key_tag(tag)).collect::<Result<BTreeMap<_, _>, _>>()?;
    if signing_keys.len() != tags.len() || signing_keys.values().cloned().collect::<BTreeSet<_>>() != plain {
        return Err(unknown("signing keys other than its tags say".to_owned()));
    }
    let claims = AccountClaims {
        name: account_name(&name, &sub, trust)?,
        key: sub,
        limits: limits_from_wire(limits)?,
        signing_keys,
        scopes,
        revocations,
    };
    match claims.problems() {
        problems if problems.is_empty() => Ok(DecodedAccount { claims, issued_at: iat, issuer: iss }),
        problems => Err(DecodeAccountError::Claims(problems)),
    }
}

/// Only the two accounts that the authority keeps for itself have their reserved names.
fn account_name(name: &str, key: &AccountPublicKey, trust: &Trust) -> Result<AccountName, NameError> {
    if *key == trust.system_account && name == SYSTEM_ACCOUNT {
        Ok(AccountName::system())
    } else if *key == trust.probe_account && name == PROBE_ACCOUNT {
        Ok(AccountName::probe())
    } else {
        name.parse()
    }
}

fn signing_key_tag(tag: &str) -> Result<(u32, AccountPublicKey), DecodeAccountError> {
    let parse = || {
        let (generation, key) = tag.strip_prefix("signing-key:")?.split_once(':')?;
        Some((canonical_number(generation)?, key.parse().ok()?))
    };
    parse().ok_or_else(|| unknown(format!("tag `{}`", tag.chars().take(80).collect::<String>())))
}
