//! What a change of a stream costs: which changes the server refuses in place, and which delete messages. Pure.

use crate::jetstream::{StreamInfo, StreamSettings};

/// Why a change needs a new stream: attribute and reason. Empty when it can be done in place.
/// Source: nats-server 2.15.1 server/stream.go `configUpdateCheck`, each tried on the server.
pub(super) fn replacements(prior: &StreamSettings, next: &StreamSettings) -> Vec<(&'static str, String)> {
    let mut reasons = Vec::new();
    let mut because = |attribute, reason: String| reasons.push((attribute, reason));
    if prior.storage != next.storage {
        because("storage", format!("storage cannot change from `{}` to `{}`", prior.storage, next.storage));
    }
    let queue = |settings: &StreamSettings| settings.retention == "workqueue";
    if queue(prior) != queue(next) {
        let (from, to) = (&prior.retention, &next.retention);
        because("retention", format!("retention cannot change from `{from}` to `{to}`"));
    }
    let switched_off = [
        ("allow_message_ttl", prior.allow_message_ttl, next.allow_message_ttl),
        ("deny_delete", prior.deny_delete, next.deny_delete),
        ("deny_purge", prior.deny_purge, next.deny_purge),
    ];
    for (attribute, before, after) in switched_off {
        if before && !after {
            because(attribute, format!("`{attribute}` cannot be switched off"));
        }
    }
    reasons
}

/// What an update in place would delete at once, in words; `info` is the stream as it is now.
pub(super) fn losses(prior: &StreamSettings, next: &StreamSettings, info: &StreamInfo) -> Vec<String> {
    let StreamInfo { messages, bytes, .. } = info;
    let mut losses = Vec::new();
    if let Some(limit) = lowered(prior.max_messages, next.max_messages)
        && *messages > limit
    {
        losses.push(format!("`max_messages` = {limit} deletes {} of {messages} messages", messages - limit));
    }
    if let Some(limit) =
        lowered(prior.max_bytes.map(|size| size.bytes()), next.max_bytes.map(|size| size.bytes()))
        && *bytes > limit
    {
        losses.push(format!(
            "`max_bytes` below the {bytes} bytes in use deletes the oldest of {messages} messages"
        ));
    }
    if *messages > 0 {
        if let Some(limit) = lowered(prior.max_messages_per_subject, next.max_messages_per_subject) {
            losses.push(format!(
                "`max_messages_per_subject` = {limit} deletes older ones of {messages} messages"
            ));
        }
        let age = |settings: &StreamSettings| settings.max_age.map(|age| age.as_duration().as_nanos());
        if let (Some(age), Some(_)) = (next.max_age, lowered(age(prior), age(next))) {
            losses.push(format!("`max_age` = `{age}` deletes those of {messages} messages that are older"));
        }
        if prior.retention == "limits" && next.retention == "interest" {
            losses.push(format!(
                "`retention` = `interest` deletes those of {messages} messages that no consumer awaits"
            ));
        }
    }
    losses
}

/// Whether anything in the change could delete messages, for when no server can be asked.
pub(super) fn may_lose(prior: &StreamSettings, next: &StreamSettings) -> bool {
    let full = StreamInfo { config: serde_json::Map::new(), messages: u64::MAX, bytes: u64::MAX };
    !losses(prior, next, &full).is_empty()
}

/// The new limit where it is stricter than the old one; absent means no limit.
fn lowered<T: PartialOrd + Copy>(before: Option<T>, after: Option<T>) -> Option<T> {
    after.filter(|after| before.is_none_or(|before| *after < before))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn stream(settings: Value) -> StreamSettings {
        let mut config = json!({"name": "ORDERS", "subjects": ["orders.>"]}).as_object().cloned().unwrap();
        config.extend(settings.as_object().cloned().unwrap());
        StreamSettings::from_json(&config).unwrap()
    }

    fn check_replacement(from: Value, to: Value, expected: &[&str]) {
        let reasons = replacements(&stream(from), &stream(to));
        assert_eq!(reasons.iter().map(|(attribute, _)| *attribute).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_what_the_server_cannot_edit_replaces() {
        check_replacement(json!({}), json!({"storage": "memory"}), &["storage"]);
        check_replacement(json!({}), json!({"retention": "interest"}), &[]);
        check_replacement(
            json!({"retention": "interest"}),
            json!({"retention": "workqueue"}),
            &["retention"],
        );
        check_replacement(json!({"deny_purge": true}), json!({}), &["deny_purge"]);
        check_replacement(json!({}), json!({"allow_msg_ttl": true}), &[]);
        check_replacement(json!({"allow_msg_ttl": true}), json!({}), &["allow_message_ttl"]);
        check_replacement(json!({"num_replicas": 1}), json!({"num_replicas": 3}), &[]);
    }

    fn check_loss(from: Value, to: Value, expected: &[&str]) {
        let info = StreamInfo { config: Map::new(), messages: 10, bytes: 1000 };
        assert_eq!(losses(&stream(from.clone()), &stream(to.clone()), &info), expected);
        assert!(expected.is_empty() || may_lose(&stream(from), &stream(to)));
    }

    #[test]
    fn stricter_limits_are_counted_and_looser_ones_are_not() {
        check_loss(json!({}), json!({"max_msgs": 4}), &["`max_messages` = 4 deletes 6 of 10 messages"]);
        check_loss(json!({"max_msgs": 4}), json!({"max_msgs": 5}), &[]);
        check_loss(json!({"max_msgs": 4}), json!({}), &[]);
        check_loss(json!({}), json!({"max_msgs": 10}), &[]);
        check_loss(
            json!({}),
            json!({"max_bytes": 10}),
            &["`max_bytes` below the 1000 bytes in use deletes the oldest of 10 messages"],
        );
        check_loss(
            json!({"max_age": 10_000_000_000_u64}),
            json!({"max_age": 5_000_000_000_u64}),
            &["`max_age` = `5s` deletes those of 10 messages that are older"],
        );
        check_loss(
            json!({}),
            json!({"retention": "interest"}),
            &["`retention` = `interest` deletes those of 10 messages that no consumer awaits"],
        );
    }
}
