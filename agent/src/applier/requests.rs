//! What callers ask of a host: a claim, an apply, a preview, newer claims. Each change takes the work lock.

use std::collections::{BTreeMap, BTreeSet};

use host_state::audit::{Ended, Occasion, What, Who, clip};
use host_state::document::{ClaimsSection, ParseError};
use host_state::report::Outcome;
use host_state::{Plan, SectionKind, SignedSection};

use super::OpenError;
use super::admit::{self, Admitted, take_in};
use super::candidate::Goal;
use super::claim::{self, ClaimRecord, EnrollmentFile};
use super::events::Events;
use super::files::FileError;
use super::host::{Host, now, now_ms};
use super::lease;
use super::ledger::{ConfirmedMark, Contents, Kept, SectionEntry};
use super::target::{Target, Which};
use crate::parts::tls::{Leaf, LeafError, Material};
use crate::roles::{ApplierError, ApplyMode, ApplyOrder, Caller, NewClaim};

impl Host {
    /// What follows from a claim that is kept: a burnt token, a certificate.
    pub(super) fn after_claim(&self, record: &ClaimRecord, leaf: Option<Leaf>) -> Result<(), OpenError> {
        let seen = claim::read_enrollment(&self.effects, self.state_dir(), now().unix_timestamp())?;
        if matches!(seen, EnrollmentFile::Open { .. } | EnrollmentFile::Expired { .. }) {
            claim::burn(&self.effects, self.state_dir(), &record.host, record.generation)?;
        }
        let leaf = match leaf {
            Some(leaf) => leaf,
            None => {
                let leaf = claimed_material(record).mint(&self.secret, now())?;
                let announced = self.audit.announce_anyway(What::Certificate { leaf: leaf.fingerprint() });
                announced.ended(leaf.write(&self.effects, self.state_dir()))?;
                leaf
            }
        };
        self.serve_leaf(&leaf);
        Ok(())
    }

    pub(super) fn claimed(&self) -> Result<ClaimRecord, ApplierError> {
        match claim::read(self.state_dir()) {
            Kept::Valid(record) => Ok(record),
            Kept::Missing => Err(ApplierError::NotClaimed("this host is not claimed".to_owned())),
            Kept::Unreadable { reason } => {
                Err(ApplierError::NotClaimed(format!("the claim of this host cannot be read: {reason}")))
            }
        }
    }

    pub(super) fn contents(&self) -> Result<Contents, ApplierError> {
        self.ledger.read().map_err(|unreadable| ApplierError::Frozen(unreadable.to_string()))
    }

    fn take_in(&self, sections: &[SignedSection]) -> Result<(ClaimRecord, Admitted), ApplierError> {
        let record = self.claimed()?;
        let admitted = take_in(&record, &self.contents()?, sections)?;
        Ok((record, admitted))
    }

    /// Whether the caller may change this host: with the lease, or in what needs none.
    fn check_lease(&self, order: &ApplyOrder, contents: &Contents) -> Result<(), ApplierError> {
        let is_released = Target::of(contents, Which::Confirmed)
            .ok()
            .flatten()
            .is_some_and(|target| matches!(target.run(), host_state::desired::Run::Released(_)));
        if is_claims_only(order) || (order.mode == ApplyMode::Stage && !is_released) {
            return Ok(());
        }
        let current = lease::current(self.state_dir());
        if host_state::lease::is_held_by(current.as_ref(), &order.lease_id, now_ms()) {
            return Ok(());
        }
        let text = match current.filter(|lease| lease.expires_ms > now_ms()) {
            Some(lease) => format!("{} holds the lease of this host", lease.holder),
            None => "the lease of this host ran out or was never taken; take it and try again".to_owned(),
        };
        Err(ApplierError::Leased(text))
    }

    /// A caller in the audit log's words, with the name of whoever holds the lease it shows or has signed what it sent.
    fn who(&self, caller: &Caller, order: &ApplyOrder) -> Who {
        let lease = lease::current(self.state_dir()).filter(|lease| lease.lease_id == order.lease_id);
        let writer = lease.map(|lease| lease.holder);
        let signer = || order.sections.first().map(|section| section.header.writer.clone());
        let Caller { role, serial, opened_ms: _ } = caller;
        let writer = clip(&writer.or_else(signer).unwrap_or_default());
        Who::Caller { role: role.to_string(), serial: serial.clone(), writer }
    }

