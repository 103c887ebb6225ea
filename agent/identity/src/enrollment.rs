//! How a bare host joins: what its user data holds, and the proofs both sides give when it is claimed.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::certificates::CertificatePem;
use crate::names::{AuthorityName, HostName};
use crate::secret_text::SecretText;

/// First word of an enrolment's text.
const PREFIX: &str = "nats-enrollment-v1.";
/// Longest enrolment text that is read, in bytes; real ones have about 1,100.
pub const MAX_ENROLLMENT_LEN: usize = 16 * 1024;

/// One-time secret that both sides of a claim prove they know. Wiped on drop.
#[derive(Clone)]
pub struct EnrollmentToken(Zeroizing<[u8; 32]>);

impl EnrollmentToken {
    pub(crate) fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads 43 characters of URL base64 without padding.
    ///
    /// # Errors
    /// [`EnrollmentError::Token`] for anything else.
    pub fn from_text(text: &str) -> Result<Self, EnrollmentError> {
        if text.len() != 43 {
            return Err(EnrollmentError::Token);
        }
        let decoded =
            Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| EnrollmentError::Token)?);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        if decoded.len() != bytes.len() {
            return Err(EnrollmentError::Token);
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self(bytes))
    }

    /// The secret as 43 characters of URL base64.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(self.0.as_ref()))
    }
}

impl fmt::Debug for EnrollmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrollmentToken(redacted)")
    }
}

/// What a host is given to join: a pure function of root key, host and generation.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// The authority that will claim the host.
    pub authority: AuthorityName,
    /// The host's name.
    pub host: HostName,
    /// Which enrolment of this host it is; a new one makes a new token.
    pub generation: u32,
    /// The CA that callers must show a certificate of. Public.
    pub fleet_ca: CertificatePem,
    /// The secret, dead once the host is claimed.
    pub token: EnrollmentToken,
}

/// Why a text is no enrolment. Never shows the text.
#[derive(Debug, Error)]
pub enum EnrollmentError {
    /// It does not start with the known first word.
    #[error("enrolment does not start with `{PREFIX}`")]
    Prefix,
    /// Above [`MAX_ENROLLMENT_LEN`].
    #[error("enrolment has {0} bytes, at most {MAX_ENROLLMENT_LEN} are read")]
    TooLong(usize),
    /// Cut or damaged.
    #[error("enrolment is cut or damaged")]
    Encoding,
    /// Not what this version writes.
    #[error("enrolment does not hold what this version expects")]
    Content,
    /// Its token is no token.
    #[error("enrolment token is not 32 bytes of base64url")]
    Token,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    authority: AuthorityName,
    host: HostName,
    generation: u32,
    fleet_ca: CertificatePem,
    token: SecretText,
}

impl Enrollment {
    /// One line of text for user data or an environment variable. Stable, and a secret until the host is claimed.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let Self { authority, host, generation, fleet_ca, token } = self;
        let wire = Wire {
            authority: authority.clone(),
            host: host.clone(),
            generation: *generation,
            fleet_ca: fleet_ca.clone(),
            token: token.to_text().into(),
        };
        let json = Zeroizing::new(serde_json::to_vec(&wire).expect("an enrolment is plain data"));
        let encoded = Zeroizing::new(BASE64URL_NOPAD.encode(&json));
        Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))
    }
}

impl FromStr for Enrollment {
    type Err = EnrollmentError;

    /// Reads [`Enrollment::to_text`]; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, EnrollmentError> {
        if text.len() > MAX_ENROLLMENT_LEN {
            return Err(EnrollmentError::TooLong(text.len()));
        }
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(EnrollmentError::Prefix)?;
        let json = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| EnrollmentError::Encoding)?;
        let json = Zeroizing::new(json);
        // The parser's own message may quote the token, so it is not kept.
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| EnrollmentError::Content)?;
        let Wire { authority, host, generation, fleet_ca, token } = wire;
        Ok(Self { authority, host, generation, fleet_ca, token: EnrollmentToken::from_text(token.as_str())? })
    }
}

/// Who gives a claim proof; the two proofs of one claim differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimSide {
    /// The provider.
    Provider,
    /// The agent.
    Agent,
}

/// Proof that `side` knows the token, bound to this TLS connection (`exporter`: keying material that both ends
/// derived) and to the agent's public key (`agent_spki`: DER), so that it cannot be relayed.
#[must_use]
pub fn claim_proof(token: &EnrollmentToken, exporter: &[u8], agent_spki: &[u8], side: ClaimSide) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.0.as_ref()).expect("HMAC takes a key of any length");
    let side: &[u8] = match side {
        ClaimSide::Provider => b"provider",
        ClaimSide::Agent => b"agent",
    };
    for part in [b"nats-claim/v1".as_slice(), side, exporter, agent_spki] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether `proof` is that of [`claim_proof`]; compared in constant time, any other length is refused.
#[must_use]
pub fn verify_claim_proof(
    token: &EnrollmentToken,
    exporter: &[u8],
    agent_spki: &[u8],
    side: ClaimSide,
    proof: &[u8],
) -> bool {
    claim_proof(token, exporter, agent_spki, side).as_slice().ct_eq(proof).into()
}
