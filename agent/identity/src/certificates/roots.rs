//! The two CAs of an authority. Byte-stable: fixed validity, derived keys.
//!
//! They are apart so that a host, which holds an issuer, can never mint a caller: agents verify callers against the
//! fleet CA only.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer};
use time::OffsetDateTime;
use time::macros::datetime;

use super::pem::CertificatePem;
use super::template::Template;
use crate::names::AuthorityName;
use crate::p256_key::P256Key;

/// CAs are valid for a hundred years: rotation is by generation, never by expiry.
const NOT_BEFORE: OffsetDateTime = datetime!(2024-01-01 00:00 UTC);
const NOT_AFTER: OffsetDateTime = datetime!(2124-01-01 00:00 UTC);

/// A CA that can sign.
pub(crate) struct Root {
    pub(crate) certificate: CertificatePem,
    key: P256Key,
    params: CertificateParams,
}

impl Root {
    pub(crate) fn issuer(&self) -> Issuer<'_, &P256Key> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// Signs callers' certificates directly: path length 0, client authentication only.
pub(crate) fn fleet_ca(authority: &AuthorityName, generation: u32, key: P256Key) -> Root {
    root(authority, format!("fleet CA {generation}"), 0, vec![ExtendedKeyUsagePurpose::ClientAuth], key)
}

/// Signs hosts' issuers: path length 1.
pub(crate) fn host_ca(authority: &AuthorityName, generation: u32, key: P256Key) -> Root {
    root(authority, format!("host CA {generation}"), 1, Vec::new(), key)
}

fn root(
    authority: &AuthorityName,
    common_name: String,
    path_length: u8,
    usages: Vec<ExtendedKeyUsagePurpose>,
    key: P256Key,
) -> Root {
    let template =
        Template { authority, common_name, not_before: NOT_BEFORE, not_after: NOT_AFTER, names: Vec::new() };
    let mut params = template.ca(&key, path_length);
    params.extended_key_usages = usages;
    let certificate = params.self_signed(&key).expect("checked names and a valid key always encode");
    Root { certificate: CertificatePem::from_der(certificate.into()), key, params }
}
