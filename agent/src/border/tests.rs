//! Every message comes back as it went, and what one side says of a role the other side understands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host_state::audit::{Head, RecordHash};
use host_state::document::Profile;
use host_state::observed::RunningObserved;
use host_state::preflight::{Check, Preflight, Verdict};
use host_state::report::{ApplyEvent, MeshRow, Outcome, Report, RunStatus};
use host_state::{Plan, SignedSection};
use identity::{Authority, Generations, HostNames, HostSecret, HostSeeds, Nkey, NkeyKind, RootKey};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::message as wire;
use super::message::{ApplierAnswer, ApplierCall, Hello, Standing, ToApplier, ToFront, ViewAnswer, ViewCall};
use super::{frame, secret::Secret};
use crate::roles;

/// What messages are made of.
struct Made {
    text: String,
    number: u64,
    authority: Authority,
    secret: HostSecret,
}

impl Made {
    fn new(text: &str, number: u64) -> Made {
        let root = RootKey::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let seed = |n: u8| Zeroizing::new([n; 32]);
        let seeds = HostSeeds { issuer: seed(1), leaf: seed(2), system_user: seed(3), probe_user: seed(4) };
        Made { text: text.to_owned(), number, authority, secret: HostSecret::from_seeds(&seeds) }
    }

    fn text(&self) -> String {
        self.text.clone()
    }

    fn small(&self) -> u32 {
        u32::try_from(self.number % 1000).unwrap()
    }

    fn address(&self) -> std::net::SocketAddr {
        let ip = if self.number.is_multiple_of(2) { "127.0.0.9" } else { "::1" };
        std::net::SocketAddr::new(ip.parse().unwrap(), u16::try_from(self.number % 65_536).unwrap())
    }

    fn section(&self) -> SignedSection {
        let header = host_state::SectionHeader {
            authority: self.text(),
            section: host_state::SectionKind::Claims,
            owner: self.text(),
            host: None,
            claim_id: Some(self.text()),
            generation: self.number,
            parent: None,
            content: host_state::document::ContentHash::of(&self.text),
            document_key: self.small(),
            writer: self.text(),
        };
        SignedSection { header, body: self.text(), signature: self.text() }
    }

    fn report(&self) -> Report {
        Report {
            agent_version: self.text(),
            claim: None,
            sections: BTreeMap::new(),
            rendition: Some(self.number),
            run: RunStatus::Held,
            meta_lineage: Some(self.text()),
            formed: true,
            server: None,
            drift: Vec::new(),
            findings: Vec::new(),
            mesh: Some(self.row()),
            certificates: BTreeMap::new(),
            audit: Some(Head { seq: self.number, hash: RecordHash::none() }),
            firewall: None,
            observed_at: -7,
        }
    }

    /// As it is read: its keys then have one form in memory, which their `Debug` shows.
    fn trust(&self) -> identity::Trust {
        serde_json::from_value(serde_json::to_value(self.authority.trust()).unwrap()).unwrap()
    }

    fn row(&self) -> MeshRow {
        let missing = BTreeSet::from([self.text()]);
        MeshRow { system_missing: missing.clone(), probe_missing: missing, probed: self.small() }
    }

    fn server(&self) -> roles::LocalServer {
        roles::LocalServer {
            client: self.address(),
            address: self.address().ip(),
            host_ca_pem: self.text(),
            user_jwt: self.text(),
            user_key: Arc::new(Nkey::from_seed_bytes(NkeyKind::User, &[9; 32])),
        }
    }

    fn post(&self) -> roles::MeshPost {
        let others = BTreeSet::from([self.text(), "other".to_owned()]);
        let probe = roles::LocalServer { user_jwt: "other".to_owned(), ..self.server() };
        roles::MeshPost { host: self.text(), others, system: self.server(), probe }
    }

    fn identity(&self) -> roles::ApiIdentity {
        let key = roles::PrivateKeyPem::new(self.secret.leaf_key_pem());
        roles::ApiIdentity { chain_pem: self.text(), key }
    }

    fn names(&self) -> HostNames {
        HostNames { host: "east-1".parse().unwrap(), dns: [].into(), ips: [self.address().ip()].into() }
    }

    fn claim_states(&self) -> Vec<roles::ClaimState> {
        let enrollment = Arc::new(self.authority.enrollment("east-1".parse().unwrap(), self.small()));
        let claimed = roles::Claimed {
            host: self.text(),
            generation: self.small(),
            claim_id: self.text(),
            trust: self.trust(),
            host_keys: self.secret.keys(),
        };
        vec![
            roles::ClaimState::Closed,
            roles::ClaimState::Open(roles::OpenDoor { enrollment, expires_at: -1 }),
            roles::ClaimState::Claimed(Arc::new(claimed)),
            roles::ClaimState::Unreadable { reason: self.text() },
        ]
    }

