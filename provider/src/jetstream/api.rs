//! The JetStream API: requests, answers and errors. What carries them is a [`Caller`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nats_agent_api::RequestError;
use serde_json::{Map, Value, json};

use super::settings::{SettingsError, StreamSettings};

/// How long one API request may take. A create of a replicated stream waits for its Raft group:
/// 0.8 s at the 99th percentile with 16 at once, so this is generous.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of an answer that are looked at; a page of 256 streams has about 0.5 MiB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Beginning of the subject of every create.
pub(super) const CREATE_PREFIX: &str = "$JS.API.STREAM.CREATE.";

/// Carries a NATS request to a server of the system and brings the answer.
#[async_trait]
pub trait Caller: Send + Sync {
    /// One request, one answer.
    ///
    /// # Errors
    /// [`RequestError`] when no answer came.
    async fn request(
        &self,
        subject: &str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError>;
}

/// Why a JetStream request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No answer came.
    #[error("asking JetStream failed")]
    Request(#[from] RequestError),
    /// The server refused.
    #[error("JetStream refused: {description} (error {code})")]
    Refused {
        /// NATS's error code, like 10059.
        code: u64,
        /// The server's words.
        description: String,
    },
    /// The answer cannot be understood.
    #[error("JetStream's answer on `{subject}` cannot be understood: {reason}")]
    Answer {
        /// The subject.
        subject: String,
        /// Why.
        reason: String,
    },
    /// A setting in the answer cannot be understood.
    #[error("the stream's configuration cannot be understood")]
    Settings(#[from] SettingsError),
}

/// Source: nats-server 2.15.1 server/errors.json.
mod code {
    pub(super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(super) const NO_SUITABLE_PEERS: u64 = 10005;
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(super) const STORAGE_EXCEEDED: u64 = 10047;
    pub(super) const MAXIMUM_STREAMS: u64 = 10027;
    pub(super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(super) const NOT_AVAILABLE: u64 = 10008;
    pub(super) const SUBJECT_OVERLAP: u64 = 10065;
}

impl ApiError {
    /// Whether an authority said that there is no such stream.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Refused { code: code::STREAM_NOT_FOUND, .. })
    }

    /// Whether nobody with authority answered at all.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, ApiError::Request(_) | ApiError::Refused { code: code::NOT_AVAILABLE, .. })
    }

    /// Whether the server gives the account no JetStream, or does not yet.
    pub fn is_not_enabled(&self) -> bool {
        matches!(self, ApiError::Refused { code: code::NOT_ENABLED_FOR_ACCOUNT, .. })
    }

    /// What a person does about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            ApiError::Request(RequestError::NoResponders { .. }) => {
                "JetStream answers nobody in this account: check that the account has `jetstream` limits, and that \
                 the supercluster has a meta leader (`nats_supercluster` says who leads), then apply again."
            }
            ApiError::Request(RequestError::Timeout { .. }) => {
                "The meta group or the stream's own group has no leader just now. Apply again; if it stays so, \
                 `nats_supercluster` names the servers that are missing."
            }
            ApiError::Request(RequestError::Failed { .. } | RequestError::Closed { .. }) => {
                "Apply again; what was done is kept and adopted."
            }
            ApiError::Refused { code, .. } => refusal_remedy(*code),
            ApiError::Answer { .. } | ApiError::Settings(_) => {
                "The server may be of a version that this provider does not know."
            }
        }
    }
}

fn refusal_remedy(code: u64) -> &'static str {
    match code {
        code::NO_SUITABLE_PEERS => {
            "No server fits: `replicas` may not exceed the servers of one cluster, and each needs the tags of \
             `placement` and room for `max_bytes`."
        }
        code::INSUFFICIENT_RESOURCES | code::STORAGE_EXCEEDED => {
            "Raise the account's or the servers' storage, or lower `max_bytes`."
        }
        code::MAXIMUM_STREAMS => "Raise `jetstream.max_streams` of the account.",
        code::NOT_ENABLED_FOR_ACCOUNT => "Give the account `jetstream` limits.",
        code::NOT_AVAILABLE => "The meta group has no leader: more than half of the servers must run.",
        code::SUBJECT_OVERLAP => {
            "Another stream of the account stores one of these `subjects`: choose others."
        }
        _ => "Nothing was changed. Apply again when that is put right.",
    }
}

/// A stream as a server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its configuration, every key, also those we do not know.
    pub config: Map<String, Value>,
    /// Messages it holds.
    pub messages: u64,
    /// Bytes it holds.
    pub bytes: u64,
}

impl StreamInfo {
    /// The settings we know.
    ///
    /// # Errors
    /// When one of them has another type than it should.
    pub fn settings(&self) -> Result<StreamSettings, ApiError> {
        Ok(StreamSettings::from_json(&self.config)?)
    }

