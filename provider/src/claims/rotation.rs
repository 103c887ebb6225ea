//! What a rotation would leave untrusted is signed anew before it reaches the hosts.
//!
//! Two generations of a key are trusted together. Claims that were signed once and never changed are as old as that: the
//! rotation after the next would end the key that signed them, and with it every account on every server. So before hosts
//! are told of new generations, the claims are signed as an authority of those signs: by the generations before, which
//! hosts trust already.

use std::collections::BTreeSet;

use host_state::document::ClaimsSection;
use host_state::merge::{ClaimChange, merge_claims, next_issued_at};
use identity::{Authority, Generations, HostName, Trust, decode_account};
use tfplug::{Diagnostic, Diagnostics};

use super::newest::Head;
use super::writer::ClaimsWriter;

impl ClaimsWriter {
    /// Makes sure that everything in the claims is signed by keys that `next` trusts. Nothing is written while that is
    /// so, which is always before the third generation of a key. Warnings name hosts that do not have them yet. Hosts
    /// `without` a say in it are neither asked nor told.
    ///
    /// May be repeated; a crash half-way leaves claims that hosts take from each other.
    ///
    /// # Errors
    /// When the claims cannot be read or written; then `next` must not reach any host.
    pub async fn keep_trusted(
        &self,
        next: &Authority,
        without: &BTreeSet<HostName>,
    ) -> Result<Diagnostics, Diagnostic> {
        let Generations { operator_signing, document, .. } = next.generations();
        if operator_signing.max(document) < 3 {
            return Ok(Diagnostics::new());
        }
        self.rewrite(next, without, |head, current, now| match head {
            Some(head) => signed_anew(head, next, current, now),
            None => Ok(None),
        })
        .await
    }
}

/// The claims with every JWT signed anew that `next` would not trust; absent when `next` trusts them and their own
/// signature.
fn signed_anew(
    head: &Head,
    next: &Authority,
    current: &Trust,
    now: i64,
) -> Result<Option<ClaimsSection>, Diagnostic> {
    let trust = next.trust();
    let mut section = head.section.clone();
    for (account, entry) in &head.section.accounts {
        let jwt = entry.jwt.parse().map_err(|why| unsigned(&why))?;
        let decoded = decode_account(&jwt, current).map_err(|why| unsigned(&why))?;
        if trust.operator_signing_keys.contains(&decoded.issuer) {
            continue;
        }
        let issued_at = next_issued_at(Some(&section), account, now);
        let jwt = next.account_jwt(&decoded.claims, issued_at).map_err(|why| unsigned(&why))?;
        let mut entry = entry.clone();
        (entry.jwt, entry.issued_at) = (jwt.to_string(), issued_at);
        let change = ClaimChange { account: account.clone(), entry };
        section = merge_claims(Some(&section), change).map_err(|why| unsigned(&why))?;
    }
    let is_signature_kept = head.header.document_key >= next.generations().previous().document;
    Ok((section != head.section || !is_signature_kept).then_some(section))
}

fn unsigned(why: &(dyn std::error::Error + 'static)) -> Diagnostic {
    Diagnostic::error(
        "The claims cannot be signed for the next generation of keys",
        format!("{}. No host was told of the new generations.", host_state::chain(why)),
    )
}

#[cfg(test)]
mod tests {
    use host_state::SectionKind;
    use host_state::document::{SectionHeader, canonical};
    use identity::{AccountLimits, Jwt};

    use super::*;
    use crate::claims::edit::{Account, Edit, Wanted, revise};
    use crate::testing::header;

    const ROOT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn authority(operator_signing: u32, document: u32) -> Authority {
        let generations = Generations { operator_signing, document, ..Generations::default() };
        Authority::derive(&ROOT.parse().unwrap(), "acme".parse().unwrap(), generations).unwrap()
    }

    fn head(authority: &Authority) -> Head {
        let edits = ["orders", "billing"].map(|name| {
            let claims = authority.account_claims(name.parse().unwrap(), AccountLimits::unlimited());
            let account = Account { claims, declared: serde_json::Value::Null };
            Edit::new(name.parse().unwrap(), move |_| Ok(Wanted::Account(Box::new(account.clone()))))
        });
        let gone = Edit::new("billing".parse().unwrap(), |_| Ok(Wanted::Tombstone));
        let section = revise(authority, None, &edits, 1000).section.unwrap();
        let section = revise(authority, Some(&section), &[gone], 2000).section.unwrap();
        let header = SectionHeader {
            authority: authority.trust().operator.to_string(),
            generation: 2,
            document_key: authority.generations().document,
            ..header(SectionKind::Claims, "nats_authority/acme", &canonical(&section))
        };
        Head { header, section, is_forked: false }
    }

    fn anew(head: &Head, current: (u32, u32), next: (u32, u32)) -> Option<ClaimsSection> {
        let [current, next] = [current, next].map(|(o, d)| authority(o, d));
        signed_anew(head, &next, &current.trust(), 3000).unwrap()
    }

    #[test]
    fn what_the_next_generation_trusts_is_left_alone() {
        let head = head(&authority(1, 1));
        assert_eq!(anew(&head, (1, 1), (2, 2)), None);
    }

    #[test]
    fn what_it_would_not_trust_is_signed_by_the_generation_before_it() {
        let head = head(&authority(1, 1));
        let section = anew(&head, (2, 1), (3, 1)).unwrap();
        let (before, after) = (authority(2, 1).trust(), authority(3, 1).trust());
        for (account, entry) in &section.accounts {
            let jwt: Jwt = entry.jwt.parse().unwrap();
            let old: Jwt = head.section.accounts[account].jwt.parse().unwrap();
            let same = decode_account(&old, &before).unwrap().claims;
            for trust in [&before, &after] {
                assert_eq!(decode_account(&jwt, trust).unwrap().claims, same);
            }
            assert!(decode_account(&old, &after).is_err());
            assert!(entry.issued_at > head.section.accounts[account].issued_at);
        }
    }

    #[test]
    fn an_old_signature_alone_is_renewed_over_the_same_claims() {
        let head = head(&authority(1, 1));
        assert_eq!(anew(&head, (1, 2), (1, 3)), Some(head.section.clone()));
    }
}