    fn callers(&self) -> Vec<roles::Caller> {
        use identity::Role;
        let roles = [Role::Operator, Role::Reader, Role::Account("orders".parse().unwrap()), Role::Peer];
        roles.map(|role| roles::Caller { role, serial: self.text(), opened_ms: self.number }).into()
    }

    fn new_claim(&self) -> roles::NewClaim {
        roles::NewClaim {
            generation: self.small(),
            claim_id: self.text(),
            trust: self.trust(),
            issuer_pem: self.text(),
            names: self.names(),
        }
    }

    fn apply_orders(&self) -> Vec<roles::ApplyOrder> {
        let order = |mode| roles::ApplyOrder { sections: vec![self.section()], mode, lease_id: self.text() };
        [roles::ApplyMode::Stage, roles::ApplyMode::Roll].map(order).into()
    }

    fn lease_orders(&self) -> Vec<roles::LeaseOrder> {
        use roles::LeaseAction;
        let order = |action| roles::LeaseOrder {
            lease_id: self.text(),
            holder: self.text(),
            action,
            ttl_ms: self.small(),
            signature: self.text(),
        };
        [LeaseAction::Acquire, LeaseAction::Renew, LeaseAction::Release].map(order).into()
    }

    fn trial_wish(&self) -> roles::TrialWish {
        roles::TrialWish { trial_id: self.text(), signature: self.text() }
    }

    fn lease_answer(&self) -> roles::LeaseAnswer {
        roles::LeaseAnswer { granted: true, holder: self.text(), remaining_ms: self.small() }
    }

    fn errors(&self) -> Vec<roles::ApplierError> {
        use roles::ApplierError;
        let all = [
            ApplierError::NotClaimed,
            ApplierError::InvalidDocument,
            ApplierError::Conflict,
            ApplierError::Leased,
            ApplierError::Frozen,
            ApplierError::Failed,
        ];
        all.map(|error| error(self.text())).into()
    }

    fn applier_calls(&self) -> Vec<ApplierCall> {
        let (orders, leases, caller) =
            (self.apply_orders(), self.lease_orders(), || self.callers().remove(0).into());
        let applies =
            orders.into_iter().map(|order| ApplierCall::Apply { order: order.into(), caller: caller() });
        let asked =
            leases.into_iter().map(|order| ApplierCall::Lease { order: order.into(), caller: caller() });
        let others = [
            ApplierCall::Bind(Box::new(self.new_claim().into())),
            ApplierCall::Observe,
            ApplierCall::AuditHash { seq: self.number },
            ApplierCall::Sections,
            ApplierCall::Pins,
            ApplierCall::SystemLogin,
            ApplierCall::Preview { sections: vec![self.section(), self.section()] },
            ApplierCall::Preflight,
            ApplierCall::Confirm { wish: self.trial_wish().into(), caller: caller() },
            ApplierCall::Cancel { wish: self.trial_wish().into(), caller: caller() },
            ApplierCall::TakeClaims { section: Box::new(self.section()) },
            ApplierCall::Beat,
        ];
        applies.chain(asked).chain(others).collect()
    }

    fn applier_answers(&self) -> Vec<ApplierAnswer> {
        let mut answers = vec![
            ApplierAnswer::Bind,
            ApplierAnswer::Observe(Box::new(self.report())),
            ApplierAnswer::AuditHash(None),
            ApplierAnswer::AuditHash(Some(RecordHash::none())),
            ApplierAnswer::Sections(vec![self.section()]),
            ApplierAnswer::Pins([self.text()].into()),
            ApplierAnswer::SystemLogin(Box::new((&self.server()).into())),
            ApplierAnswer::Preview(Plan { reasons: vec![self.text()], ..Plan::empty() }),
            ApplierAnswer::Preflight(Preflight {
                directory: self.text(),
                profile: Profile::Production,
                checks: vec![Check {
                    name: self.text(),
                    value: self.text(),
                    threshold: self.text(),
                    verdict: Verdict::Refuse,
                    remedy: Some(self.text()),
                }],
            }),
            ApplierAnswer::Apply,
            ApplierAnswer::Lease(self.lease_answer().into()),
            ApplierAnswer::Confirm,
            ApplierAnswer::Cancel,
            ApplierAnswer::TakeClaims { newer: true },
            ApplierAnswer::Beat,
        ];
        answers.extend(self.errors().into_iter().map(|error| ApplierAnswer::Failed(error.into())));
        answers
    }

