//! Whether sections are taken in: signature, then whose they are and what they follow, then what they say.
//!
//! All of it happens before anything is written. Several sections are taken in together or not at all.

use data_encoding::BASE64;
use host_state::admission::{Admission, Bound, Refusal, admit};
use host_state::document::{
    ClaimEntry, ClaimsSection, ClusterSection, GatewaySection, ParseError, SECTION_DOMAIN,
};
use host_state::{SectionKind, SignedSection};
use identity::{Jwt, Trust, decode_account};

use super::claim::ClaimRecord;
use super::ledger::{Contents, SectionEntry};
use super::target::{Target, Which};
use crate::roles::ApplierError;

/// Why sections were not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Not signed by the authority.
    #[error("the `{section}` section is not signed by authority `{authority}`, which this host belongs to")]
    Signature {
        /// Which section.
        section: SectionKind,
        /// The authority.
        authority: String,
    },
    /// Two of one kind.
    #[error("two `{section}` sections came at once")]
    Twice {
        /// Which section.
        section: SectionKind,
    },
    /// Not addressed to this host, or not the next one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The body.
    #[error(transparent)]
    Body(#[from] ParseError),
    /// The content breaks rules.
    #[error("the `{section}` section cannot be used: {}", problems.join("; "))]
    Rules {
        /// Which section.
        section: SectionKind,
        /// All of them.
        problems: Vec<String>,
    },
}

impl From<AdmitError> for ApplierError {
    fn from(error: AdmitError) -> ApplierError {
        let text = host_state::chain(&error);
        match error {
            AdmitError::Refused(
                Refusal::Owner { .. }
                | Refusal::Older { .. }
                | Refusal::Rewritten { .. }
                | Refusal::Fork { .. },
            ) => ApplierError::Conflict(text),
            AdmitError::Refused(
                Refusal::Authority { .. }
                | Refusal::Host { .. }
                | Refusal::Claim { .. }
                | Refusal::BoundClaims
                | Refusal::Zero { .. }
                | Refusal::Kind { .. },
            )
            | AdmitError::Signature { .. }
            | AdmitError::Twice { .. }
            | AdmitError::Body(_)
            | AdmitError::Rules { .. } => ApplierError::InvalidDocument(text),
        }
    }
}

/// Sections that may be taken in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The ledger as it is to be.
    pub contents: Contents,
    /// Kinds that are new in it.
    pub new: Vec<SectionKind>,
}

/// The authority's public side that sections are verified by: that of the newest `cluster` section, which an older
/// key signed, or that of the claim.
#[must_use]
pub(super) fn current_trust(claim: &ClaimRecord, contents: &Contents) -> Trust {
    let newest = contents.cluster.as_ref().and_then(|entry| {
        let cluster = entry.accepted.body::<ClusterSection>().ok()?;
        serde_json::from_value::<Trust>(cluster.trust).ok()
    });
    newest.filter(|trust| trust.operator == claim.trust.operator).unwrap_or_else(|| claim.trust.clone())
}

/// Takes `sections` into a copy of the ledger. Changes nothing.
///
/// # Errors
/// [`AdmitError`]: the first section that is refused, with all rules that its content breaks.
pub(super) fn take_in(
    claim: &ClaimRecord,
    contents: &Contents,
    sections: &[SignedSection],
) -> Result<Admitted, AdmitError> {
    let trust = current_trust(claim, contents);
    let bound = Bound { authority: trust.operator.as_str(), host: &claim.host, claim_id: &claim.claim_id };
    let mut admitted = Admitted { contents: contents.clone(), new: Vec::new() };
    let mut seen = Vec::new();
    for section in sections {
        let kind = section.header.section;
        if seen.contains(&kind) {
            return Err(AdmitError::Twice { section: kind });
        }
        seen.push(kind);
        verify(&trust, section)?;
        let entry = contents.entry(kind);
        if admit(&bound, entry.map(|entry| &entry.accepted.header), &section.header)? == Admission::Same {
            continue;
        }
        check_content(claim, &trust, entry, section)?;
        admitted.contents.replace(kind, SectionEntry::accepting(entry, section.clone()));
        admitted.new.push(kind);
    }
    check_lineage(&admitted)?;
    Ok(admitted)
}

