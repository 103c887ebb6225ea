//! The schema of `nats_stream`.

use tfplug::{Attribute, Schema, Type};

use crate::resources::meaning::{same_duration, same_size};
use crate::timeouts::Timeouts;

pub(super) fn schema(timeouts: Timeouts) -> Schema {
    Schema::new(0)
        .description(
            "A JetStream stream. Everything that the server can edit is updated in place; a replacement, which would \
             delete the messages, states its reason in the plan and is refused while `deletion_protection` is on.",
        )
        .attributes(identity())
        .attributes(storage())
        .attributes(limits())
        .attributes(behaviour())
        .attribute(timeouts.attribute())
}

fn identity() -> Vec<Attribute> {
    vec![
        Attribute::string("id")
            .computed()
            .use_state_for_unknown()
            .description("`<authority>/<account>/<stream>`; also what `terraform import` takes."),
        Attribute::string("account")
            .required()
            .requires_replace()
            .description("Id of the `nats_account` it belongs to."),
        Attribute::string("name").required().requires_replace().description(
            "Stream name, unique in the account: letters, digits, `-` and `_` are safe everywhere; white space, `.`, \
             `*`, `>`, `/` and `\\` are refused.",
        ),
        Attribute::string("description").description("For people. At most 4096 bytes."),
        Attribute::set("subjects", Type::String)
            .required()
            .description("Subjects it stores, with `*` and `>` as wildcards. Shrinking them keeps messages."),
        Attribute::map("metadata", Type::String).description(
            "Keys and values kept with the stream. Keys that begin with `_nats.` or `terraform.` are taken.",
        ),
        Attribute::bool("deletion_protection").default(true).description(
            "While true, a plan that would delete the stream or messages in it is refused.",
        ),
    ]
}

fn storage() -> Vec<Attribute> {
    vec![
        Attribute::string("storage")
            .default("file")
            .description("`file` or `memory`. Cannot be changed in place."),
        Attribute::number("replicas")
            .default(1_u64)
            .description("Servers of one cluster that hold a copy: 1 to 5; 3 survives one lost server."),
        Attribute::object(
            "placement",
            [
                Attribute::string("cluster").description("Cluster that the stream lives in."),
                Attribute::set("tags", Type::String).description("Tags that each of its servers has."),
            ],
        )
        .description(
            "Where it lives; absent: where it was created. A change moves the stream while it serves.",
        ),
        Attribute::string("compression")
            .default("none")
            .description("`none` or `s2`; only for `file` storage."),
    ]
}

fn limits() -> Vec<Attribute> {
    vec![
        Attribute::string("retention").default("limits").description(
            "`limits`, `interest` (until every consumer has it) or `workqueue` (until one has it). To and from \
             `workqueue` cannot be changed in place.",
        ),
        Attribute::string("discard")
            .default("old")
            .description("What gives way when a limit is reached: `old` messages, or the `new` one is refused."),
        Attribute::number("max_messages").description("Most messages; absent: no limit."),
        Attribute::string("max_bytes")
            .equivalent(same_size)
            .description("Most bytes, like `64MB` (binary units); absent: no limit."),
        Attribute::string("max_age")
            .equivalent(same_duration)
            .description("Longest life of a message, like `24h`; absent: no limit."),
        Attribute::string("max_message_size")
            .equivalent(same_size)
            .description("Largest message, like `1MB`; absent: the server's `max_payload`."),
        Attribute::number("max_messages_per_subject").description("Most messages of one subject; absent: no limit."),
        Attribute::number("max_consumers").description("Most consumers; absent: no limit."),
        Attribute::string("duplicate_window").optional().computed().equivalent(same_duration).description(
            "How long a message id is remembered to drop repeats. Absent: `2m`, or `max_age` where that is shorter.",
        ),
    ]
}

fn behaviour() -> Vec<Attribute> {
    let flag = |name: &str, text: &str| Attribute::bool(name).default(false).description(text);
    vec![
        flag("allow_direct", "Whether any replica answers gets, not only the leader."),
        flag("allow_rollup", "Whether a message with the `Nats-Rollup` header replaces what came before it."),
        flag(
            "allow_message_ttl",
            "Whether a message may carry its own time to live. Cannot be switched off in place.",
        ),
        flag("deny_delete", "Whether deleting single messages is refused. Cannot be switched off in place."),
        flag("deny_purge", "Whether purging is refused. Cannot be switched off in place."),
    ]
}