    fn view_calls(&self) -> Vec<ViewCall> {
        let (address, server) = (self.address(), || (&self.server()).into());
        vec![
            ViewCall::Running { monitor: address },
            ViewCall::Healthz { monitor: address, query: self.text() },
            ViewCall::KnownAccounts { server: server() },
            ViewCall::AccountJwts { server: server(), accounts: vec![self.text()] },
            ViewCall::PushClaim { server: server(), jwt: self.text() },
            ViewCall::Download {
                url: "https://example.com/x".parse().unwrap(),
                sha256: "ab".repeat(32).parse().unwrap(),
            },
            ViewCall::ServedLeaf { address, after_info: true },
            ViewCall::HoldPorts { ports: vec![address] },
            ViewCall::AnswerProbes { post: None },
            ViewCall::AnswerProbes { post: Some(Box::new((&self.post()).into())) },
            ViewCall::MeshRow,
        ]
    }

    fn view_answers(&self) -> Vec<ViewAnswer> {
        let text = || self.text();
        let answered = RunningObserved::Answered {
            digest: text(),
            version: text(),
            server_name: text(),
            certificates: BTreeMap::from([(text(), text())]),
        };
        vec![
            ViewAnswer::Running(RunningObserved::Silent { reason: text() }),
            ViewAnswer::Running(answered),
            ViewAnswer::Healthz(Ok(())),
            ViewAnswer::Healthz(Err(text())),
            ViewAnswer::KnownAccounts(Err(text())),
            ViewAnswer::KnownAccounts(Ok(BTreeSet::from([text()]))),
            ViewAnswer::AccountJwts(Ok(BTreeMap::from([(text(), BTreeSet::from([text()]))]))),
            ViewAnswer::AccountJwts(Err(text())),
            ViewAnswer::PushClaim(Ok(())),
            ViewAnswer::Download(Err("no".to_owned())),
            ViewAnswer::ServedLeaf(Ok(text())),
            ViewAnswer::HoldPorts(BTreeMap::from([(self.address(), Err(text()))])),
            ViewAnswer::AnswerProbes,
            ViewAnswer::MeshRow(None),
            ViewAnswer::MeshRow(Some(self.row())),
            ViewAnswer::Refused { reason: text() },
        ]
    }

    fn standings(&self) -> Vec<Standing> {
        let identity = self.identity();
        self.claim_states().iter().map(|state| Standing::of(state, Some(&identity))).collect()
    }

    fn to_applier(&self) -> Vec<ToApplier> {
        let id = self.number;
        let calls = self.applier_calls().into_iter().map(|call| ToApplier::Call { id, call });
        calls.chain(self.view_answers().into_iter().map(|answer| ToApplier::Answer { id, answer })).collect()
    }

    fn to_front(&self) -> Vec<ToFront> {
        let id = self.number;
        let event = |event| ToFront::Event { id, event };
        let report = Box::new(self.report());
        let hello = |standing| Hello {
            host_keys: self.secret.keys(),
            leaf_key: Secret::new(self.secret.leaf_key_pem()),
            standing,
        };
        let calls = self.view_calls().into_iter().map(|call| ToFront::Call { id, call });
        let answers = self.applier_answers().into_iter().map(|answer| ToFront::Answer { id, answer });
        let hellos = self.standings().into_iter().map(|standing| ToFront::Hello(Box::new(hello(standing))));
        let standings = self.standings().into_iter().map(|standing| ToFront::Standing(Box::new(standing)));
        let others = [
            event(ApplyEvent::Started { step: self.text() }),
            event(ApplyEvent::Done { step: self.text(), millis: self.number }),
            event(ApplyEvent::Finished { outcome: Outcome::Refused { reason: self.text() }, report }),
            ToFront::Farewell { reason: self.text() },
        ];
        calls.chain(answers).chain(hellos).chain(standings).chain(others).collect()
    }
}

/// The message as the other side reads it.
fn sent<M: Serialize + DeserializeOwned>(message: &M) -> M {
    let length = frame::length(message).unwrap();
    let bytes = frame::encode(message, length);
    assert_eq!(bytes.len(), 4 + length);
    let again: M = frame::decode(&bytes[4..]).unwrap();
    assert!(*frame::encode(&again, frame::length(&again).unwrap()) == *bytes, "another message arrives");
    again
}

/// A value of a role, by way of a message. Debug texts are compared, which name every field and redact secrets.
fn crossed<R, W, E>(role: R) -> R
where
    R: TryFrom<W, Error = E> + std::fmt::Debug,
    W: for<'a> From<&'a R> + Serialize + DeserializeOwned,
    E: std::fmt::Debug,
{
    let said = format!("{role:?}");
    let again = R::try_from(sent(&W::from(&role))).unwrap();
    assert_eq!(format!("{again:?}"), said);
    again
}

