//! The bytes a resource may keep beside its state. Terraform stores them, opaque and in clear text.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that Terraform keeps with a resource instance and hands back on the next call. Empty means none.
/// They lie in the state file, so no secret may enter them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PrivateState(Vec<u8>);

impl PrivateState {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The JSON of `value`.
    ///
    /// # Errors
    /// When `value` has no JSON form, e.g. a map with keys that are not strings.
    pub fn from_json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(Self)
    }

    /// What [`PrivateState::from_json`] stored; `None` when nothing was stored.
    ///
    /// # Errors
    /// When the bytes are not JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        if self.0.is_empty() { Ok(None) } else { serde_json::from_slice(&self.0).map(Some) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for PrivateState {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PrivateState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateState({} bytes)", self.0.len())
    }
}
