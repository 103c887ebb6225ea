//! The caller's side of a claim: making a bare host ours.
//!
//! The agent shows a certificate it signed itself, so nothing about it is believed until it has proven that it knows
//! the token, bound to this very connection and to the key in that certificate. Before that nothing is sent but our
//! own proof, which is worth nothing on any other connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host_state::document::canonical;
use identity::{
    CertificatePem, ClaimSide, ClientIdentity, Enrollment, HostNames, Trust, claim_proof, spki_pin,
    verify_claim_proof,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::client::{ConnectError, Dial, connect_once, dial};
use crate::convert::{self, MAX_CLAIM_BYTES};
use crate::order::ClaimOffer;
use crate::tls::{EXPORTER_BYTES, crypto};
use crate::wire;
use crate::wire::claim_request::Step as Asked;
use crate::wire::claim_response::Step as Told;

/// Label of the TLS exporter that both sides of a claim bind their proof to.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-nats-agent-claim";

/// What the caller binds the host to, made once its keys are known.
#[derive(Debug, Clone)]
pub struct ClaimBinding {
    /// The authority's public side.
    pub trust: Trust,
    /// Issuer certificate for this host.
    pub issuer: CertificatePem,
    /// 32 lower-case hex digits, bound into every later document.
    pub claim_id: String,
    /// Names and addresses of this host.
    pub names: HostNames,
}

/// A claim that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimDone {
    /// What the agent said of itself.
    pub offer: ClaimOffer,
    /// Id of the claim.
    pub claim_id: String,
}

/// Why a host was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// No connection: unreachable, claimed already ([`ConnectError::Claimed`]), or enrolled for another authority.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The agent is claimed, or was never enrolled.
    #[error("agent `{address}` takes no claim: {reason}")]
    AlreadyClaimed {
        /// `host:port`.
        address: String,
        /// Why, in the agent's words.
        reason: String,
    },
    /// The agent was enrolled with another token.
    #[error("agent `{address}` does not take the token: {reason}")]
    WrongToken {
        /// `host:port`.
        address: String,
        /// Why, in the agent's words.
        reason: String,
    },
    /// The token has died.
    #[error("agent `{address}` does not take the token any more: {reason}")]
    TokenExpired {
        /// `host:port`.
        address: String,
        /// Why, in the agent's words.
        reason: String,
    },
    /// Who answers does not know the token: not the host that was enrolled. Nothing was sent to it.
    #[error("what answers at `{address}` is not the host that was enrolled: it cannot prove the token")]
    Impostor {
        /// `host:port`.
        address: String,
    },
    /// The host that was enrolled has another name.
    #[error("agent `{address}` was enrolled as host `{found}`, not `{expected}`")]
    WrongHost {
        /// `host:port`.
        address: String,
        /// The host that was meant.
        expected: String,
        /// The host it says it is.
        found: String,
    },
    /// The binding could not be made.
    #[error("host at `{address}` cannot be bound")]
    Binding {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent refused the binding, or could not keep it.
    #[error("agent `{address}` refused the claim: {reason}")]
    Refused {
        /// `host:port`.
        address: String,
        /// Why, in the agent's words.
        reason: String,
    },
    /// The connection broke or the order was not kept. When the binding was on its way the host may be claimed: connect
    /// to it as a claimed one to find out.
    #[error("the claim of agent `{address}` broke off: {reason}")]
    Broken {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
}

impl ClaimError {
    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            ClaimError::Connect(error) => error.is_temporary(),
            ClaimError::Broken { .. } => true,
            ClaimError::AlreadyClaimed { .. }
            | ClaimError::WrongToken { .. }
            | ClaimError::TokenExpired { .. }
            | ClaimError::Impostor { .. }
            | ClaimError::WrongHost { .. }
            | ClaimError::Binding { .. }
            | ClaimError::Refused { .. } => false,
        }
    }

    /// The one place where a status becomes an error.
    fn from_status(address: &str, status: &Status) -> ClaimError {
        let (address, reason) = (address.to_owned(), status.message().to_owned());
        match status.code() {
            Code::FailedPrecondition => ClaimError::AlreadyClaimed { address, reason },
            Code::Unauthenticated => ClaimError::WrongToken { address, reason },
            Code::OutOfRange => ClaimError::TokenExpired { address, reason },
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Aborted
            | Code::AlreadyExists
            | Code::DataLoss
            | Code::Internal
            | Code::ResourceExhausted => ClaimError::Refused { address, reason },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::Unimplemented
            | Code::Unavailable => ClaimError::Broken { address, reason },
        }
    }
}