/// As [`crossed`], of what is given away.
fn handed_over<R, W>(role: R)
where
    R: From<W> + std::fmt::Debug,
    W: From<R> + Serialize + DeserializeOwned,
{
    let said = format!("{role:?}");
    assert_eq!(format!("{:?}", R::from(sent(&W::from(role)))), said);
}

/// The words that name the variants of a message and of what it carries: every one is met by the round trips.
#[test]
fn no_message_is_left_out() {
    let made = Made::new("x", 7);
    let word = |json: serde_json::Value| match json {
        serde_json::Value::String(word) => word,
        serde_json::Value::Object(map) => map.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    fn words<T: Serialize>(all: &[T], word: impl Fn(serde_json::Value) -> String) -> BTreeSet<String> {
        all.iter().map(|one| word(serde_json::to_value(one).unwrap())).collect()
    }
    fn refusal<T: DeserializeOwned>() -> String {
        serde_json::from_str::<T>("\"no such\"").err().unwrap().to_string()
    }
    // serde's refusal lists every variant that there is.
    let expected = |text: String| -> BTreeSet<String> {
        let list = text.split("expected ").nth(1).unwrap().split(" at line").next().unwrap().to_owned();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    assert_eq!(words(&made.to_applier(), word), expected(refusal::<ToApplier>()));
    assert_eq!(words(&made.to_front(), word), expected(refusal::<ToFront>()));
    assert_eq!(words(&made.applier_calls(), word), expected(refusal::<ApplierCall>()));
    assert_eq!(words(&made.applier_answers(), word), expected(refusal::<ApplierAnswer>()));
    assert_eq!(words(&made.view_calls(), word), expected(refusal::<ViewCall>()));
    assert_eq!(words(&made.view_answers(), word), expected(refusal::<ViewAnswer>()));
}

#[test]
fn secrets_cross_whole() {
    let made = Made::new("x", 7);
    let server: roles::LocalServer = crossed::<_, wire::LocalServer, _>(made.server());
    assert_eq!(*server.user_key.seed(), *made.server().user_key.seed());
    let identity: roles::ApiIdentity = wire::ApiIdentity::from(&made.identity()).into();
    assert_eq!(identity.key.as_str(), made.identity().key.as_str());
    for state in made.claim_states() {
        let again: roles::ClaimState = crossed::<_, wire::ClaimState, _>(state.clone());
        if let (roles::ClaimState::Open(one), roles::ClaimState::Open(other)) = (state, again) {
            assert_eq!(*one.enrollment.to_text(), *other.enrollment.to_text());
        }
    }
}

#[test]
fn a_key_that_is_none_is_refused_without_being_shown() {
    let made = Made::new("x", 7);
    let mut server = wire::LocalServer::from(&made.server());
    server.user_key = Secret::new("sesame".to_owned().into());
    let error = roles::LocalServer::try_from(server).unwrap_err();
    assert_eq!(error.to_string(), "a user's key in a message cannot be read");
    let state = wire::ClaimState::Open { enrollment: Secret::new("sesame".to_owned().into()), expires_at: 1 };
    let error = roles::ClaimState::try_from(state).unwrap_err();
    assert_eq!(error.to_string(), "an enrolment in a message cannot be read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_message_comes_back_as_it_went(text in ".{0,24}", number: u64) {
        let made = Made::new(&text, number);
        made.to_applier().iter().for_each(|message| drop(sent(message)));
        made.to_front().iter().for_each(|message| drop(sent(message)));
    }

    #[test]
    fn every_value_of_a_role_comes_back_as_it_went(text in ".{0,24}", number: u64) {
        let made = Made::new(&text, number);
        drop(crossed::<_, wire::LocalServer, _>(made.server()));
        drop(crossed::<_, wire::MeshPost, _>(made.post()));
        drop(crossed::<_, wire::ApiIdentity, _>(made.identity()));
        made.claim_states().into_iter().for_each(|state| drop(crossed::<_, wire::ClaimState, _>(state)));
        handed_over::<_, wire::NewClaim>(made.new_claim());
        made.callers().into_iter().for_each(handed_over::<_, wire::Caller>);
        made.apply_orders().into_iter().for_each(handed_over::<_, wire::ApplyOrder>);
        made.lease_orders().into_iter().for_each(handed_over::<_, wire::LeaseOrder>);
        handed_over::<_, wire::TrialWish>(made.trial_wish());
        handed_over::<_, wire::LeaseAnswer>(made.lease_answer());
        made.errors().into_iter().for_each(handed_over::<_, wire::ApplierError>);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = frame::decode::<ToApplier>(&bytes);
        let _ = frame::decode::<ToFront>(&bytes);
    }
}
