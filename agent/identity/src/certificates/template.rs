//! What all our certificates have in common.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use crate::names::AuthorityName;

/// How far a clock may be behind the signer's: certificates begin this much in the past.
pub(crate) const CLOCK_SKEW: Duration = Duration::minutes(10);

/// What a certificate is made from.
pub(crate) struct Template<'a> {
    pub(crate) authority: &'a AuthorityName,
    pub(crate) common_name: String,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) names: Vec<SanType>,
}

impl Template<'_> {
    fn params(&self, public_key: &impl PublicKeyData) -> CertificateParams {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, format!("nats authority {}", self.authority));
        subject.push(DnType::CommonName, self.common_name.clone());
        params.distinguished_name = subject;
        params.not_before = whole_second(self.not_before);
        params.not_after = whole_second(self.not_after);
        params.subject_alt_names.clone_from(&self.names);
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(self, public_key).to_vec().into());
        params
    }

    /// Parameters of a certificate that may sign others.
    pub(crate) fn ca(&self, public_key: &impl PublicKeyData, path_length: u8) -> CertificateParams {
        let mut params = self.params(public_key);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// Parameters of a certificate that may not.
    pub(crate) fn end_entity(&self, public_key: &impl PublicKeyData) -> CertificateParams {
        let mut params = self.params(public_key);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
    }
}

/// X.509 has no fractions of a second.
fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).expect("0 nanoseconds exist in every second")
}

/// A hash of what sets a certificate apart, so that two certificates of one key have different serials and one
/// certificate signed twice has the same. 16 bytes, positive.
fn serial(template: &Template<'_>, public_key: &impl PublicKeyData) -> [u8; 16] {
    let mut hash = Sha256::new();
    let names = format!("{:?}", template.names);
    for part in [
        public_key.der_bytes(),
        template.common_name.as_bytes(),
        &template.not_before.unix_timestamp().to_be_bytes(),
        &template.not_after.unix_timestamp().to_be_bytes(),
        names.as_bytes(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut serial = [0_u8; 16];
    serial.copy_from_slice(&hash.finalize()[..16]);
    // Neither negative nor starting with a zero byte.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}
