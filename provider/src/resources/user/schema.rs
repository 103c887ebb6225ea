//! The schema of `nats_user`.

use tfplug::{Attribute, Schema, Type};

use crate::resources::meaning::{same_duration, same_size};

pub(super) fn schema() -> Schema {
    Schema::new(0)
        .description(
            "A user: a scope in its account's claims. Its credentials are minted under it, as many as needed, by the \
             ephemeral resource `nats_user_credentials` or by `nats-agent creds`; none is in state. Changing or \
             destroying it acts at once on every credential ever handed out, on live connections too.",
        )
        .attributes([
            Attribute::string("id")
                .computed()
                .use_state_for_unknown()
                .description("`<authority>/<account>/<user>`; also what `terraform import` takes."),
            Attribute::string("account")
                .required()
                .requires_replace()
                .description("Id of the `nats_account` it belongs to."),
            Attribute::string("name").required().requires_replace().description("User name, unique in the account."),
            permissions("publish", "Subjects it may publish to; absent: all of the account."),
            permissions("subscribe", "Subjects it may subscribe to; absent: all of the account."),
            Attribute::object(
                "allow_responses",
                [
                    Attribute::number("max_messages")
                        .default(1_u64)
                        .description("Answers to one request; -1 for any number."),
                    Attribute::string("expires")
                        .default("2m")
                        .equivalent(same_duration)
                        .description("How long after a request it may answer."),
                ],
            )
            .description("Lets it answer requests on reply subjects that it may not publish to otherwise."),
            Attribute::number("generation").default(1_u64).description(
                "Count up to refuse every credential handed out so far; new ones are minted under the new generation.",
            ),
            Attribute::object(
                "limits",
                [
                    Attribute::number("subscriptions").description("Most subscriptions of one connection."),
                    Attribute::string("payload").equivalent(same_size).description("Largest message."),
                    Attribute::string("data").equivalent(same_size).description("Most bytes of data."),
                ],
            )
            .description("What it may use; absent: no limit within its account."),
        ])
}

fn permissions(name: &str, text: &str) -> Attribute {
    Attribute::object(
        name,
        [
            Attribute::set("allow", Type::String).description("Only these, where set."),
            Attribute::set("deny", Type::String).description("Never these; wins over `allow`."),
        ],
    )
    .description(text)
}
