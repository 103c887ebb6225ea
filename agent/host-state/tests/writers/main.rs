//! Writers in any order against the rules of admission and lease alone; the agent's applier is tried with the same runs.

mod model;

use std::collections::BTreeMap;

use host_state::admission::{Admission, Bound, admit};
use host_state::document::SectionHeader;
use host_state::lease::{Lease, LeaseAnswer, Wish, decide, is_held_by};
use host_state::{SectionKind, chain};
use proptest::prelude::*;

use model::{Head, Host, Proposal, ops, run};

/// Heads and lease as the rules leave them, kept as text over a crash.
#[derive(Default)]
struct Rules {
    heads: BTreeMap<SectionKind, SectionHeader>,
    lease: Option<Lease>,
    now_ms: u64,
}

impl Host for Rules {
    fn body(&self, kind: SectionKind, content: u8) -> String {
        format!("{kind} {content}")
    }

    fn write(&mut self, proposal: &Proposal, lease_id: &str, crash_at: Option<usize>) -> Result<(), String> {
        let Proposal { kind, writer, generation, parent, .. } = proposal;
        let is_bound = *kind != SectionKind::Claims;
        let header = SectionHeader {
            authority: "OACME".to_owned(),
            section: *kind,
            owner: format!("owner of {kind}"),
            host: is_bound.then(|| "east-1".to_owned()),
            claim_id: is_bound.then(|| "claim".to_owned()),
            generation: *generation,
            parent: parent.clone(),
            content: proposal.content(),
            document_key: 1,
            writer: writer.clone(),
        };
        let bound = Bound { authority: "OACME", host: "east-1", claim_id: "claim" };
        let admission = admit(&bound, self.heads.get(kind), &header).map_err(|refusal| chain(&refusal))?;
        if is_bound && !is_held_by(self.lease.as_ref(), lease_id, self.now_ms) {
            let holder = self.lease.as_ref().filter(|lease| lease.expires_ms > self.now_ms);
            return Err(format!("the lease is held by {:?}", holder.map(|lease| &lease.holder)));
        }
        // Even numbers die before the write, odd ones after it.
        if crash_at.is_some_and(|moment| moment % 2 == 0) {
            return Err("it crashed before".to_owned());
        }
        if admission == Admission::New {
            self.heads.insert(*kind, header);
        }
        crash_at.map_or(Ok(()), |_| Err("it crashed after".to_owned()))
    }

    fn lease(&mut self, wish: &Wish) -> LeaseAnswer {
        let (lease, answer) = decide(self.lease.as_ref(), wish, self.now_ms);
        self.lease = lease;
        answer
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    fn crash(&mut self) {
        let text = serde_json::to_string(&(&self.heads, &self.lease)).expect("plain data");
        (self.heads, self.lease) = serde_json::from_str(&text).expect("what was written is read");
    }

    fn heads(&self) -> BTreeMap<SectionKind, Head> {
        let head = |(kind, header): (&SectionKind, &SectionHeader)| {
            let SectionHeader { generation, content, writer, .. } = header.clone();
            (*kind, Head { generation, content, writer })
        };
        self.heads.iter().map(head).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_linear_one_holds_the_lease_and_losers_read_the_winners_name(ops in ops(60)) {
        run(ops, &mut Rules::default())?;
    }
}
