//! Why no connection came about, and why a call failed.

use std::io;

use tonic::{Code, Status};

use crate::convert::ConvertError;
use crate::tls::TlsError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or the name is not known.
    #[error("agent `{address}` cannot be reached")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("agent `{address}` did not answer within {seconds} s")]
    Timeout {
        /// `host:port`.
        address: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The connection was closed before anything was said, as by an agent that waits for its enrolment.
    #[error("agent `{address}` closed the connection; it may be starting, or wait for its enrolment")]
    Closed {
        /// `host:port`.
        address: String,
    },
    /// The agent is nobody's: it only takes a claim.
    #[error("agent `{address}` is not claimed yet")]
    NotClaimed {
        /// `host:port`.
        address: String,
    },
    /// The agent is claimed: it takes no other claim.
    #[error("agent `{address}` is claimed already")]
    Claimed {
        /// `host:port`.
        address: String,
    },
    /// Its certificate does not come from our host CA: another authority's host, or another service.
    #[error(
        "agent `{address}` belongs to another authority: its certificate is not under our host CA ({reason})"
    )]
    WrongAuthority {
        /// `host:port`.
        address: String,
        /// What the verifier said.
        reason: String,
    },
    /// A host of ours, but another one.
    #[error("agent `{address}` is host `{}`, not `{expected}`", found.join("`, `"))]
    WrongHost {
        /// `host:port`.
        address: String,
        /// The host that was meant.
        expected: String,
        /// Names in the certificate.
        found: Vec<String>,
    },
    /// The right name with another key: the host was made anew.
    #[error(
        "agent `{address}` has key `{found}`, not `{expected}`: the host was set up anew, or this is another one"
    )]
    WrongKey {
        /// `host:port`.
        address: String,
        /// Pin that was meant.
        expected: String,
        /// Pin that was found.
        found: String,
    },
    /// Its certificate is not valid now, and no pin was known to accept it by.
    #[error(
        "agent `{address}` has a certificate that is not valid now ({reason}); check the clocks of both sides"
    )]
    Expired {
        /// `host:port`.
        address: String,
        /// What the verifier said.
        reason: String,
    },
    /// The agent did not take our certificate.
    #[error("agent `{address}` refused our certificate: {reason}")]
    Refused {
        /// `host:port`.
        address: String,
        /// Why, by its alert.
        reason: String,
    },
    /// It speaks TLS but nothing that we know.
    #[error("agent `{address}` does not speak TLS as an agent does")]
    Protocol {
        /// `host:port`.
        address: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Our own certificate, key or authorities cannot be used.
    #[error("the connection to agent `{address}` cannot be set up")]
    Setup {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        source: TlsError,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later without anybody changing anything: the host is starting, its network
    /// comes up, its claim is under way.
    pub fn is_temporary(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } | ConnectError::Closed { .. } => {
                true
            }
            ConnectError::NotClaimed { .. }
            | ConnectError::Claimed { .. }
            | ConnectError::WrongAuthority { .. }
            | ConnectError::WrongHost { .. }
            | ConnectError::WrongKey { .. }
            | ConnectError::Expired { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Protocol { .. }
            | ConnectError::Setup { .. } => false,
        }
    }
}

/// Why a call failed. The texts in `reason` are the agent's, for people.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Our role may not do this.
    #[error("agent `{address}` does not allow `{method}`: {reason}")]
    Denied {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// The host is nobody's, or somebody else's.
    #[error("agent `{address}` is not claimed: {reason}")]
    NotClaimed {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// What was sent is wrong.
    #[error("agent `{address}` refused what `{method}` sent: {reason}")]
    Invalid {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// Another writer was faster, or owns it.
    #[error("agent `{address}` has a newer document: {reason}")]
    Conflict {
        /// `host:port`.
        address: String,
        /// Who and what.
        reason: String,
    },
    /// Another process holds the lease.
    #[error("agent `{address}` is being changed by somebody else: {reason}")]
    Leased {
        /// `host:port`.
        address: String,
        /// Who.
        reason: String,
    },
    /// The agent's ledger is damaged; it changes nothing.
    #[error("agent `{address}` is frozen: {reason}")]
    Frozen {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// The agent tried and failed.
    #[error("agent `{address}` failed in `{method}`: {reason}")]
    Failed {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// The connection broke. Whether the call was done is not known.
    #[error("the connection to agent `{address}` broke during `{method}`: {reason}")]
    Lost {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// No answer in time. Whether the call was done is not known.
    #[error("agent `{address}` did not answer `{method}` in time")]
    Timeout {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
    },
    /// The answer cannot be read: another version, or a fault.
    #[error("the answer of agent `{address}` to `{method}` cannot be read: {reason}")]
    Unreadable {
        /// `host:port`.
        address: String,
        /// The call.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl CallError {
    /// The one place where a status becomes an error.
    pub(crate) fn from_status(address: &str, method: &'static str, status: Status) -> CallError {
        let (address, reason) = (address.to_owned(), status.message().to_owned());
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => CallError::Denied { address, method, reason },
            Code::FailedPrecondition => CallError::NotClaimed { address, reason },
            Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
                CallError::Invalid { address, method, reason }
            }
            Code::Aborted => CallError::Conflict { address, reason },
            Code::AlreadyExists => CallError::Leased { address, reason },
            Code::DataLoss => CallError::Frozen { address, reason },
            Code::Internal if std::error::Error::source(&status).is_none() => {
                CallError::Failed { address, method, reason }
            }
            Code::DeadlineExceeded => CallError::Timeout { address, method },
            Code::Unimplemented | Code::NotFound => CallError::Unreadable { address, method, reason },
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal => {
                let cause = std::error::Error::source(&status).map(ToString::to_string);
                let reason = cause.map_or(reason.clone(), |cause| format!("{reason}: {cause}"));
                CallError::Lost { address, method, reason }
            }
            Code::Ok => {
                let reason = "it ended without an answer".to_owned();
                CallError::Unreadable { address, method, reason }
            }
        }
    }

    pub(crate) fn unreadable(address: &str, method: &'static str, error: ConvertError) -> CallError {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        CallError::Unreadable { address: address.to_owned(), method, reason: format!("{error}{cause}") }
    }
}
