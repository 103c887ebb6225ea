//! A `nats_user` block into a scope's template, and a scope back into state.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{ResponsePermission, SubjectPermissions, UserName, UserScope, UserTemplate};
use nats_config::{ByteSize, NatsDuration};
use tfplug::{Diagnostics, Path, Value};

use crate::resources::natural_id::{AccountId, UserId};

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
    let mut problems = Diagnostics::new();
    let account = parsed::<AccountId>(block, &Path::root("account"), &mut problems);
    let user = parsed::<UserName>(block, &Path::root("name"), &mut problems);
    let limits = Path::root("limits");
    let template = UserTemplate {
        publish: permissions(block, "publish", &mut problems),
        subscribe: permissions(block, "subscribe", &mut problems),
        allow_responses: responses(block.attr("allow_responses"), &mut problems),
        max_subscriptions: block.attr("limits").attr("subscriptions").as_u64(),
        max_payload: parsed::<ByteSize>(block, &limits.clone().attr("payload"), &mut problems).map(ByteSize::bytes),
        max_data: parsed::<ByteSize>(block, &limits.attr("data"), &mut problems).map(ByteSize::bytes),
        ..UserTemplate::unrestricted()
    };
    let generation = generation(block, &mut problems);
    let id = account.zip(user).map(|(account, user)| UserId { account, user });
    (Declared { id, generation, template }, problems)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    block: &Value,
    path: &Path,
    problems: &mut Diagnostics,
) -> Option<T> {
    let text = block.at(path)?.as_str()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.error_at(path.clone(), format!("`{path}` cannot be read"), format!("{error}."));
            None
        }
    }
}

fn generation(block: &Value, problems: &mut Diagnostics) -> u32 {
    let value = block.attr("generation");
    let generation = value.as_u64().and_then(|generation| u32::try_from(generation).ok());
    if value.as_number().is_some() && generation.is_none_or(|generation| generation == 0) {
        let detail = "A generation is a whole number from 1 on.";
        problems.error_at(Path::root("generation"), "Wrong generation", detail);
    }
    generation.unwrap_or(1)
}

fn permissions(block: &Value, name: &str, problems: &mut Diagnostics) -> SubjectPermissions {
    let subjects = |list: &str| -> BTreeSet<String> {
        block.attr(name).attr(list).elements().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let permissions = SubjectPermissions { allow: subjects("allow"), deny: subjects("deny") };
    for (list, subjects) in [("allow", &permissions.allow), ("deny", &permissions.deny)] {
        for subject in subjects {
            let tokens = subject.split(' ').next().unwrap_or_default().split('.');
            if subject.trim() != subject || tokens.clone().any(str::is_empty) {
                let detail = format!("`{subject}` has an empty token, or white space at an end.");
                problems.error_at(Path::root(name).attr(list), "Wrong subject", detail);
            }
        }
    }
    permissions
}

fn responses(block: &Value, problems: &mut Diagnostics) -> Option<ResponsePermission> {
    if block.is_null() || !block.is_known() {
        return None;
    }
    let path = Path::root("allow_responses");
    let max = block.attr("max_messages").as_i64().unwrap_or(1);
    let max_messages = i32::try_from(max).ok().filter(|max| *max == -1 || *max > 0);
    if max_messages.is_none() {
        let detail = format!("Found {max}; allowed are -1 for any number, or a count from 1 on.");
        problems.error_at(path.clone().attr("max_messages"), "Wrong number of answers", detail);
    }
    let expires = block.attr("expires").as_str().unwrap_or("2m").parse::<NatsDuration>();
    if let Err(error) = &expires {
        problems.error_at(path.attr("expires"), "Wrong duration", format!("{error}."));
    }
    let ttl_ns = i64::try_from(expires.ok()?.as_duration().as_nanos()).ok()?;
    Some(ResponsePermission { max_messages: max_messages?, ttl_ns })
}

/// State of a user as the claims hold it.
pub(super) fn state(id: &UserId, scope: &UserScope) -> Value {
    let UserTemplate { publish, subscribe, allow_responses, max_subscriptions, max_payload, max_data, .. } =
        &scope.template;
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
        if subjects.is_empty() { Value::Null } else { Value::set(subjects.iter().map(|one| one.as_str().into())) }
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
