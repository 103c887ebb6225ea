//! What hosts held in their ledgers when somebody looked: whoever acts on that look later can tell whether others wrote
//! meanwhile. A resource keeps it beside its state, from its refresh to the apply of the plan that was made of it. Must
//! not ask anybody.

use std::collections::BTreeMap;

use host_state::document::ContentHash;
use host_state::{SectionKind, SignedSection};
use identity::HostName;
use serde::{Deserialize, Serialize};
use tfplug::Diagnostic;

use super::join::Joined;
use super::signing::head;

/// When a plan's heads were seen, for [`Heads::not_overtaken`].
pub const PLANNED: &str = "Since this was planned";
/// When the heads were seen of hosts whose lease somebody else held first.
pub const AWAITED: &str = "While their lease was waited for";

/// The newest section of one kind of each host that was looked at; `None` of a host that held none. Hosts that were not
/// looked at are not in it: nothing is known of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    heads: BTreeMap<HostName, Option<ContentHash>>,
}

impl Heads {
    /// Of hosts and the sections in their ledgers.
    pub fn of<'a>(
        hosts: impl IntoIterator<Item = (&'a HostName, &'a [SignedSection])>,
        kind: SectionKind,
    ) -> Heads {
        let content = |sections| head(sections, kind).map(|head| head.header.content.clone());
        Heads { heads: hosts.into_iter().map(|(host, held)| (host.clone(), content(held))).collect() }
    }

    /// To be kept beside a state. Of hosts that were `silent`, what was kept `before` still holds.
    #[must_use]
    pub fn keep<'a>(mut self, before: Heads, silent: impl IntoIterator<Item = &'a HostName>) -> Heads {
        let mut before = before.heads;
        self.heads.extend(silent.into_iter().filter_map(|host| before.remove_entry(host)));
        self
    }

    /// Whether these are still the newest, or what `hosts` hold declares what is `declared`, as a killed run of this
    /// very apply left it. `since` is [`PLANNED`] or [`AWAITED`].
    ///
    /// # Errors
    /// When another declaration came first; the text names each host and who wrote it.
    pub fn not_overtaken(
        &self,
        since: &str,
        hosts: &BTreeMap<HostName, Joined>,
        kind: SectionKind,
        declared: &serde_json::Value,
    ) -> Result<(), Diagnostic> {
        let told = |(host, one): (&HostName, &Joined)| {
            let writer = self.overtaken(host, one.head(kind)?, declared)?;
            Some(format!("`{host}` was told something else by {writer}."))
        };
        let overtaken: Vec<String> = hosts.iter().filter_map(told).collect();
        if overtaken.is_empty() {
            return Ok(());
        }
        Err(Diagnostic::error(
            "Somebody else has changed these hosts",
            format!("{since}:\n{}\nThey are left as they are. Plan again.", overtaken.join("\n")),
        ))
    }

    /// Who wrote `newest`, if it is not what was seen and does not declare what is `declared`.
    fn overtaken<'a>(
        &self,
        host: &HostName,
        newest: &'a SignedSection,
        declared: &serde_json::Value,
    ) -> Option<&'a str> {
        let is_known = self.heads.get(host)?.as_ref() == Some(&newest.header.content);
        let body: serde_json::Value = serde_json::from_str(&newest.body).unwrap_or_default();
        (!is_known && body["declared"] != *declared).then_some(newest.header.writer.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::header;

    fn section(body: &serde_json::Value) -> SignedSection {
        let body = body.to_string();
        let header = header(SectionKind::Cluster, "nats_cluster/east", &body);
        SignedSection { header, body, signature: String::new() }
    }

    fn seen(held: &[SignedSection]) -> Heads {
        Heads::of([(&"east-1".parse().unwrap(), held)], SectionKind::Cluster)
    }

    #[test]
    fn only_another_declaration_overtakes() {
        let staged = section(&json!({ "declared": { "name": "east" } }));
        let released = section(&json!({ "declared": { "name": "east" }, "release": "now" }));
        let other = section(&json!({ "declared": { "name": "west" } }));
        let (host, ours) = ("east-1".parse().unwrap(), json!({ "name": "east" }));
        let overtaken = |before: &[SignedSection], newest| {
            seen(before).overtaken(&host, newest, &ours).map(str::to_owned)
        };
        assert_eq!(overtaken(&[], &staged), None, "what a killed run of the same staged");
        assert_eq!(overtaken(std::slice::from_ref(&staged), &released), None);
        assert_eq!(overtaken(std::slice::from_ref(&other), &other), None, "what was there before is known");
        assert_eq!(overtaken(std::slice::from_ref(&staged), &other), Some("test".to_owned()));
        assert_eq!(overtaken(&[], &other), Some("test".to_owned()));
        assert_eq!(Heads::default().overtaken(&host, &other, &ours), None, "nobody looked at that host");
    }

    #[test]
    fn what_was_kept_of_silent_hosts_holds() {
        let (first, second) = (section(&json!({ "declared": 1 })), section(&json!({ "declared": 2 })));
        let host: HostName = "east-1".parse().unwrap();
        let kept = seen(std::slice::from_ref(&first)).keep(Heads::default(), []);
        assert_eq!(kept, seen(&[first]));
        assert_eq!(Heads::default().keep(kept.clone(), [&host]), kept);
        assert_eq!(Heads::default().keep(kept.clone(), []), Heads::default(), "no host of it any more");
        assert_eq!(seen(std::slice::from_ref(&second)).keep(kept, []), seen(&[second]));
    }
}
