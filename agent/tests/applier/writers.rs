//! Writers in any order against the real ledger and lease on disk, killed and started again in between: the runs that the
//! pure rules are tried with.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use host_state::document::{ClaimEntry, ClaimsSection, GatewaySection, canonical};
use host_state::lease::{self, Lease, LeaseAnswer, Wish};
use host_state::report::ApplyEvent;
use host_state::{SectionHeader, SectionKind, layout};
use identity::AccountLimits;
use nats_agent::applier::ledger::{Kept, read_checked, write_checked};
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::roles::{Applier, ApplyMode, ApplyOrder, LeaseAction, LeaseOrder};
use nats_agent::testing::{HOST, caller};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::model::{Head, Host, Proposal, ops, run};
use crate::rig::Rig;

#[path = "../../host-state/tests/writers/model.rs"]
mod model;

/// Fails every effect from one number on.
struct Crash {
    at: usize,
    reached: AtomicUsize,
}

impl Faults for Crash {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        // Opening an agent that has all its files does nothing else.
        if effect == Effect::LockState || self.reached.fetch_add(1, Ordering::SeqCst) < self.at {
            return Ok(());
        }
        Err(io::Error::other(format!("crash at {effect} {moment:?}")))
    }
}

struct OnDisk<'a> {
    runtime: &'a Runtime,
    rig: Rig,
}

impl OnDisk<'_> {
    fn reopen(&mut self, effects: Effects) {
        self.runtime.block_on(self.rig.reopen(effects));
    }
}

impl Host for OnDisk<'_> {
    fn body(&self, kind: SectionKind, content: u8) -> String {
        if kind == SectionKind::Gateway {
            return canonical(&GatewaySection {
                gateway: "global".to_owned(),
                reject_unknown: false,
                remotes: BTreeMap::new(),
                pins: std::collections::BTreeSet::new(),
                hosts: BTreeMap::new(),
                release: None,
                declared: content.into(),
            });
        }
        let authority = &self.rig.author.authority;
        let claims = authority.account_claims("orders".parse().unwrap(), AccountLimits::unlimited());
        let issued_at = 1_700_000_000 + i64::from(content);
        let jwt = authority.account_jwt(&claims, issued_at).unwrap().to_string();
        let declared = serde_json::Value::Null;
        let entry = ClaimEntry { name: "orders".to_owned(), jwt, issued_at, tombstone: false, declared };
        canonical(&ClaimsSection { accounts: BTreeMap::from([(claims.key.to_string(), entry)]) })
    }

    fn write(&mut self, proposal: &Proposal, lease_id: &str, crash_at: Option<usize>) -> Result<(), String> {
        let Proposal { kind, writer, generation, parent, body } = proposal.clone();
        let is_bound = kind != SectionKind::Claims;
        let owner = if is_bound { "nats_gateway/global" } else { "nats_authority/acme" };
        let header = SectionHeader {
            authority: self.rig.author.authority.trust().operator.to_string(),
            section: kind,
            owner: owner.to_owned(),
            host: is_bound.then(|| HOST.to_owned()),
            claim_id: is_bound.then(|| self.rig.author.claim_id.clone()),
            generation,
            parent,
            content: proposal.content(),
            document_key: 1,
            writer,
        };
        let sections = vec![self.rig.signed(header, body)];
        let order = ApplyOrder { sections, mode: ApplyMode::Roll, lease_id: lease_id.to_owned() };
        if let Some(at) = crash_at {
            self.reopen(Effects::with_faults(Arc::new(Crash { at, reached: AtomicUsize::new(0) })));
        }
        let applier = &self.rig.applier;
        let result = self.runtime.block_on(async {
            let (sender, mut events) = mpsc::channel(16);
            applier.apply(order, caller(), sender).await.map_err(|error| error.to_string())?;
            while let Some(event) = events.recv().await {
                if matches!(event, ApplyEvent::Finished { .. }) {
                    return Ok(());
                }
            }
            Err("it ended before it said how".to_owned())
        });
        if crash_at.is_some() {
            self.reopen(Effects::default());
        }
        result
    }

    fn lease(&mut self, wish: &Wish) -> LeaseAnswer {
        let Wish { lease_id, holder, action, ttl_ms } = wish.clone();
        let signed = canonical(&[&lease_id, &holder]);
        let signature =
            self.rig.author.authority.document_key().sign("nats-agent/lease/v1", signed.as_bytes());
        let action = match action {
            lease::LeaseAction::Acquire => LeaseAction::Acquire,
            lease::LeaseAction::Renew => LeaseAction::Renew,
            lease::LeaseAction::Release => LeaseAction::Release,
        };
        let order = LeaseOrder { lease_id, holder, action, ttl_ms, signature: BASE64.encode(&signature) };
        let answer = self.runtime.block_on(self.rig.applier.lease(order, caller())).unwrap();
        LeaseAnswer { granted: answer.granted, holder: answer.holder, remaining_ms: answer.remaining_ms }
    }

    /// Time cannot be hurried, but the lease that is kept can end earlier.
    fn wait(&mut self, ms: u64) {
        let path = self.rig.state().join(layout::LEASE_FILE);
        if let Kept::Valid(Lease { lease_id, holder, expires_ms }) = read_checked(&path) {
            let lease = Lease { lease_id, holder, expires_ms: expires_ms.saturating_sub(ms) };
            write_checked(&Effects::default(), Effect::WriteLease, &path, &lease).unwrap();
        }
    }

    fn crash(&mut self) {
        self.reopen(Effects::default());
    }

    fn heads(&self) -> BTreeMap<SectionKind, Head> {
        let sections = self.runtime.block_on(self.rig.applier.sections()).unwrap();
        let head = |section: host_state::SignedSection| {
            let SectionHeader { section: kind, generation, content, writer, .. } = section.header;
            (kind, Head { generation, content, writer })
        };
        sections.into_iter().map(head).collect()
    }
}

#[test]
fn the_ledger_and_lease_on_disk_do_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 48, ..ProptestConfig::default() });
    runner
        .run(&ops(25), |ops| {
            let rig = runtime.block_on(Rig::claimed());
            let _entered = runtime.enter();
            run(ops, &mut OnDisk { runtime: &runtime, rig }).map_err(|error: TestCaseError| error)
        })
        .unwrap();
}