/// Claims the host that was given `enrollment` and listens at `address` (`host:port`).
///
/// `identity` is a certificate of the enrolment's fleet CA with role operator. `bind` makes the binding from the public
/// keys that the host has proven to hold; it is called once, after the proof. `timeout` bounds each of connecting,
/// proof and binding. May be repeated: a host that is claimed says so.
///
/// # Errors
/// [`ClaimError`].
pub async fn claim(
    address: &str,
    identity: &ClientIdentity,
    enrollment: &Enrollment,
    timeout: Duration,
    bind: impl FnOnce(&ClaimOffer) -> Result<ClaimBinding, Box<dyn std::error::Error + Send + Sync>> + Send,
) -> Result<ClaimDone, ClaimError> {
    let verifier = Arc::new(AnyKey { crypto: crypto(), spki: Mutex::new(None) });
    let target = Dial { address, identity, verifier: verifier.clone(), alpn: crate::ALPN_CLAIM, timeout };
    let connection = dial(&target).await?;
    let broken = |reason: &str| ClaimError::Broken { address: address.to_owned(), reason: reason.to_owned() };
    let spki = verifier.spki().ok_or_else(|| broken("the agent showed no key"))?;
    let exporter = connection
        .stream
        .get_ref()
        .1
        .export_keying_material([0_u8; EXPORTER_BYTES], EXPORTER_LABEL, None)
        .map_err(|error| broken(&error.to_string()))?;
    let (requests, stream) = mpsc::channel(2);
    let proof = claim_proof(&enrollment.token, &exporter, &spki, ClaimSide::Provider).to_vec();
    let proof = wire::ClaimProof { proof, generation: enrollment.generation };
    send(&requests, address, Asked::Proof(proof)).await?;
    let mut wire = wire::enrollment_client::EnrollmentClient::new(connect_once(connection))
        .max_decoding_message_size(2 * MAX_CLAIM_BYTES);
    let offering = async {
        let responses = wire.claim(ReceiverStream::new(stream)).await;
        let mut responses =
            responses.map_err(|status| ClaimError::from_status(address, &status))?.into_inner();
        let told = next(&mut responses, address).await?;
        Ok::<_, ClaimError>((responses, told))
    };
    let late = |_| broken("no answer in time");
    let (mut responses, told) = tokio::time::timeout(timeout, offering).await.map_err(late)??;
    let Told::Offer(offer) = told else { return Err(broken("the agent did not keep to the order")) };
    let offer = proven(address, enrollment, &exporter, &spki, offer)?;
    let binding =
        bind(&offer).map_err(|source| ClaimError::Binding { address: address.to_owned(), source })?;
    let ClaimBinding { trust, issuer, claim_id, names } = binding;
    let binding = wire::ClaimBinding {
        trust_json: canonical(&trust),
        issuer_pem: issuer.as_str().to_owned(),
        claim_id: claim_id.clone(),
        names_json: canonical(&names),
    };
    send(&requests, address, Asked::Binding(binding)).await?;
    let told = tokio::time::timeout(timeout, next(&mut responses, address)).await.map_err(late)??;
    match told {
        Told::Done(wire::ClaimDone { claim_id: done }) if done == claim_id => {
            Ok(ClaimDone { offer, claim_id })
        }
        Told::Done(_) | Told::Offer(_) => Err(broken("the agent did not keep to the order")),
    }
}

