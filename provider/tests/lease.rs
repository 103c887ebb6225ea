//! The lease of several hosts, asked for by several writers at once, on scripted agents over real TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use host_state::lease::LeaseAction;
use identity::{Authority, Generations, HostName};
use nats_agent_api::fake::FakeAgent;
use nats_agent_api::order::{LEASE_DOMAIN, LeaseAnswer, LeaseOrder};
use nats_agent_api::server::{Method, ServiceError};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use terraform_provider_nats::agents::IdentityCard;
use terraform_provider_nats::rollout::lease::{Applicant, Lease};
use tfplug::Diagnostic;

struct Hosts {
    authority: Authority,
    agents: Vec<FakeAgent>,
    clients: BTreeMap<HostName, AgentClient>,
}

impl Hosts {
    async fn new() -> Hosts {
        let root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
        let authority = Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap();
        let card = IdentityCard::of(&authority).unwrap();
        let (mut agents, mut clients) = (Vec::new(), BTreeMap::new());
        for host in ["east-1", "east-2", "east-3"] {
            let agent = FakeAgent::claimed(&authority, host).await;
            let (address, expected) = (agent.address(), Expected::default());
            let client =
                AgentClient::connect(&address, card.client(), card.host_ca(), expected, Timeouts::default());
            clients.insert(host.parse().unwrap(), client.await.unwrap());
            agents.push(agent);
        }
        Hosts { authority, agents, clients }
    }

    async fn acquire(&self, number: u8) -> Result<Lease, Diagnostic> {
        let applicant = Applicant { lease_id: id(number), holder: format!("writer {number}") };
        Lease::try_acquire(&self.clients, 3, &self.authority, &applicant).await.map_err(Diagnostic::from)
    }

    /// One host's lease, past the rule that all are asked.
    async fn ask(&self, host: &str, number: u8, action: LeaseAction) -> LeaseAnswer {
        let (lease_id, holder) = (id(number), format!("writer {number}"));
        let signed = LeaseOrder::signed_bytes(&lease_id, &holder);
        let signature = BASE64.encode(&self.authority.document_key().sign(LEASE_DOMAIN, &signed));
        let order = LeaseOrder { lease_id, holder, action, ttl_ms: 0, signature };
        self.clients[&host.parse::<HostName>().unwrap()].lease(order).await.unwrap()
    }

    /// Who holds the lease of each host.
    async fn holders(&self) -> Vec<String> {
        let mut holders = Vec::new();
        for host in ["east-1", "east-2", "east-3"] {
            holders.push(self.ask(host, 99, LeaseAction::Release).await.holder);
        }
        holders
    }
}

fn id(number: u8) -> String {
    format!("{number:032x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_at_once_one_has_all_hosts_and_the_others_are_told_its_name() {
    let hosts = Hosts::new().await;
    let results = futures_util::future::join_all((0..16).map(|number| hosts.acquire(number))).await;
    let won: Vec<&Lease> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{results:#?}");
    let holders = hosts.holders().await;
    assert_eq!(won[0].id(), id(holders[0].strip_prefix("writer ").unwrap().parse().unwrap()));
    assert_eq!(holders, vec![holders[0].clone(); 3]);
    for problem in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(problem.detail.contains(&format!("held by {} for", holders[0])), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_first_host_silent_a_split_ends_with_one_winner() {
    let hosts = Hosts::new().await;
    let silent = ServiceError::Failed("the disk is full".to_owned());
    hosts.agents[0].script(|script| script.fail = [(Method::Lease, silent)].into());
    let results = futures_util::future::join_all((0..6).map(|number| hosts.acquire(number))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_waits_for_the_host_that_another_still_has() {
    let hosts = Hosts::new().await;
    assert!(hosts.ask("east-3", 7, LeaseAction::Acquire).await.granted);
    let began = Instant::now();
    let giving_back = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        hosts.ask("east-3", 7, LeaseAction::Release).await;
    };
    let (lease, ()) = tokio::join!(hosts.acquire(1), giving_back);
    let lease = lease.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(hosts.holders().await, ["writer 1"; 3]);
    lease.release().await;
    assert_eq!(hosts.holders().await, [""; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_of_silent_hosts_is_told_at_once() {
    let hosts = Hosts::new().await;
    for agent in &hosts.agents[..2] {
        let silent = ServiceError::Failed("the disk is full".to_owned());
        agent.script(|script| script.fail = [(Method::Lease, silent)].into());
    }
    let problem = hosts.acquire(1).await.unwrap_err();
    assert_eq!(problem.summary, "Only 1 of 3 agents grant the lease, 2 are needed");
    assert!(problem.detail.contains("`east-1`") && problem.detail.contains("the disk is full"), "{problem}");
}
