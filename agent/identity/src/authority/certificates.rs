//! What an authority signs in X.509, and what lets a host join.

use std::time::Duration;

use hkdf::Hkdf;
use sha2::Sha256;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Authority;
use crate::certificates::{
    self, CallerPem, CertificatePem, ClientCertificateError, ClientIdentity, HostNames, IssueError, LeafPem,
    Role,
};
use crate::derivation::{Purpose, p256_from};
use crate::enrollment::{Enrollment, EnrollmentToken};
use crate::host_keys::HostKeys;
use crate::names::HostName;

impl Authority {
    /// A caller's certificate for `role`, valid from now (less ten minutes for clocks that are behind) for
    /// `validity`. The key is made from `seed`, which must be random and used once.
    ///
    /// # Errors
    /// For [`Role::Peer`], which only hosts have, and for a validity beyond the calendar.
    pub fn client_certificate(
        &self,
        role: &Role,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<ClientIdentity, ClientCertificateError> {
        let key = p256_from(&Hkdf::<Sha256>::new(Some(b"nats-client/v1"), seed.as_ref()), "nats-client/v1");
        certificates::client_certificate(&self.fleet, &self.name, role, &key, now, validity)
    }

    /// The same with everything that asking agents takes, as one text.
    ///
    /// # Errors
    /// As [`Authority::client_certificate`].
    pub fn caller_pem(
        &self,
        role: &Role,
        seed: &Zeroizing<[u8; 32]>,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<CallerPem, ClientCertificateError> {
        let client = self.client_certificate(role, seed, now, validity)?;
        let host_ca = self.trust().host_ca_bundle();
        Ok(CallerPem::new(client, host_ca).expect("the certificate just made carries its role"))
    }

    /// The issuer certificate of a host, for the key it made.
    ///
    /// # Errors
    /// All problems of the names, or a validity that is empty or beyond the calendar.
    pub fn issuer(
        &self,
        keys: &HostKeys,
        names: &HostNames,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<CertificatePem, IssueError> {
        certificates::issuer(&self.hosts, &self.name, keys, names, now, validity)
    }

    /// A leaf signed by the host CA itself, for clients that refuse critical name constraints (`issuer = "direct"`).
    ///
    /// # Errors
    /// As [`Authority::issuer`].
    pub fn direct_leaf(
        &self,
        keys: &HostKeys,
        names: &HostNames,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<LeafPem, IssueError> {
        certificates::direct_leaf(&self.hosts, &self.name, keys, names, now, validity)
    }

    /// What a host needs to join. Stable: the same host and generation give the same text.
    #[must_use]
    pub fn enrollment(&self, host: HostName, generation: u32) -> Enrollment {
        Enrollment {
            authority: self.name.clone(),
            fleet_ca: self.fleet.certificate.clone(),
            token: EnrollmentToken::new(self.derivation.secret(&Purpose::Enrollment(&host, generation))),
            host,
            generation,
        }
    }
}