/// The offer, once its proof holds and it speaks for the key of this connection and the host that was enrolled.
fn proven(
    address: &str,
    enrollment: &Enrollment,
    exporter: &[u8],
    spki: &[u8],
    offer: wire::ClaimOffer,
) -> Result<ClaimOffer, ClaimError> {
    let wire::ClaimOffer { proof, host, host_keys_json, agent_version } = offer;
    let address = address.to_owned();
    if !verify_claim_proof(&enrollment.token, exporter, spki, ClaimSide::Agent, &proof) {
        return Err(ClaimError::Impostor { address });
    }
    if host != enrollment.host.as_str() {
        let expected = enrollment.host.to_string();
        return Err(ClaimError::WrongHost { address, expected, found: host.chars().take(80).collect() });
    }
    let host_keys: identity::HostKeys = convert::json("the host's keys", &host_keys_json, MAX_CLAIM_BYTES)
        .map_err(|error| ClaimError::Broken { address: address.clone(), reason: error.to_string() })?;
    if host_keys.leaf_pin() != spki_pin(spki) {
        return Err(ClaimError::Impostor { address });
    }
    Ok(ClaimOffer { host: enrollment.host.clone(), host_keys, agent_version })
}

async fn send(
    requests: &mpsc::Sender<wire::ClaimRequest>,
    address: &str,
    step: Asked,
) -> Result<(), ClaimError> {
    requests.send(wire::ClaimRequest { step: Some(step) }).await.map_err(|_| ClaimError::Broken {
        address: address.to_owned(),
        reason: "the stream has ended".to_owned(),
    })
}

async fn next(responses: &mut Streaming<wire::ClaimResponse>, address: &str) -> Result<Told, ClaimError> {
    let message = responses.message().await;
    let message = message.map_err(|status| ClaimError::from_status(address, &status))?;
    message.and_then(|wire::ClaimResponse { step }| step).ok_or_else(|| ClaimError::Broken {
        address: address.to_owned(),
        reason: "the agent ended it".to_owned(),
    })
}

/// Takes any key, remembers it, and still has TLS prove that the peer holds it.
#[derive(Debug)]
struct AnyKey {
    crypto: Arc<CryptoProvider>,
    spki: Mutex<Option<Vec<u8>>>,
}

impl AnyKey {
    fn spki(&self) -> Option<Vec<u8>> {
        self.spki.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let spki = parsed.subject_public_key_info().as_ref().to_vec();
        *self.spki.lock().unwrap_or_else(PoisonError::into_inner) = Some(spki);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use identity::{Authority, Generations, RootKey};

    use super::*;

    fn offer(token_of: &str, claimed_host: &str, spki: &[u8]) -> Result<ClaimOffer, ClaimError> {
        let root = RootKey::from_bytes(std::array::from_fn(|index| index as u8)).unwrap();
        let acme = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let enrollment = acme.enrollment("east-1".parse().unwrap(), 1);
        let token = acme.enrollment(token_of.parse().unwrap(), 1).token;
        let keys = crate::fake::host_secret("east-1").keys();
        let exporter = [5; EXPORTER_BYTES];
        let offer = wire::ClaimOffer {
            proof: claim_proof(&token, &exporter, spki, ClaimSide::Agent).to_vec(),
            host: claimed_host.to_owned(),
            host_keys_json: canonical(&keys),
            agent_version: "1".to_owned(),
        };
        proven("127.0.0.1:1", &enrollment, &exporter, spki, offer)
    }

    #[test]
    fn only_the_enrolled_host_with_the_key_of_the_connection_is_believed() {
        let own = crate::fake::host_secret("east-1").keys().leaf_spki.as_der().to_vec();
        let other = crate::fake::host_secret("east-2").keys().leaf_spki.as_der().to_vec();
        assert_eq!(offer("east-1", "east-1", &own).unwrap().host.as_str(), "east-1");
        assert_eq!(
            offer("east-2", "east-1", &own).unwrap_err().to_string(),
            "what answers at `127.0.0.1:1` is not the host that was enrolled: it cannot prove the token"
        );
        // It knows the token, and offers a key that is not the one it holds.
        assert!(matches!(offer("east-1", "east-1", &other), Err(ClaimError::Impostor { .. })));
        assert_eq!(
            offer("east-1", "east-2", &own).unwrap_err().to_string(),
            "agent `127.0.0.1:1` was enrolled as host `east-2`, not `east-1`"
        );
    }
}
