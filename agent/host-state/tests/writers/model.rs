//! Writers of one host in any order, and what must come of it: the reference that the rules and the real agent are held to.
//!
//! It knows nothing of files, keys or admission: a ledger is a head for each kind of section, a lease is a name and an
//! end. Must be used by both the pure rules and the applier on disk, so that they are tried with the same runs.

use std::collections::BTreeMap;

use host_state::SectionKind;
use host_state::document::ContentHash;
use host_state::lease::{DEFAULT_TTL_MS, LeaseAction, LeaseAnswer, MAX_TTL_MS, Wish};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// What happens to a host.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A writer reads what the host has.
    Look(u8),
    /// A writer writes some generations after what it last read.
    Write { writer: u8, kind: SectionKind, ahead: u64, content: u8, crash_at: Option<usize> },
    /// A writer sends once more what it last sent of a kind, as after a lost answer.
    Again { writer: u8, kind: SectionKind },
    /// A writer asks for the lease.
    Lease { writer: u8, action: LeaseAction, ttl_ms: u32 },
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The agent is killed and starts again.
    Crash,
}

/// A section as a writer means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) kind: SectionKind,
    pub(crate) writer: String,
    pub(crate) generation: u64,
    pub(crate) parent: Option<ContentHash>,
    pub(crate) body: String,
}

impl Proposal {
    pub(crate) fn content(&self) -> ContentHash {
        ContentHash::of(&self.body)
    }
}

/// What a host's ledger holds of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) generation: u64,
    pub(crate) content: ContentHash,
    pub(crate) writer: String,
}

/// The host under test.
pub(crate) trait Host {
    /// The body that `content` stands for.
    fn body(&self, kind: SectionKind, content: u8) -> String;
    /// Takes a section in, or says why not. `crash_at`: the host dies at the effect of this number, if it gets there,
    /// and has started again when this returns.
    fn write(&mut self, proposal: &Proposal, lease_id: &str, crash_at: Option<usize>) -> Result<(), String>;
    fn lease(&mut self, wish: &Wish) -> LeaseAnswer;
    /// Time passes.
    fn wait(&mut self, ms: u64);
    fn crash(&mut self);
    fn heads(&self) -> BTreeMap<SectionKind, Head>;
}

/// Runs of operations by three writers. A lease never ends within five seconds of where another operation falls, so that
/// the time which a real host takes does not matter.
pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let kind = || prop_oneof![Just(SectionKind::Claims), Just(SectionKind::Gateway)];
    let crash = || prop_oneof![4 => Just(None), 1 => (0_usize..5).prop_map(Some)];
    let action = prop_oneof![5 => Just(LeaseAction::Acquire), 1 => Just(LeaseAction::Renew), 1 => Just(LeaseAction::Release)];
    let op = prop_oneof![
        4 => (0..3_u8).prop_map(Op::Look),
        6 => (0..3_u8, kind(), prop_oneof![4 => Just(1_u64), 1 => 0..4_u64], 0..4_u8, crash()).prop_map(
            |(writer, kind, ahead, content, crash_at)| Op::Write { writer, kind, ahead, content, crash_at }
        ),
        2 => (0..3_u8, kind()).prop_map(|(writer, kind)| Op::Again { writer, kind }),
        4 => (0..3_u8, action, prop_oneof![Just(0), (0..9_u32).prop_map(|tens| tens * 10_000 + 5_000)])
            .prop_map(|(writer, action, ttl_ms)| Op::Lease { writer, action, ttl_ms }),
        1 => (1..7_u64).prop_map(|tens| Op::Wait(tens * 10_000)),
        1 => Just(Op::Crash),
    ];
    proptest::collection::vec(op, 1..most)
}

/// What must be so.
#[derive(Debug, Default)]
struct Model {
    heads: BTreeMap<SectionKind, Head>,
    /// Every accepted generation's content.
    log: BTreeMap<(SectionKind, u64), ContentHash>,
    seen: BTreeMap<u8, BTreeMap<SectionKind, Head>>,
    sent: BTreeMap<(u8, SectionKind), Proposal>,
    lease: Option<(u8, u64)>,
    now_ms: u64,
}

/// What must come of a write.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    New,
    Same,
    /// The text names this writer.
    Loses(String),
    /// The text names who holds the lease, if anybody does.
    Leased(Option<String>),
}

fn name(writer: u8) -> String {
    format!("writer {writer} of the model")
}

fn lease_id(writer: u8) -> String {
    format!("{writer:032x}")
}

impl Model {
    fn holder(&self) -> Option<u8> {
        self.lease.filter(|(_, end_ms)| *end_ms > self.now_ms).map(|(writer, _)| writer)
    }

