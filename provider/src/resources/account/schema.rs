//! The schema of `nats_account`.

use tfplug::{Attribute, Schema, Type};

use crate::resources::meaning::same_size;
use crate::timeouts::Timeouts;

pub(super) fn schema(timeouts: Timeouts) -> Schema {
    Schema::new(0)
        .description(
            "An account: a separate world of subjects, users and streams. Its identity is derived from the root key and \
             its name and is for ever; its limits and users can change at any time and act at once on every server.",
        )
        .attributes([
            Attribute::string("id")
                .computed()
                .use_state_for_unknown()
                .description("`<authority>/<account>`; also what `terraform import` takes."),
            Attribute::string("system").required().description(
                "Id of the `nats_gateway`, or of the `nats_cluster` where there is only one. Changing it to another \
                 system of the same authority moves nothing: it only gives order.",
            ),
            Attribute::string("name").required().requires_replace().description("Account name, unique in the authority."),
            jetstream(),
            limits(),
            Attribute::number("generation").default(1_u64).description(
                "Count up to rotate the account's signing key: the one before stays valid until the next rotation.",
            ),
            Attribute::bool("deletion_protection")
                .default(true)
                .description("While true, a plan that would delete the account is refused."),
            Attribute::string("public_key")
                .computed()
                .use_state_for_unknown()
                .description("Public key (`A...`); it names the account's directory on the servers' disks."),
            Attribute::list("drift", Type::String).computed().description(
                "Hosts whose server has other claims for this account than declared; apply brings them back.",
            ),
            timeouts.attribute(),
        ])
}

fn jetstream() -> Attribute {
    let size = |name: &str, text: &str| Attribute::string(name).equivalent(same_size).description(text);
    Attribute::object(
        "jetstream",
        [
            size(
                "max_storage",
                "Most bytes in file streams over the whole system, like `50GB`; absent: no limit.",
            ),
            size("max_memory", "Most bytes in memory streams over the whole system; absent: no limit."),
            Attribute::number("max_streams").description("Most streams; absent: no limit."),
            Attribute::number("max_consumers").description("Most consumers; absent: no limit."),
            Attribute::number("max_ack_pending").description("Most unacknowledged messages of one consumer."),
            Attribute::bool("max_bytes_required")
                .default(false)
                .description("Whether every stream must state `max_bytes`."),
        ],
    )
    .description("What it may use of JetStream; absent: no JetStream.")
}

fn limits() -> Attribute {
    Attribute::object(
        "limits",
        [
            Attribute::number("connections").description("Most client connections at once."),
            Attribute::number("leafnode_connections").description("Most leafnode connections at once."),
            Attribute::number("subscriptions").description("Most subscriptions at once."),
            Attribute::string("payload").equivalent(same_size).description("Largest message."),
        ],
    )
    .description("What its users may use together; absent: no limit.")
}
