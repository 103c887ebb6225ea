//! Ephemeral resources: secrets that live for one run and enter neither state nor plan.

pub mod account_key;
pub mod host_enrollment;
pub mod reader_credentials;
pub mod user_credentials;

use identity::{AccountKey, AuthorityName};
use nats_config::NatsDuration;
use tfplug::{Diagnostic, Opened, Path, Value};

use crate::keys::Keys;
use crate::resources::reading::Reading;

/// Reads how long something minted lives, which is at least a second; `default` when the block does not say.
fn life(block: &Value, default: NatsDuration, reading: &mut Reading) -> Option<NatsDuration> {
    let path = Path::root("expires");
    let expires = match block.attr("expires").as_str() {
        Some(_) => reading.text::<NatsDuration>(block.attr("expires"), &path),
        None => Some(default),
    };
    if expires.is_some_and(|expires| expires.as_duration().as_secs() == 0) {
        reading.push(Diagnostic::error("No life at all", "It must be at least a second.").at(path));
    }
    expires
}

/// What opens in place of a secret that the keys of this process cannot make: nulls, so that a plan goes on.
fn unopened(type_name: &str, config: Value) -> Opened {
    let mut opened = Opened::from(config);
    opened.diagnostics.warning(
        format!("`{type_name}` was not opened"),
        "`reader_credentials` make no secrets: its computed attributes are null in this run. What is applied with the \
         root key gets them.",
    );
    opened
}

/// The key of this process, when it is that of one account.
fn account_key<'a>(keys: &'a Keys, authority: &AuthorityName) -> Option<&'a AccountKey> {
    match keys {
        Keys::Account(key) if key.authority() == authority => Some(key),
        Keys::Account(_) | Keys::Root(_) | Keys::Reader(_) | Keys::Unknown | Keys::Missing => None,
    }
}