    pub(super) async fn apply(
        &self,
        order: ApplyOrder,
        caller: &Caller,
        events: &Events,
    ) -> Result<Outcome, ApplierError> {
        let _work = self.work().await;
        let _acting = self.audit.acting(self.who(caller, &order));
        let (record, mut admitted) = self.take_in(&order.sections)?;
        self.check_lease(&order, &self.contents()?)?;
        if order.mode == ApplyMode::Roll && !is_claims_only(&order) {
            self.end_unconfirmed().await?;
            if self.is_interrupted() {
                self.end_interrupted().await.map_err(|reason| {
                    ApplierError::Failed(format!("an earlier change could not be ended: {reason}"))
                })?;
                admitted = self.take_in(&order.sections)?.1;
            }
        }
        let Admitted { contents, new } = admitted;
        if is_claims_only(&order) && order.mode == ApplyMode::Roll {
            self.forget_notes();
            let written = contents.claims.as_ref().map(written).transpose()?.unwrap_or_default();
            return self.bring_claims(contents, &new, &written, events).await;
        }
        self.end_left_trial().await;
        let goal = match order.mode {
            ApplyMode::Stage => Goal::Stage,
            ApplyMode::Roll => Goal::Roll,
        };
        self.forget_notes();
        let outcome = self.bring(contents, &new, goal, events).await?;
        // A newer cluster section may carry newer keys of the authority.
        if new.contains(&SectionKind::Cluster) && !matches!(outcome, Outcome::Refused { .. }) {
            let trust = admit::current_trust(&record, &self.contents()?);
            self.publish_claim(&record, trust);
        }
        Ok(outcome)
    }

    pub(super) async fn bind(&self, claim: NewClaim) -> Result<(), ApplierError> {
        let _work = self.work().await;
        let failed = |error: &dyn std::error::Error| ApplierError::Failed(host_state::chain(error));
        let NewClaim { generation, claim_id, trust, issuer_pem, names } = claim;
        let _acting = self.audit.acting(Who::Token { generation });
        let issuer = issuer_pem.parse();
        let issuer = issuer.map_err(|error: identity::CertificatePemError| {
            ApplierError::InvalidDocument(host_state::chain(&error))
        })?;
        let record = ClaimRecord { host: names.host.to_string(), generation, claim_id, trust, issuer, names };
        match claim::read(self.state_dir()) {
            Kept::Valid(kept) if kept == record => return Ok(()),
            Kept::Valid(kept) => {
                let text = format!("this host is claimed already by authority `{}`", kept.trust.authority);
                return Err(ApplierError::Conflict(text));
            }
            Kept::Unreadable { reason } => {
                return Err(ApplierError::NotClaimed(format!(
                    "the claim of this host cannot be read: {reason}"
                )));
            }
            Kept::Missing => {}
        }
        let seen = claim::read_enrollment(&self.effects, self.state_dir(), now().unix_timestamp());
        check_enrollment(&record, &seen.map_err(|error| failed(&error))?)?;
        let material = claimed_material(&record);
        let invalid = |error: LeafError| ApplierError::InvalidDocument(host_state::chain(&error));
        material.verify().map_err(invalid)?;
        let leaf = material.mint(&self.secret, now()).map_err(invalid)?;
        let announced = self.audit.announce(What::Claimed {
            host: record.host.clone(),
            authority: record.trust.operator.to_string(),
            generation,
            claim_id: record.claim_id.clone(),
        })?;
        let kept = leaf.write(&self.effects, self.state_dir());
        let kept = kept.and_then(|()| Ok(claim::write(&self.effects, self.state_dir(), &record)?));
        if let Err(error) = kept {
            return announced.ended(Err(error)).map_err(|error| failed(&error));
        }
        // The claim shuts the door already; a token that could not be burnt is burnt by the next start.
        if let Err(error) = claim::burn(&self.effects, self.state_dir(), &record.host, record.generation) {
            tracing::warn!(error = host_state::chain(&error), "the used token is still on disk");
        }
        announced.end(Ended::Done);
        self.serve_leaf(&leaf);
        let trust = record.trust.clone();
        self.publish_claim(&record, trust);
        Ok(())
    }

    pub(super) async fn take_claims(&self, section: SignedSection) -> Result<bool, ApplierError> {
        let _work = self.work().await;
        let _acting = self.audit.acting_by_itself(Occasion::Peers);
        if section.header.section != SectionKind::Claims {
            let text = format!("expected a `claims` section, found `{}`", section.header.section);
            return Err(ApplierError::InvalidDocument(text));
        }
        let record = self.claimed()?;
        let contents = self.contents()?;
        let admitted = admit::take_peer_claims(&record, &contents, &section)?;
        let Some(contents) = admitted else { return Ok(false) };
        // A peer may be behind as well, so nothing counts as just written.
        self.bring_claims(contents, &[SectionKind::Claims], &BTreeSet::new(), &Events::default()).await?;
        Ok(true)
    }

