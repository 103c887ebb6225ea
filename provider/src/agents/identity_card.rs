//! Who this process is to the agents: a short-lived certificate of the fleet CA, made in memory or brought.

use std::time::Duration;

use host_state::chain;
use identity::{Authority, CallerPem, ClientIdentity, Role};
use tfplug::Diagnostic;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long the certificate is valid: as long as the longest apply, because a broken connection is dialled again.
const VALIDITY: Duration = Duration::from_secs(12 * 3600);

/// A certificate, and the host CAs that agents are verified by. `Debug` hides the key.
#[derive(Debug)]
pub struct IdentityCard {
    key: String,
    client: ClientIdentity,
    host_ca: String,
}

impl IdentityCard {
    /// A new one with role operator.
    ///
    /// # Errors
    /// When the system gives no randomness, or its clock is beyond the calendar.
    pub fn of(authority: &Authority) -> Result<IdentityCard, Diagnostic> {
        Self::with_host_ca(authority, authority.trust().host_ca_bundle())
    }

    /// The same, verifying agents by other host CAs (PEM) of the authority.
    ///
    /// # Errors
    /// As [`IdentityCard::of`].
    pub fn with_host_ca(authority: &Authority, host_ca: String) -> Result<IdentityCard, Diagnostic> {
        let client = authority
            .client_certificate(&Role::Operator, &random_bytes()?, OffsetDateTime::now_utc(), VALIDITY)
            .map_err(|why| Diagnostic::error("No certificate could be made", format!("{}.", chain(&why))))?;
        let identity::Generations { fleet_ca, host_ca: hosts, .. } = authority.generations();
        Ok(IdentityCard { key: format!("{}/{fleet_ca}/{hosts}", authority.name()), client, host_ca })
    }

    /// That of who was given one.
    #[must_use]
    pub fn of_caller(caller: &CallerPem) -> IdentityCard {
        IdentityCard {
            key: format!("{}/{}", caller.authority(), caller.role()),
            client: caller.client().clone(),
            host_ca: caller.host_ca().to_owned(),
        }
    }

    /// Names the card among those of a process: two with the same key open the same doors.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
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
}

/// 32 random bytes of the operating system.
///
/// # Errors
/// When it has none.
pub fn random_bytes() -> Result<Zeroizing<[u8; 32]>, Diagnostic> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut())
        .map_err(|why| Diagnostic::error("The operating system gives no randomness", format!("{why}.")))?;
    Ok(bytes)
}
