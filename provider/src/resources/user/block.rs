//! A `nats_user` block into a scope's template, and a scope back into state.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{ResponsePermission, SubjectPermissions, UserName, UserScope, UserTemplate};
use nats_config::{ByteSize, NatsDuration};
use tfplug::{Diagnostic, Diagnostics, Path, Value};

use crate::resources::MAX_COUNT;
use crate::resources::natural_id::{AccountId, UserId};
use crate::resources::reading::Reading;

/// A block whose every known value was checked; unknown ones read as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// Absent while account or name is unknown.
    pub(super) id: Option<UserId>,
    pub(super) generation: u32,
    pub(super) template: UserTemplate,
}

/// Reads and checks a block, all problems at once.
pub(super) fn parse(block: &Value) -> (Declared, Diagnostics) {
    let mut reading = Reading::new();
    let account = reading.text::<AccountId>(block.attr("account"), &Path::root("account"));
    let user = reading.text::<UserName>(block.attr("name"), &Path::root("name"));
    let (limits, path) = (block.attr("limits"), Path::root("limits"));
    let subscriptions = path.attr("subscriptions");
    let template = UserTemplate {
        publish: permissions(block, "publish", &mut reading),
        subscribe: permissions(block, "subscribe", &mut reading),
        allow_responses: responses(block.attr("allow_responses"), &mut reading),
        max_subscriptions: reading.number(limits.attr("subscriptions"), &subscriptions, 0..=MAX_COUNT),
        max_payload: reading.text(limits.attr("payload"), &path.attr("payload")).map(ByteSize::bytes),
        max_data: reading.text(limits.attr("data"), &path.attr("data")).map(ByteSize::bytes),
        ..UserTemplate::unrestricted()
    };
    let generation =
        reading.number(block.attr("generation"), &Path::root("generation"), 1..=u64::from(u32::MAX));
    let id = account.zip(user).map(|(account, user)| UserId { account, user });
    (Declared { id, generation: generation.unwrap_or(1), template }, reading.into_problems())
}

fn permissions(block: &Value, name: &str, reading: &mut Reading) -> SubjectPermissions {
    let mut subjects = |list: &str| {
        let path = Path::root(name).attr(list);
        let subjects: BTreeSet<String> =
            reading.texts(block.attr(name).attr(list), &path).into_iter().collect();
        for subject in &subjects {
            let tokens = subject.split(' ').next().unwrap_or_default();
            if subject.trim() != subject || tokens.split('.').any(str::is_empty) {
                let detail = format!("`{subject}` has an empty token, or white space at an end.");
                reading.push(Diagnostic::error("Wrong subject", detail).at(path.clone()));
            }
        }
        subjects
    };
    SubjectPermissions { allow: subjects("allow"), deny: subjects("deny") }
}

fn responses(block: &Value, reading: &mut Reading) -> Option<ResponsePermission> {
    if !reading.is_there(block) {
        return None;
    }
    let path = Path::root("allow_responses");
    let max = block.attr("max_messages").as_i64().unwrap_or(1);
    let max_messages = i32::try_from(max).ok().filter(|max| *max == -1 || *max > 0);
    if max_messages.is_none() {
        let detail = format!("Found {max}; allowed are -1 for any number, or a count from 1 on.");
        let problem = Diagnostic::error("Wrong number of answers", detail);
        reading.push(problem.at(path.attr("max_messages")));
    }
    let expires = reading.text::<NatsDuration>(block.attr("expires"), &path.attr("expires"));
    if expires == Some(NatsDuration::from_secs(0)) {
        let problem = Diagnostic::error(
            "No time to answer",
            "Found `0s`; a user that may answer has some time for it.",
        );
        reading.push(problem.at(path.attr("expires")));
    }
    let expires = expires.unwrap_or(NatsDuration::from_secs(120));
    let ttl_ns = i64::try_from(expires.as_duration().as_nanos()).ok()?;
    Some(ResponsePermission { max_messages: max_messages?, ttl_ns })
}

/// State of a user as the claims hold it.
pub(super) fn state(id: &UserId, scope: &UserScope) -> Value {
    let UserTemplate {
        publish, subscribe, allow_responses, max_subscriptions, max_payload, max_data, ..
    } = &scope.template;
    let size = |bytes: &Option<u64>| -> Value {
        bytes.and_then(|bytes| ByteSize::from_bytes(bytes).ok()).map(|size| size.to_string()).into()
    };
    let limited = max_subscriptions.is_some() || max_payload.is_some() || max_data.is_some();
    let limits = Value::object([
        ("subscriptions", (*max_subscriptions).into()),
        ("payload", size(max_payload)),
        ("data", size(max_data)),
    ]);
    Value::object([
        ("id", id.to_string().into()),
        ("account", id.account.to_string().into()),
        ("name", id.user.to_string().into()),
        ("publish", permissions_state(publish)),
        ("subscribe", permissions_state(subscribe)),
        ("allow_responses", allow_responses.as_ref().map_or(Value::Null, responses_state)),
        ("generation", scope.generation.into()),
        ("limits", if limited { limits } else { Value::Null }),
    ])
}

fn permissions_state(permissions: &SubjectPermissions) -> Value {
    let SubjectPermissions { allow, deny } = permissions;
    let set = |subjects: &BTreeSet<String>| {
        if subjects.is_empty() {
            Value::Null
        } else {
            Value::set(subjects.iter().map(|one| one.as_str().into()))
        }
    };
    if allow.is_empty() && deny.is_empty() {
        return Value::Null;
    }
    Value::object([("allow", set(allow)), ("deny", set(deny))])
}

fn responses_state(responses: &ResponsePermission) -> Value {
    let ResponsePermission { max_messages, ttl_ns } = responses;
    let expires = u64::try_from(*ttl_ns).ok().map(Duration::from_nanos);
    let expires = expires.and_then(|expires| NatsDuration::try_from(expires).ok());
    Value::object([
        ("max_messages", i64::from(*max_messages).into()),
        ("expires", expires.map(|expires| expires.to_string()).into()),
    ])
}

#[cfg(test)]
mod tests;
