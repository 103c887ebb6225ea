//! Ephemeral resources: secrets that live for one run and enter neither state nor plan.

pub mod account_key;
pub mod host_enrollment;
pub mod reader_credentials;
pub mod user_credentials;

use identity::{AccountKey, AuthorityName};
use nats_config::NatsDuration;
use tfplug::{Diagnostic, Diagnostics, Failure, Opened, Path, Value};

use crate::keys::Keys;
use crate::resources::reading::Reading;

/// Life of a lesser key when the block does not say: a day, as of `nats-agent creds`.
const KEY_LIFE: NatsDuration = NatsDuration::from_secs(24 * 3600);

/// A block that asks for a lesser key: the id in attribute `of`, and how long it lives. `None` with the problems told, or
/// where something is not known.
fn key_order<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    block: &Value,
    of: &str,
) -> (Option<(T, NatsDuration)>, Diagnostics) {
    let mut reading = Reading::new();
    let id = reading.text::<T>(block.attr(of), &Path::root(of));
    let expires = life(block, KEY_LIFE, &mut reading);
    (id.zip(expires), reading.into_problems())
}

/// What stands in a block to be opened, all of it.
fn ordered<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    block: &Value,
    of: &str,
) -> Result<(T, NatsDuration), Failure> {
    let (order, problems) = key_order(block, of);
    if problems.has_errors() {
        return Err(problems.into());
    }
    order.ok_or_else(|| Failure::new(format!("`{of}` is not known"), "It is opened once that is known."))
}

/// No certificate of a lesser key could be made.
fn uncertified(why: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::error("No certificate could be made", format!("{}.", host_state::chain(why)))
}

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