    fn expected(&self, writer: u8, proposal: &Proposal) -> Expected {
        let Proposal { kind, generation, parent, .. } = proposal;
        let admitted = match self.heads.get(kind) {
            None => Expected::New,
            Some(head) if head.generation == *generation && head.content == proposal.content() => {
                Expected::Same
            }
            Some(head) if *generation > head.generation && parent.as_ref() == Some(&head.content) => {
                Expected::New
            }
            Some(head) if *kind == SectionKind::Claims && *generation > head.generation + 1 => Expected::New,
            Some(head) => return Expected::Loses(head.writer.clone()),
        };
        if *kind == SectionKind::Gateway && self.holder() != Some(writer) {
            return Expected::Leased(self.holder().map(name));
        }
        admitted
    }

    fn accept(&mut self, proposal: &Proposal) -> Result<(), TestCaseError> {
        let Proposal { kind, generation, writer, .. } = proposal;
        let content = proposal.content();
        let known = self.log.insert((*kind, *generation), content.clone());
        prop_assert!(known.is_none_or(|known| known == content), "{} {} has two contents", kind, generation);
        let head = Head { generation: *generation, content, writer: writer.clone() };
        self.heads.insert(*kind, head);
        Ok(())
    }

    fn lease(&mut self, writer: u8, action: LeaseAction, ttl_ms: u32) -> bool {
        let holder = self.holder();
        let ttl_ms = if ttl_ms == 0 { DEFAULT_TTL_MS } else { ttl_ms.min(MAX_TTL_MS) };
        let is_granted = match action {
            LeaseAction::Acquire => holder.is_none_or(|holder| holder == writer),
            LeaseAction::Renew => holder == Some(writer),
            LeaseAction::Release => false,
        };
        if is_granted {
            self.lease = Some((writer, self.now_ms + u64::from(ttl_ms)));
        } else if action == LeaseAction::Release && holder == Some(writer) {
            self.lease = None;
        }
        is_granted
    }
}

/// Does `ops` to `host` and holds each answer, and the ledger after each, against the model.
///
/// # Errors
/// The first operation that came out otherwise.
pub(crate) fn run(ops: Vec<Op>, host: &mut impl Host) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for op in ops {
        match &op {
            Op::Look(writer) => drop(model.seen.insert(*writer, host.heads())),
            Op::Write { writer, kind, ahead, content, crash_at } => {
                let seen = model.seen.get(writer).and_then(|seen| seen.get(kind));
                let proposal = Proposal {
                    kind: *kind,
                    writer: name(*writer),
                    generation: (seen.map_or(0, |head| head.generation) + ahead).max(1),
                    parent: seen.map(|head| head.content.clone()),
                    body: host.body(*kind, *content),
                };
                model.sent.insert((*writer, *kind), proposal.clone());
                write(&mut model, host, *writer, &proposal, *crash_at)?;
            }
            Op::Again { writer, kind } => {
                if let Some(proposal) = model.sent.get(&(*writer, *kind)).cloned() {
                    write(&mut model, host, *writer, &proposal, None)?;
                }
            }
            Op::Lease { writer, action, ttl_ms } => {
                let wish = Wish {
                    lease_id: lease_id(*writer),
                    holder: name(*writer),
                    action: *action,
                    ttl_ms: *ttl_ms,
                };
                let answer = host.lease(&wish);
                let granted = model.lease(*writer, *action, *ttl_ms);
                prop_assert_eq!(answer.granted, granted, "{:?}", op);
                prop_assert_eq!(answer.holder, model.holder().map(name).unwrap_or_default(), "{:?}", op);
            }
            Op::Wait(ms) => {
                host.wait(*ms);
                model.now_ms += ms;
            }
            Op::Crash => host.crash(),
        }
        prop_assert_eq!(&host.heads(), &model.heads, "after {:?}", op);
    }
    Ok(())
}

fn write(
    model: &mut Model,
    host: &mut impl Host,
    writer: u8,
    proposal: &Proposal,
    crash_at: Option<usize>,
) -> Result<(), TestCaseError> {
    let expected = model.expected(writer, proposal);
    let result = host.write(proposal, &lease_id(writer), crash_at);
    match (&expected, result) {
        (Expected::New, Ok(())) => model.accept(proposal)?,
        (Expected::Same, Ok(())) => {}
        // Whoever crashed half-way has the old head or the new one, and nothing else.
        (Expected::New, Err(_)) if crash_at.is_some() => {
            let head = host.heads().remove(&proposal.kind);
            if head != model.heads.get(&proposal.kind).cloned() {
                model.accept(proposal)?;
            }
        }
        (Expected::Same, Err(_)) if crash_at.is_some() => {}
        (Expected::Loses(winner) | Expected::Leased(Some(winner)), Err(text)) => {
            prop_assert!(text.contains(winner.as_str()), "`{}` names no `{}`", text, winner);
        }
        (Expected::Leased(None), Err(text)) => prop_assert!(text.contains("lease"), "{}", text),
        (expected, result) => prop_assert!(false, "{:?}: {:?} came of {:?}", expected, result, proposal),
    }
    Ok(())
}
