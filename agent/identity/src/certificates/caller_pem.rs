//! A caller's certificate, its key and the CAs that agents are verified by, as one PEM text: all that somebody without
//! the root key needs to ask agents.

use std::str::FromStr;

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use thiserror::Error;
use zeroize::Zeroizing;

use super::client::ClientIdentity;
use super::pem::{CertificatePem, MAX_PEM_LEN, is_certificate};
use super::role::{Role, RoleError, role_of};
use crate::names::AuthorityName;

/// A caller of agents. `Debug` hides the key. The text form is a secret: the certificate, its key, then the host CAs.
#[derive(Debug, Clone)]
pub struct CallerPem {
    authority: AuthorityName,
    role: Role,
    client: ClientIdentity,
    host_ca: String,
}

/// Why a text is none. Never shows the text.
#[derive(Debug, Error)]
pub enum CallerPemError {
    /// Above [`MAX_PEM_LEN`].
    #[error("the text has {0} bytes, at most {MAX_PEM_LEN} are read")]
    TooLong(usize),
    /// Not PEM, or a block that does not parse.
    #[error("the text is not PEM of certificates and a key")]
    Pem,
    /// A block is missing, or stands in another order.
    #[error("the text needs a certificate, then its private key, then the certificates of the host CAs")]
    Order,
    /// The first certificate says nothing usable of its holder.
    #[error("the first certificate is not a caller's")]
    Role(#[from] RoleError),
}

impl CallerPem {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the certificate carries no role.
    pub fn new(client: ClientIdentity, host_ca: String) -> Result<CallerPem, CallerPemError> {
        let (authority, role) = role_of(client.chain.first().ok_or(CallerPemError::Order)?)?;
        Ok(Self { authority, role, client, host_ca })
    }

    /// The authority that the certificate names.
    #[must_use]
    pub fn authority(&self) -> &AuthorityName {
        &self.authority
    }

    /// The role that the certificate carries. Whether it is genuine, agents say.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Certificate and key.
    #[must_use]
    pub fn client(&self) -> &ClientIdentity {
        &self.client
    }

    /// PEM of the CAs that agents' certificates must come from.
    #[must_use]
    pub fn host_ca(&self) -> &str {
        &self.host_ca
    }

    /// The text. A secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let Self { authority: _, role: _, client, host_ca } = self;
        let certificates: String = client
            .chain
            .iter()
            .map(|certificate| CertificatePem::from_der(certificate.clone()).as_str().to_owned())
            .collect();
        let key = Zeroizing::new(BASE64.encode(&client.key));
        // Room for everything at once: a string that grows would leave copies of the key behind.
        let length = certificates.len() + key.len() + key.len() / 64 + 64 + host_ca.len();
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(&certificates);
        text.push_str("-----BEGIN PRIVATE KEY-----\n");
        // RFC 7468: lines of 64 characters.
        for start in (0..key.len()).step_by(64) {
            text.push_str(&key[start..key.len().min(start + 64)]);
            text.push('\n');
        }
        text.push_str("-----END PRIVATE KEY-----\n");
        text.push_str(host_ca);
        text
    }
}

impl FromStr for CallerPem {
    type Err = CallerPemError;

    fn from_str(text: &str) -> Result<Self, CallerPemError> {
        if text.len() > MAX_PEM_LEN {
            return Err(CallerPemError::TooLong(text.len()));
        }
        let mut key = None;
        let (mut chain, mut host_ca) = (Vec::new(), String::new());
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            match (block.map_err(|_| CallerPemError::Pem)?, &key) {
                ((SectionKind::Certificate, der), _) if !is_certificate(&der) => {
                    return Err(CallerPemError::Pem);
                }
                ((SectionKind::Certificate, der), None) => chain.push(CertificateDer::from(der)),
                ((SectionKind::Certificate, der), Some(_)) => {
                    host_ca.push_str(CertificatePem::from_der(der.into()).as_str());
                }
                ((SectionKind::PrivateKey, der), None) => key = Some(Zeroizing::new(der)),
                _ => return Err(CallerPemError::Order),
            }
        }
        let key = key.filter(|_| !host_ca.is_empty()).ok_or(CallerPemError::Order)?;
        Self::new(ClientIdentity { chain, key }, host_ca)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;
    use crate::{Authority, Generations, RootKey};

    fn reader() -> CallerPem {
        let root = RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let seed = Zeroizing::new([5; 32]);
        authority.caller_pem(&Role::Reader, &seed, now, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_text_reads_back_and_shows_nothing() {
        let caller = reader();
        let text = caller.to_text();
        let read: CallerPem = text.parse().unwrap();
        assert_eq!((read.authority().as_str(), read.role()), ("acme", &Role::Reader));
        assert_eq!((read.host_ca(), &read.client().key), (caller.host_ca(), &caller.client().key));
        assert_eq!(read.to_text(), text);
        assert!(text.lines().all(|line| line.len() <= 64));
        let key = text.lines().skip_while(|line| !line.contains("PRIVATE")).nth(1).unwrap();
        assert!(!format!("{read:?}").contains(key));
    }

    #[test]
    fn a_text_that_lacks_something_is_refused_without_showing_it() {
        let text = reader().to_text();
        let (before, rest) = text.split_once("-----BEGIN PRIVATE KEY-----").unwrap();
        let (_, after) = rest.split_once("-----END PRIVATE KEY-----\n").unwrap();
        let key = &text[before.len()..text.len() - after.len()];
        for wrong in ["", before, after, &format!("{before}{after}"), &format!("{before}{key}")] {
            assert!(matches!(wrong.parse::<CallerPem>(), Err(CallerPemError::Order)), "{wrong}");
        }
        let doubled = format!("{before}{key}{key}{after}");
        assert!(matches!(doubled.parse::<CallerPem>(), Err(CallerPemError::Order)));
        let strange = format!("{after}{key}{after}");
        let error = strange.parse::<CallerPem>().unwrap_err();
        assert!(matches!(error, CallerPemError::Role(RoleError::Missing)), "{error:?}");
        let cut = text.replace("-----END CERTIFICATE-----\n", "");
        assert!(matches!(cut.parse::<CallerPem>(), Err(CallerPemError::Pem)));
    }
}