    fn from_json(subject: &str, answer: &Value) -> Result<StreamInfo, ApiError> {
        let config = answer.get("config").and_then(Value::as_object).cloned();
        let state = |key: &str| answer.pointer(&format!("/state/{key}")).and_then(Value::as_u64);
        Ok(StreamInfo {
            config: config.ok_or_else(|| unreadable(subject, "no `config`"))?,
            messages: state("messages").unwrap_or(0),
            bytes: state("bytes").unwrap_or(0),
        })
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Streams whose leaders answered. One that is not here may nevertheless be there.
    pub streams: Vec<StreamInfo>,
    /// Streams that the page is about, those included that nobody answered for.
    /// Source: nats-server 2.15.1 server/jetstream_api.go `JSApiStreamListResponse` (`missing`, `offline`).
    pub covered: u64,
    /// Streams in all.
    pub total: u64,
}

fn unreadable(subject: &str, reason: impl Into<String>) -> ApiError {
    ApiError::Answer { subject: subject.to_owned(), reason: reason.into() }
}

/// The API of one account.
#[derive(Clone)]
pub struct JetStreamApi {
    caller: Arc<dyn Caller>,
}

impl JetStreamApi {
    /// Over this caller, which acts in one account.
    pub fn new(caller: Arc<dyn Caller>) -> JetStreamApi {
        JetStreamApi { caller }
    }

    /// What the server knows of the stream.
    ///
    /// # Errors
    /// [`ApiError::is_not_found`] when there is none.
    pub async fn info(&self, stream: &str) -> Result<StreamInfo, ApiError> {
        self.stream_request("INFO", stream, &json!({})).await
    }

    /// Makes a stream. Callers ask [`JetStreamApi::info`] first: a create is never a probe.
    /// Source: nats-server#8449, an idempotent create could lose data while a replica was down.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn create(&self, config: Map<String, Value>) -> Result<StreamInfo, ApiError> {
        let name = stream_name(&config);
        self.stream_request("CREATE", &name, &Value::Object(config)).await
    }

    /// Changes a stream in place.
    ///
    /// # Errors
    /// When the server refuses it; nothing is changed then.
    pub async fn update(&self, config: Map<String, Value>) -> Result<StreamInfo, ApiError> {
        let name = stream_name(&config);
        self.stream_request("UPDATE", &name, &Value::Object(config)).await
    }

    /// Deletes a stream and its messages. Succeeds when there is none.
    ///
    /// # Errors
    /// When the server refuses it or does not answer.
    pub async fn delete(&self, stream: &str) -> Result<(), ApiError> {
        match self.ask(&format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// One page of all streams from `offset` on.
    ///
    /// # Errors
    /// When the server refuses it or does not answer.
    pub async fn list(&self, offset: u64) -> Result<Page, ApiError> {
        let subject = "$JS.API.STREAM.LIST";
        let answer = self.ask(subject, &json!({ "offset": offset })).await?;
        let total =
            answer.get("total").and_then(Value::as_u64).ok_or_else(|| unreadable(subject, "no `total`"))?;
        let entries =
            |key: &str| answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let streams: Result<Vec<StreamInfo>, ApiError> =
            entries("streams").iter().map(|stream| StreamInfo::from_json(subject, stream)).collect();
        let streams = streams?;
        let offline = answer.get("offline").and_then(Value::as_object).map_or(0, Map::len);
        let covered = streams.len() + entries("missing").len() + offline;
        Ok(Page { streams, covered: covered as u64, total })
    }

    async fn stream_request(&self, verb: &str, stream: &str, body: &Value) -> Result<StreamInfo, ApiError> {
        let subject = format!("$JS.API.STREAM.{verb}.{stream}");
        let answer = self.ask(&subject, body).await?;
        StreamInfo::from_json(&subject, &answer)
    }

    async fn ask(&self, subject: &str, body: &Value) -> Result<Value, ApiError> {
        let payload = body.to_string().into_bytes();
        let answer = self.caller.request(subject, payload, REQUEST_TIMEOUT).await?;
        understand(subject, &answer)
    }
}

fn stream_name(config: &Map<String, Value>) -> String {
    config.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Parses an answer; an `error` in it is an error.
fn understand(subject: &str, answer: &[u8]) -> Result<Value, ApiError> {
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(unreadable(subject, format!("{} bytes are more than {MAX_ANSWER_BYTES}", answer.len())));
    }
    let answer: Value =
        serde_json::from_slice(answer).map_err(|error| unreadable(subject, error.to_string()))?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    Err(ApiError::Refused {
        code: error.get("err_code").and_then(Value::as_u64).unwrap_or(0),
        description: error.get("description").and_then(Value::as_str).unwrap_or("no description").to_owned(),
    })
}

/// Any bytes as an answer, for `crate::fuzz`.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(answer: &[u8]) {
    if let Ok(answer) = understand("s", answer)
        && let Ok(info) = StreamInfo::from_json("s", &answer)
        && let Ok(settings) = StreamSettings::from_json(&info.config)
    {
        let _ = settings.differences(&settings);
        let _ = settings.to_json("nats_stream/x", true);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_in_the_answer_is_an_error_with_its_code() {
        let answer =
            br#"{"type":"x","error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let error = understand("$JS.API.STREAM.INFO.A", answer).unwrap_err();
        assert!(error.is_not_found() && !error.is_unanswered());
        assert_eq!(error.to_string(), "JetStream refused: stream not found (error 10059)");
    }

    #[test]
    fn silence_is_not_absence() {
        let silent =
            ApiError::Request(RequestError::Timeout { subject: "s".into(), timeout: Duration::from_secs(5) });
        assert!(silent.is_unanswered() && !silent.is_not_found());
        let leaderless = ApiError::Refused { code: 10008, description: "no leader".into() };
        assert!(leaderless.is_unanswered());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = understand("s", &bytes);
        }
    }
}