/// Takes in a claims section that a peer had: like any other, but generations that this host missed are no fork, for
/// the claims of an authority are one line that every host follows. `None` when it is not newer.
///
/// # Errors
/// As [`take_in`].
pub(super) fn take_peer_claims(
    claim: &ClaimRecord,
    contents: &Contents,
    section: &SignedSection,
) -> Result<Option<Contents>, AdmitError> {
    let head = contents.claims.as_ref().map(|entry| &entry.accepted.header);
    if head.is_some_and(|head| head.generation >= section.header.generation) {
        return Ok(None);
    }
    let Admitted { contents, new } = take_in(claim, contents, std::slice::from_ref(section))?;
    Ok((!new.is_empty()).then_some(contents))
}

fn verify(trust: &Trust, section: &SignedSection) -> Result<(), AdmitError> {
    let kind = section.header.section;
    let refused = || AdmitError::Signature { section: kind, authority: trust.authority.to_string() };
    let signature = BASE64.decode(section.signature.as_bytes()).map_err(|_| refused())?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| refused())?;
    let is_signed = trust.verify_document(SECTION_DOMAIN, &section.header.signed_bytes(), &signature);
    if is_signed { Ok(()) } else { Err(refused()) }
}

fn check_content(
    claim: &ClaimRecord,
    trust: &Trust,
    before: Option<&SectionEntry>,
    section: &SignedSection,
) -> Result<(), AdmitError> {
    let kind = section.header.section;
    let problems = match kind {
        SectionKind::Cluster => super::rules::cluster(claim, trust, &section.body::<ClusterSection>()?),
        SectionKind::Gateway => {
            section.body::<GatewaySection>()?;
            Vec::new()
        }
        SectionKind::Claims => {
            let before = before.map(|entry| entry.accepted.body::<ClaimsSection>()).transpose()?;
            claims_problems(trust, before.as_ref(), &section.body::<ClaimsSection>()?)
        }
    };
    if problems.is_empty() { Ok(()) } else { Err(AdmitError::Rules { section: kind, problems }) }
}

/// Every account's JWT is signed by the operator, for that account, and of the time that stands beside it. What the claims
/// `before` hold was checked when they came: with hundreds of accounts a change of one would cost seconds otherwise.
fn claims_problems(trust: &Trust, before: Option<&ClaimsSection>, claims: &ClaimsSection) -> Vec<String> {
    let is_known = |account: &String, entry: &ClaimEntry| {
        before.and_then(|before| before.accounts.get(account)).is_some_and(|kept| kept == entry)
    };
    let problem = |(account, entry): (&String, &ClaimEntry)| {
        let name = &entry.name;
        let jwt: Jwt = match entry.jwt.parse() {
            Ok(jwt) => jwt,
            Err(error) => return Some(format!("the JWT of account `{name}` cannot be read: {error}")),
        };
        match decode_account(&jwt, trust) {
            Err(error) => {
                Some(format!("the JWT of account `{name}` is refused: {}", host_state::chain(&error)))
            }
            Ok(decoded) if decoded.claims.key.as_str() != account => {
                Some(format!("the JWT of account `{name}` is for the account key `{}`", decoded.claims.key))
            }
            Ok(decoded) if decoded.issued_at != entry.issued_at => Some(format!(
                "the JWT of account `{name}` was issued at {}, the section says {}",
                decoded.issued_at, entry.issued_at
            )),
            Ok(_) => None,
        }
    };
    claims.accounts.iter().filter(|(account, entry)| !is_known(account, entry)).filter_map(problem).collect()
}

/// A host whose meta group has formed is released into no other one: groups that meet delete each other's streams.
fn check_lineage(admitted: &Admitted) -> Result<(), AdmitError> {
    let facts = &admitted.contents.facts;
    let Some(target) = Target::of(&admitted.contents, Which::Accepted)? else { return Ok(()) };
    let host_state::desired::Run::Released(release) = target.run() else { return Ok(()) };
    match &facts.meta_lineage {
        Some(known) if facts.formed && *known != release.meta_lineage => {
            let section =
                if target.cluster.gateway.is_some() { SectionKind::Gateway } else { SectionKind::Cluster };
            let problem = format!(
                "it releases this host into the meta group `{}`, but its data belongs to the formed group `{known}`; \
                 formed systems are never merged",
                release.meta_lineage
            );
            Err(AdmitError::Rules { section, problems: vec![problem] })
        }
        _ => Ok(()),
    }
}