    /// Keeps the claims in `contents`, if they are `new`, and brings the server's accounts to them; one that has them
    /// already is looked at again, for its accounts may have drifted.
    ///
    /// Touches nothing else: sections that are staged stay staged. Who writes an account holds no lease, and when a
    /// server restarts is its conductor's to say.
    async fn bring_claims(
        &self,
        mut contents: Contents,
        new: &[SectionKind],
        written: &BTreeSet<String>,
        events: &Events,
    ) -> Result<Outcome, ApplierError> {
        let failed = |error: FileError| ApplierError::Failed(host_state::chain(&error));
        self.accept(&contents, new)?;
        let Some(entry) = &contents.claims else { return Ok(Outcome::Staged) };
        if entry.confirmed != ConfirmedMark::Accepted {
            let marks = vec![(SectionKind::Claims, entry.accepted.header.content.clone())];
            let announced = self.audit.announce(What::Confirmed { sections: marks.clone() })?;
            announced.ended(self.mark_confirmed(&mut contents, &marks)).map_err(failed)?;
        }
        let target = Target::of(&contents, Which::Confirmed).ok().flatten();
        match target.filter(|_| self.running_server().is_some()) {
            Some(target) => {
                self.converge_claims(&target, &contents.facts, written, events).await;
                Ok(Outcome::Confirmed)
            }
            None => Ok(Outcome::Staged),
        }
    }

    pub(super) async fn preview(&self, sections: &[SignedSection]) -> Result<Plan, ApplierError> {
        let (_, Admitted { contents, .. }) = self.take_in(sections)?;
        let target = Target::of(&contents, Which::Accepted);
        let target = target.map_err(|error| ApplierError::InvalidDocument(host_state::chain(&error)))?;
        match target {
            None => Ok(Plan::empty()),
            Some(target) => Ok(self.plan(&self.look(&target, &contents.facts).await)),
        }
    }
}

/// Accounts whose JWT is another than in the claims before: what the writer of these has just decided.
fn written(entry: &SectionEntry) -> Result<BTreeSet<String>, ApplierError> {
    let invalid = |error: ParseError| ApplierError::InvalidDocument(host_state::chain(&error));
    let before: ClaimsSection = match &entry.confirmed {
        ConfirmedMark::None => ClaimsSection { accounts: BTreeMap::new() },
        ConfirmedMark::Accepted => return Ok(BTreeSet::new()),
        ConfirmedMark::Earlier(section) => section.body().map_err(invalid)?,
    };
    let accounts = entry.accepted.body::<ClaimsSection>().map_err(invalid)?.accounts.into_iter();
    let is_new =
        |account: &String, jwt: &str| before.accounts.get(account).is_none_or(|kept| kept.jwt != jwt);
    Ok(accounts.filter(|(account, now)| is_new(account, &now.jwt)).map(|(account, _)| account).collect())
}

/// Whether an order is about accounts alone.
fn is_claims_only(order: &ApplyOrder) -> bool {
    !order.sections.is_empty()
        && order.sections.iter().all(|section| section.header.section == SectionKind::Claims)
}

fn check_enrollment(record: &ClaimRecord, seen: &EnrollmentFile) -> Result<(), ApplierError> {
    let EnrollmentFile::Open { enrollment, .. } = seen else {
        return Err(ApplierError::NotClaimed("this host has no enrolment that may be used".to_owned()));
    };
    let ClaimRecord { host, generation, claim_id, trust, .. } = record;
    let mut problems = Vec::new();
    if *host != enrollment.host.as_str() {
        problems.push(format!("it is for host `{host}`, the enrolment is for `{}`", enrollment.host));
    }
    if *generation != enrollment.generation {
        problems.push(format!(
            "it is of enrolment generation {generation}, this host has {}",
            enrollment.generation
        ));
    }
    if trust.authority != enrollment.authority {
        problems.push(format!(
            "it is by authority `{}`, the enrolment is of `{}`",
            trust.authority, enrollment.authority
        ));
    }
    if trust.fleet_ca != enrollment.fleet_ca {
        problems.push("its fleet CA is not that of the enrolment".to_owned());
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if claim_id.len() != 32 || !claim_id.bytes().all(is_hex) {
        problems.push("its id is not 32 lower-case hex digits".to_owned());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ApplierError::InvalidDocument(format!("the claim cannot be taken: {}", problems.join("; "))))
    }
}

fn claimed_material(record: &ClaimRecord) -> Material {
    Material {
        issuer: record.issuer.clone(),
        host_ca: record.trust.host_ca_bundle(),
        names: record.names.clone(),
    }
}
