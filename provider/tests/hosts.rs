//! `nats_authority` and `nats_cluster` against scripted agents over real TLS, driven as Terraform drives them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use host_state::Drift;
use host_state::audit::RecordHash;
use host_state::lease::LeaseAction;
use identity::{Authority, Generations, Role, RootKey};
use nats_agent_api::fake::FakeAgent;
use nats_agent_api::order::{ApplyMode, ApplyOrder, LEASE_DOMAIN, LeaseOrder};
use nats_agent_api::server::{Method, ServiceError};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use terraform_provider_nats::provider::NatsProvider;
use tfplug::testing::{Action, Harness, Instance};
use tfplug::{Diagnostics, Value};
use zeroize::Zeroizing;

const ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const OTHER_ROOT: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyE=";

fn authority(root: &str) -> Authority {
    let root: RootKey = root.parse().unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

async fn harness(root_key: Value) -> Harness {
    let harness = Harness::new(NatsProvider::without_environment()).await.unwrap();
    harness.configure(Value::object([("root_key", root_key)])).await.unwrap();
    harness
}

async fn trust(harness: &Harness) -> Instance {
    harness.apply("nats_authority", None, Value::object([("name", Value::from("acme"))])).await.unwrap()
}

fn node(agent: &str, number: usize) -> Value {
    Value::object([
        ("agent", Value::from(agent)),
        ("address", format!("10.0.1.{number}").into()),
        ("store_dir", format!("/data/{number}").into()),
    ])
}

/// A cluster behind a gateway, so that create only claims and stages.
fn cluster(trust: Value, agents: &[String]) -> Value {
    let nodes = agents
        .iter()
        .enumerate()
        .map(|(index, agent)| (format!("east-{}", index + 1), node(agent, index + 1)));
    Value::object([
        ("authority", trust),
        ("name", "east".into()),
        ("gateway", true.into()),
        ("nodes", Value::map(nodes)),
        (
            "jetstream",
            Value::object([
                ("max_memory", Value::from("1GB")),
                ("max_storage", "10GB".into()),
                ("store_dir", "/data".into()),
            ]),
        ),
        ("timeouts", Value::object([("create", Value::from("2s")), ("update", "2s".into())])),
    ])
}

async fn bare(authority: &Authority, hosts: usize) -> Vec<FakeAgent> {
    let mut agents = Vec::new();
    for number in 1..=hosts {
        let host = format!("east-{number}").parse().unwrap();
        agents.push(FakeAgent::unclaimed(authority.enrollment(host, 1)).await);
    }
    agents
}

fn addresses(agents: &[FakeAgent]) -> Vec<String> {
    agents.iter().map(FakeAgent::address).collect()
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn told(diagnostics: &Diagnostics) -> String {
    diagnostics.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_works_with_nothing_running() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let agents: Vec<String> = (0..3).map(|_| nowhere()).collect();
    let plan = harness.plan("nats_cluster", None, cluster(trust, &agents)).await.unwrap();
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.planned.attr("id").as_str(), Some("acme/east"));
    let members = plan.planned.attr("members");
    assert!(members.is_wholly_known());
    assert_eq!(members.attr("nodes").attr("east-2").attr("cluster_url").as_str(), Some("10.0.1.2:5222"));
    assert!(plan.diagnostics.is_empty(), "{}", plan.diagnostics);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_yet_stays_unknown_and_is_no_error() {
    let harness = harness(Value::unknown()).await;
    let plan =
        harness.plan("nats_authority", None, Value::object([("name", Value::from("acme"))])).await.unwrap();
    assert!(!plan.planned.attr("trust").is_known());
    let agents: Vec<String> = (0..3).map(|_| nowhere()).collect();
    let block = cluster(Value::unknown(), &agents);
    let plan = harness.plan("nats_cluster", None, block).await.unwrap();
    assert!(!plan.planned.attr("members").attr("revision").is_known());
    assert!(!plan.planned.attr("id").is_known());

    let known = self::harness(ROOT.into()).await;
    let trust = trust(&known).await.state.attr("trust").clone();
    let mut block = cluster(trust, &agents);
    let mut nodes = block.attr("nodes").clone();
    if let Value::Map(nodes) = &mut nodes {
        nodes.insert("east-3".to_owned(), node("x", 3).with("agent", Value::unknown()));
    }
    block.set_attr("nodes", nodes);
    let plan = known.plan("nats_cluster", None, block).await.unwrap();
    assert_eq!(plan.planned.attr("members").attr("id").as_str(), Some("acme/east"));
    assert!(!plan.planned.attr("members").attr("revision").is_known());
    assert!(!plan.planned.attr("members").attr("nodes").is_known());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_key_is_refused_before_anything_is_touched() {
    let made = trust(&harness(ROOT.into()).await).await;
    let other = harness(OTHER_ROOT.into()).await;
    let block = Value::object([("name", Value::from("acme"))]);
    let problems = other.plan("nats_authority", Some(&made), block).await.unwrap_err();
    assert!(told(&problems).contains("This is not the root key of authority `acme` (at name)"), "{problems}");
    let agents = bare(&authority(ROOT), 3).await;
    let block = cluster(made.state.attr("trust").clone(), &addresses(&agents));
    let failure = other.apply("nats_cluster", None, block).await.unwrap_err();
    assert!(
        told(&failure.diagnostics).contains("This is not the root key of authority `acme`"),
        "{}",
        failure.diagnostics
    );
    assert!(failure.left.is_none());
    assert!(agents.iter().all(|agent| agent.claim().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_hosts_are_claimed_and_staged_and_then_the_plan_is_empty() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let agents = bare(&authority(ROOT), 3).await;
    agents[1].script(|script| script.delay = Duration::from_millis(150));
    let block = cluster(trust, &addresses(&agents));
    let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
    for agent in &agents {
        let sections = agent.sections();
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].header.owner, "nats_cluster/east");
        assert_eq!(sections[0].header.generation, 1);
    }
    let (read, warnings) = harness.read("nats_cluster", &made).await.unwrap();
    let read = read.unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    let plan = harness.plan("nats_cluster", Some(&read), block.clone()).await.unwrap();
    assert_eq!(plan.action, Action::NoOp);
    // The same declaration again, as after a create that was cut short: nothing is signed anew.
    harness.apply("nats_cluster", None, block).await.unwrap();
    assert!(agents.iter().all(|agent| agent.sections()[0].header.generation == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_down_is_a_warning_in_a_read_and_named_when_a_create_gives_up() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let mut agents = bare(&authority(ROOT), 3).await;
    let block = cluster(trust.clone(), &addresses(&agents));
    let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
    drop(agents.remove(2));
    let (read, warnings) = harness.read("nats_cluster", &made).await.unwrap();
    assert_eq!(read.as_ref().map(|read| &read.state), Some(&made.state));
    assert!(told(&warnings).contains("warning: Host `east-3` did not answer"), "{warnings}");
    let plan = harness.plan("nats_cluster", read.as_ref(), block).await.unwrap();
    assert_eq!(plan.action, Action::NoOp);

    let mut addresses = addresses(&agents);
    addresses.push(nowhere());
    let failure = harness.apply("nats_cluster", None, cluster(trust, &addresses)).await.unwrap_err();
    assert!(failure.left.is_none());
    let told = told(&failure.diagnostics);
    assert!(told.contains("Host `east-3` did not come") && told.contains("its time is over"), "{told}");
    assert!(!told.contains("Host `east-1` did not come"), "{told}");
    assert!(told.contains("Now `east-1` is staged, and its server is held, "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_somebody_else_fail_at_once() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let ours = bare(&authority(ROOT), 2).await;
    let theirs = FakeAgent::claimed(&authority(OTHER_ROOT), "east-3").await;
    let mut agents = addresses(&ours);
    agents.push(theirs.address());
    let mut block = cluster(trust.clone(), &agents);
    block.set_attr("timeouts", Value::object([("create", Value::from("5m"))]));
    let begin = std::time::Instant::now();
    let failure = harness.apply("nats_cluster", None, block).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(30));
    let told_of = told(&failure.diagnostics);
    assert!(told_of.contains("Host `east-3` cannot be managed"), "{told_of}");
    assert!(theirs.sections().is_empty());

    // Enrolled for another authority, and so with another token and fleet CA.
    let other = authority(OTHER_ROOT);
    let enrolled = FakeAgent::unclaimed(other.enrollment("east-3".parse().unwrap(), 1)).await;
    let mut agents = addresses(&ours);
    agents.push(enrolled.address());
    let failure = harness.apply("nats_cluster", None, cluster(trust, &agents)).await.unwrap_err();
    assert!(told(&failure.diagnostics).contains("`east-3`"), "{}", failure.diagnostics);
    assert!(enrolled.claim().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_shows_as_an_update_that_ends_with_none() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let agents = bare(&authority(ROOT), 3).await;
    let block = cluster(trust, &addresses(&agents));
    let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
    agents[1].script(|script| {
        script.drift = vec![Drift {
            item: "configuration".to_owned(),
            setting: Some("max_payload".to_owned()),
            desired: Some("1048576".to_owned()),
            found: Some("2097152".to_owned()),
        }];
    });
    let (read, _) = harness.read("nats_cluster", &made).await.unwrap();
    let read = read.unwrap();
    let drift: Vec<&str> = read.state.attr("drift").elements().filter_map(Value::as_str).collect();
    assert_eq!(drift, ["east-2: configuration `max_payload` is `2097152`, should be `1048576`"]);
    let plan = harness.plan("nats_cluster", Some(&read), block).await.unwrap();
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.planned.attr("drift").elements().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_protection_are_told_in_the_plan() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let agents = bare(&authority(ROOT), 3).await;
    let two = cluster(trust.clone(), &addresses(&agents)[..2]);
    let problems = harness.plan("nats_cluster", None, two).await.unwrap_err();
    assert!(
        told(&problems).contains("A production cluster has at least 3 nodes, this one has 2 (at nodes)"),
        "{problems}"
    );
    let block = cluster(trust, &addresses(&agents));
    let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
    let refused = harness.destroy("nats_cluster", &made).await.unwrap_err();
    assert!(
        told(&refused.diagnostics).contains("`nats_cluster` `acme/east` is protected"),
        "{}",
        refused.diagnostics
    );
    let open = block.with("deletion_protection", false);
    let made = harness.apply("nats_cluster", Some(&made), open).await.unwrap();
    harness.destroy("nats_cluster", &made).await.unwrap();
    assert!(agents.iter().all(|agent| agent.sections()[0].header.generation == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_another_writer_changed_meanwhile_keeps_the_others_from_being_told() {
    let harness = harness(ROOT.into()).await;
    let trust = trust(&harness).await.state.attr("trust").clone();
    let agents = bare(&authority(ROOT), 3).await;
    let block = cluster(trust, &addresses(&agents));
    let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
    let faster = ServiceError::Conflict("generation 2 was already written by somebody else".to_owned());
    agents[2].script(|script| script.fail = [(Method::Preview, faster)].into());
    let wanted = block.with("deletion_protection", false);
    let failure = harness.apply("nats_cluster", Some(&made), wanted.clone()).await.unwrap_err();
    let told_of = told(&failure.diagnostics);
    assert!(told_of.contains("written by somebody else") && told_of.contains("Changed: none"), "{told_of}");
    assert!(agents.iter().all(|agent| agent.sections()[0].header.generation == 1));
    agents[2].script(|script| script.fail.clear());
    harness.apply("nats_cluster", Some(&made), wanted).await.unwrap();
    assert!(agents.iter().all(|agent| agent.sections()[0].header.generation == 2));
}

/// A connection of another process of the same authority to a host.
async fn other_process(authority: &Authority, agent: &FakeAgent) -> AgentClient {
    let now = time::OffsetDateTime::now_utc();
    let client = authority
        .client_certificate(&Role::Operator, &Zeroizing::new([7; 32]), now, Duration::from_secs(3600))
        .unwrap();
    let host_ca = authority.trust().host_ca_bundle();
    let anybody = Expected { host: None, pin: None };
    AgentClient::connect(&agent.address(), &client, &host_ca, anybody, Timeouts::default()).await.unwrap()
}

async fn hold_lease(authority: &Authority, agents: &[AgentClient], ttl: Duration) {
    let (lease_id, holder) = ("0123456789abcdef".repeat(2), "somebody@elsewhere".to_owned());
    let signed = authority.document_key().sign(LEASE_DOMAIN, &LeaseOrder::signed_bytes(&lease_id, &holder));
    for agent in agents {
        let order = LeaseOrder {
            lease_id: lease_id.clone(),
            holder: holder.clone(),
            action: LeaseAction::Acquire,
            ttl_ms: u32::try_from(ttl.as_millis()).unwrap(),
            signature: data_encoding::BASE64.encode(&signed),
        };
        assert!(agent.lease(order).await.unwrap().granted);
    }
}

/// Three claimed hosts, another process's connections to them, and the block that takes them up.
async fn claimed(harness: &Harness) -> (Vec<FakeAgent>, Vec<AgentClient>, Value) {
    let (mut agents, mut others) = (Vec::new(), Vec::new());
    for host in ["east-1", "east-2", "east-3"] {
        let agent = FakeAgent::claimed(&authority(ROOT), host).await;
        others.push(other_process(&authority(ROOT), &agent).await);
        agents.push(agent);
    }
    let trust = trust(harness).await.state.attr("trust").clone();
    let patient = Value::object([("create", Value::from("1m")), ("update", "1m".into())]);
    let block = cluster(trust, &addresses(&agents)).with("timeouts", patient);
    (agents, others, block)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_killed_run_is_waited_out() {
    let harness = harness(ROOT.into()).await;
    let (agents, others, block) = claimed(&harness).await;
    hold_lease(&authority(ROOT), &others, Duration::from_secs(3)).await;
    let began = std::time::Instant::now();
    harness.apply("nats_cluster", None, block).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(agents.iter().all(|agent| agent.sections().len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_run_that_lives_is_respected_and_names_it() {
    let harness = harness(ROOT.into()).await;
    let (agents, others, block) = claimed(&harness).await;
    let living = async {
        loop {
            hold_lease(&authority(ROOT), &others, Duration::from_secs(10)).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    let failure = tokio::select! {
        applied = harness.apply("nats_cluster", None, block) => applied.unwrap_err(),
        never = living => never,
    };
    let told = told(&failure.diagnostics);
    assert!(
        told.contains("Somebody else is changing these hosts") && told.contains("somebody@elsewhere"),
        "{told}"
    );
    assert!(failure.left.is_none() && agents.iter().all(|agent| agent.sections().is_empty()));
}

/// Stages `block` as the holder of the lease would, with sections that another process made on hosts of the same names.
async fn stage_as_holder(hosts: &[AgentClient], block: Value) {
    let harness = harness(ROOT.into()).await;
    let (twins, _, twin) = claimed(&harness).await;
    harness.apply("nats_cluster", None, block.with("nodes", twin.attr("nodes").clone())).await.unwrap();
    for (host, twin) in hosts.iter().zip(&twins) {
        let (mode, lease_id) = (ApplyMode::Stage, "0123456789abcdef".repeat(2));
        let order = ApplyOrder { sections: twin.sections(), mode, lease_id };
        host.apply(order).await.unwrap().finish(|_| ()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_the_lease_was_waited_for_is_not_written_over() {
    let harness = harness(ROOT.into()).await;
    let (agents, others, block) = claimed(&harness).await;
    hold_lease(&authority(ROOT), &others, Duration::from_secs(4)).await;
    let theirs = async {
        // Between the look at the hosts and the end of the lease, as the holder would.
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage_as_holder(&others, block.clone()).await;
    };
    let (ours, ()) = tokio::join!(harness.apply("nats_cluster", None, block.clone()), theirs);
    let failure = ours.unwrap_err();
    let told = told(&failure.diagnostics);
    assert!(failure.left.is_none() && told.contains("Somebody else has changed these hosts"), "{told}");
    assert!(told.contains("`east-2` was told something else by "), "{told}");
    assert!(agents.iter().all(|agent| agent.sections()[0].header.generation == 1));
}

/// Hashes of an audit log's records, made of what is done in each.
fn log(records: &str) -> Vec<RecordHash> {
    records.chars().map(|record| format!("{:02x}", record as u32).repeat(32).try_into().unwrap()).collect()
}

/// A cluster that was made while the log of its second host held four records.
struct Logged {
    harness: Harness,
    agents: Vec<FakeAgent>,
    block: Value,
    made: Instance,
}

impl Logged {
    async fn made() -> Logged {
        let harness = harness(ROOT.into()).await;
        let trust = trust(&harness).await.state.attr("trust").clone();
        let agents = bare(&authority(ROOT), 3).await;
        agents[1].script(|script| script.audit = log("abcd"));
        let block = cluster(trust, &addresses(&agents));
        let made = harness.apply("nats_cluster", None, block.clone()).await.unwrap();
        Logged { harness, agents, block, made }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_or_rewritten_audit_log_is_told_by_every_refresh_until_it_is_whole_again() {
    let Logged { harness, agents, block, made } = Logged::made().await;
    let audit = |records: &str| agents[1].script(|script| script.audit = log(records));
    let refreshed = async |from: &Instance| {
        let (read, warnings) = harness.read("nats_cluster", from).await.unwrap();
        let read = read.unwrap();
        let found: Vec<String> =
            read.state.attr("findings").elements().filter_map(Value::as_str).map(str::to_owned).collect();
        assert_eq!(told(&warnings).contains("Cluster `east` has findings"), !found.is_empty(), "{warnings}");
        let plan = harness.plan("nats_cluster", Some(&read), block.clone()).await.unwrap();
        assert_eq!(plan.action, Action::NoOp, "a finding is no change");
        (read, found)
    };
    let (read, found) = refreshed(&made).await;
    assert_eq!(found, Vec::<String>::new());
    audit("abcdefg");
    let (longer, found) = refreshed(&read).await;
    assert_eq!(found, Vec::<String>::new());
    for (records, problem) in [
        ("abcdef", "it ends with record 6, and it had 7 records"),
        ("abc", "it ends with record 3, and it had 7 records"),
        ("", "there is no log, and it had 7 records"),
        ("abcdefxh", "record 7 is another one than it was"),
    ] {
        audit(records);
        let (again, found) = refreshed(&longer).await;
        assert_eq!(found.len(), 1, "{records}: {found:?}");
        assert!(found[0].starts_with("east-2: audit log") && found[0].contains(problem), "{found:?}");
        // What was seen in between does not make it good.
        assert_eq!(refreshed(&again).await.1, found);
        audit("abcdefgh");
        assert_eq!(refreshed(&again).await.1, Vec::<String>::new(), "it was put back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_remembers_how_far_the_audit_logs_went() {
    let Logged { harness, agents, block, made } = Logged::made().await;
    let audit = |records: &str| agents[1].script(|script| script.audit = log(records));
    // The log went on, the update fails, and then somebody cuts it.
    audit("abcdefg");
    let full = ServiceError::Failed("the disk is full".to_owned());
    agents[2].script(|script| script.fail = [(Method::Preview, full)].into());
    let wanted = block.with("deletion_protection", false);
    let failure = harness.apply("nats_cluster", Some(&made), wanted.clone()).await.unwrap_err();
    let left = failure.left.unwrap();
    assert_eq!(left.state, made.state);
    audit("abcde");
    let (_, warnings) = harness.read("nats_cluster", &left).await.unwrap();
    let cut =
        "east-2: audit log is not the one that was there before: it ends with record 5, and it had 7 records";
    assert!(told(&warnings).contains(cut), "{warnings}");

    // What one update found cut is a finding of the next refresh, though it failed; and so is what it could not read.
    let failure = harness.apply("nats_cluster", Some(&left), wanted.clone()).await.unwrap_err();
    assert!(told(&failure.diagnostics).contains(cut), "{}", failure.diagnostics);
    let (_, warnings) = harness.read("nats_cluster", &failure.left.unwrap()).await.unwrap();
    assert!(told(&warnings).contains(cut), "{warnings}");
    let unreadable = Instance { private: b"\xff".to_vec().into(), ..made };
    let failure = harness.apply("nats_cluster", Some(&unreadable), wanted).await.unwrap_err();
    let told = told(&failure.diagnostics);
    assert!(told.contains("What was kept beside the state cannot be read"), "{told}");
}
