//! What others wrote while a lease was waited for. Must not ask anybody.

use std::collections::BTreeMap;

use host_state::{SectionKind, SignedSection};
use identity::HostName;
use tfplug::Diagnostic;

use crate::rollout::join::Joined;

/// Whether hosts that were seen `before` a lease was waited for are still to be told of what is `declared`: what others
/// wrote meanwhile into sections of `kind` must declare the same, as a killed run of this very apply does.
///
/// # Errors
/// When another declaration came first; the text names each host and who wrote it.
pub fn not_overtaken(
    before: &BTreeMap<HostName, Joined>,
    after: &BTreeMap<HostName, Joined>,
    kind: SectionKind,
    declared: &serde_json::Value,
) -> Result<(), Diagnostic> {
    let told = |(host, one): (&HostName, &Joined)| {
        let writer = overtaken(before.get(host)?.head(kind), one.head(kind), declared)?;
        Some(format!("`{host}` was told something else by {writer}."))
    };
    let overtaken: Vec<String> = after.iter().filter_map(told).collect();
    if overtaken.is_empty() {
        return Ok(());
    }
    Err(Diagnostic::error(
        "Somebody else has changed these hosts",
        format!(
            "While their lease was waited for:\n{}\nNothing was changed by this run. Plan again.",
            overtaken.join("\n")
        ),
    ))
}

/// Who wrote a section that is newer than `before` and does not declare what is `declared`; absent when nobody did.
fn overtaken<'a>(
    before: Option<&SignedSection>,
    after: Option<&'a SignedSection>,
    declared: &serde_json::Value,
) -> Option<&'a str> {
    let newest = after?;
    let is_known = before.is_some_and(|before| before.header.content == newest.header.content);
    let body: serde_json::Value = serde_json::from_str(&newest.body).unwrap_or_default();
    (!is_known && body["declared"] != *declared).then_some(newest.header.writer.as_str())
}

#[cfg(test)]
mod tests {
    use host_state::document::{ContentHash, SectionHeader};
    use serde_json::json;

    use super::*;

    fn section(body: &serde_json::Value) -> SignedSection {
        let body = body.to_string();
        let header = SectionHeader {
            authority: "acme".to_owned(),
            section: SectionKind::Cluster,
            owner: "nats_cluster/east".to_owned(),
            host: None,
            claim_id: None,
            generation: 1,
            parent: None,
            content: ContentHash::of(&body),
            document_key: 1,
            writer: "somebody".to_owned(),
        };
        SignedSection { header, body, signature: String::new() }
    }

    #[test]
    fn only_another_declaration_overtakes() {
        let staged = section(&json!({ "declared": { "name": "east" } }));
        let released = section(&json!({ "declared": { "name": "east" }, "release": "now" }));
        let other = section(&json!({ "declared": { "name": "west" } }));
        let ours = json!({ "name": "east" });
        assert_eq!(overtaken(None, None, &ours), None);
        assert_eq!(overtaken(None, Some(&staged), &ours), None, "what a killed run of the same staged");
        assert_eq!(overtaken(Some(&staged), Some(&released), &ours), None);
        assert_eq!(overtaken(Some(&other), Some(&other), &ours), None, "what was there before is known");
        assert_eq!(overtaken(Some(&staged), Some(&other), &ours), Some("somebody"));
        assert_eq!(overtaken(None, Some(&other), &ours), Some("somebody"));
    }
}
