//! Every call of the agents' API by every lesser role, each with a request that would do something if it were allowed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host_state::SignedSection;
use host_state::document::{ClaimsSection, ContentHash, SECTION_DOMAIN, canonical};
use identity::{AdminPurpose, Authority, ClientIdentity, Role};
use nats_agent_api::order::{
    ApplyMode, ApplyOrder, LEASE_DOMAIN, LeaseAction, LeaseOrder, ProbeOrder, TRIAL_DOMAIN, TrialAction,
    TrialOrder,
};
use nats_agent_api::server::{METHODS, Method, is_allowed};
use nats_agent_api::{AgentClient, Expected, Timeouts, Tunnel};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{OURS, THEIRS, Tried};
use crate::rig::agents::Host;
use crate::scenario::system::System;
use crate::scenario::traffic::talk;

/// How long one answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// Who tries, each with its certificate.
pub(super) struct Callers(pub(super) Vec<Caller>);

pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) role: Role,
    identity: ClientIdentity,
}

fn seed(fill: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([fill; 32])
}

fn client(authority: &Authority, role: &Role) -> Result<ClientIdentity> {
    Ok(authority.client_certificate(role, &seed(9), OffsetDateTime::now_utc(), HOUR)?)
}

impl Callers {
    pub(super) fn of(system: &System) -> Result<Callers> {
        let authority = system.authority();
        let ours = Role::Account(OURS.parse()?);
        let theirs = Role::Account(THEIRS.parse()?);
        let none = Role::Account("nowhere".parse()?);
        let by_fleet = |name, role: Role| {
            Ok::<_, anyhow::Error>(Caller { name, identity: client(&authority, &role)?, role })
        };
        let last = system.hosts().last().context("a system has hosts")?;
        Ok(Callers(vec![
            by_fleet("reader", Role::Reader)?,
            by_fleet("account key", ours)?,
            by_fleet("wrong account", theirs)?,
            by_fleet("account that is none", none)?,
            Caller { name: "peer", role: Role::Peer, identity: of_host(last)? },
        ]))
    }
}

/// The certificate that a host's agent shows to its peers.
fn of_host(host: &Host) -> Result<ClientIdentity> {
    let read =
        |name: &str| fs::read(host.state_dir().join("current").join(name)).context("read a host's leaf");
    let chain = CertificateDer::pem_slice_iter(&read(host_state::layout::CERT_FILE)?)
        .collect::<Result<Vec<_>, _>>()
        .context("read the chain")?;
    let key =
        PrivatePkcs8KeyDer::from_pem_slice(&read(host_state::layout::KEY_FILE)?).context("read the key")?;
    Ok(ClientIdentity { chain, key: Zeroizing::new(key.secret_pkcs8_der().to_vec()) })
}

async fn connect(system: &System, host: &Host, identity: &ClientIdentity) -> Result<AgentClient> {
    let host_ca = system.authority().trust().host_ca_bundle();
    let address = host.agent_address().to_string();
    Ok(AgentClient::connect(&address, identity, &host_ca, Expected::default(), Timeouts::default()).await?)
}

/// A connection as the operator.
pub(super) async fn operator(system: &System, host: &Host) -> Result<AgentClient> {
    connect(system, host, &client(&system.authority(), &Role::Operator)?).await
}

/// A connection as one of the callers.
pub(super) async fn as_caller(system: &System, host: &Host, caller: &Caller) -> Result<AgentClient> {
    connect(system, host, &caller.identity).await
}

/// A tunnel into an account as the operator.
pub(super) async fn account_tunnel(system: &System, account: &str) -> Result<Tunnel> {
    let user = admin(system, account)?;
    let agent = operator(system, &system.hosts()[0]).await?;
    Ok(agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await?)
}

fn admin(system: &System, account: &str) -> Result<identity::AdminUser> {
    let purpose = AdminPurpose::JetStream(account.parse()?, 1);
    Ok(system.authority().admin_user(&purpose, &seed(7), OffsetDateTime::now_utc(), 5)?)
}

/// The next generation of the claims, in which `orders` has been deleted: what an operator could apply.
async fn deletion(system: &System, agent: &AgentClient) -> Result<SignedSection> {
    let authority = system.authority();
    let head = agent.claims().await?.context("the system has claims")?;
    let mut claims: ClaimsSection = head.body()?;
    let key = authority.account_key(&OURS.parse()?);
    let entry = claims.accounts.get_mut(key.as_str()).context("the claims hold the account")?;
    entry.issued_at += 1;
    entry.tombstone = true;
    let gone = identity::AccountClaims::tombstone(OURS.parse()?, key.clone(), entry.issued_at);
    entry.jwt = authority.account_jwt(&gone, entry.issued_at)?.to_string();
    let body = canonical(&claims);
    let mut header = head.header;
    header.parent = Some(std::mem::replace(&mut header.content, ContentHash::of(&body)));
    header.generation += 1;
    let signature = authority.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    Ok(SignedSection { header, body, signature: data_encoding::BASE64.encode(&signature) })
}

async fn apply(agent: &AgentClient, section: SignedSection) -> Result<()> {
    let order = ApplyOrder { sections: vec![section], mode: ApplyMode::Roll, lease_id: String::new() };
    agent.apply(order).await?.finish(|_| ()).await?;
    Ok(())
}

/// The change that all others were refused, by the operator on one host; whether it went through.
pub(super) fn operator_changes(system: &System) -> Result<bool> {
    talk(async {
        let agent = operator(system, &system.hosts()[0]).await?;
        let section = deletion(system, &agent).await?;
        Ok(apply(&agent, section).await.is_ok())
    })
}

/// Every caller, every call, every host.
pub(super) fn try_all(system: &System, callers: &Callers) -> Result<Tried> {
    let mut tried = Tried::new("calls to agents");
    talk(async {
        for host in system.hosts() {
            let section = deletion(system, &operator(system, host).await?).await?;
            for caller in &callers.0 {
                let agent = as_caller(system, host, caller).await?;
                for method in METHODS.into_iter().filter(|method| *method != Method::Tunnel) {
                    let outcome = call(system, &agent, method, &section).await;
                    let name = format!("{} at {}: {method:?}", caller.name, host.name());
                    tried.count(
                        &name,
                        is_allowed(method, &caller.role),
                        outcome.map_err(|why| format!("{why:#}")),
                    );
                }
                tunnels(system, &agent, caller, host, &mut tried).await?;
            }
        }
        Ok(())
    })?;
    Ok(tried)
}

/// One call as its caller could make it, with documents and orders that are rightly signed.
async fn call(system: &System, agent: &AgentClient, method: Method, section: &SignedSection) -> Result<()> {
    let authority = system.authority();
    let sign = |domain: &str, bytes: &[u8]| {
        data_encoding::BASE64.encode(&authority.document_key().sign(domain, bytes))
    };
    let trial = |action: TrialAction| TrialOrder {
        trial_id: "1".to_owned(),
        signature: sign(TRIAL_DOMAIN, &action.signed_bytes("1")),
    };
    match method {
        Method::Observe => drop(agent.observe().await?),
        Method::Preview => drop(agent.preview(vec![section.clone()]).await?),
        Method::Preflight => drop(agent.preflight().await?),
        Method::Apply => apply(agent, section.clone()).await?,
        Method::Confirm => agent.confirm(trial(TrialAction::Confirm)).await?,
        Method::Cancel => agent.cancel(trial(TrialAction::Cancel)).await?,
        Method::Lease => {
            let (lease_id, holder) = ("ab".repeat(16), "a lesser key".to_owned());
            let signature = sign(LEASE_DOMAIN, &LeaseOrder::signed_bytes(&lease_id, &holder));
            let order =
                LeaseOrder { lease_id, holder, action: LeaseAction::Acquire, ttl_ms: 30_000, signature };
            drop(agent.lease(order).await?);
        }
        Method::Probe => {
            let order =
                ProbeOrder { targets: vec!["127.0.0.1:1".to_owned()], timeout: Duration::from_secs(1) };
            drop(agent.probe(order).await?);
        }
        Method::Claims => drop(agent.claims().await?),
        Method::Tunnel => bail!("tunnels are tried by their logins"),
    }
    Ok(())
}

/// Every login, whoever's: those of others as if they had been stolen.
async fn tunnels(
    system: &System,
    agent: &AgentClient,
    caller: &Caller,
    host: &Host,
    tried: &mut Tried,
) -> Result<()> {
    let authority = system.authority();
    let now = OffsetDateTime::now_utc();
    let monitor = agent.monitor().await.map(drop);
    let name = |login: &str| format!("{} at {}: tunnel as {login}", caller.name, host.name());
    tried.count(&name("monitor"), caller.role == Role::Reader, monitor.map_err(|why| why.to_string()));
    let (ours, theirs) = (Role::Account(OURS.parse()?), Role::Account(THEIRS.parse()?));
    for account in [OURS, THEIRS] {
        let user = admin(system, account)?;
        let opened = agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.map(drop);
        let may = caller.role == if account == OURS { ours.clone() } else { theirs.clone() };
        tried.count(&name(account), may, opened.map_err(|why| why.to_string()));
    }
    let scoped = authority.user_credentials(&OURS.parse()?, &"service".parse()?, 1, &seed(6), now, None);
    let opened = agent.tunnel(scoped.jwt.as_str(), |nonce| scoped.sign(nonce)).await.map(drop);
    tried.count(&name("a user of orders"), caller.role == ours, opened.map_err(|why| why.to_string()));
    for purpose in [AdminPurpose::SystemOperations, AdminPurpose::SystemClaims, AdminPurpose::SystemMonitor] {
        let user = authority.admin_user(&purpose, &seed(5), now, 5)?;
        let opened = agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.map(drop);
        tried.count(&name("the system account"), false, opened.map_err(|why| why.to_string()));
    }
    // A user of the account by a key that it does not know: the generation after the newest.
    let purpose = AdminPurpose::JetStream(OURS.parse()?, 2);
    let user = authority.admin_user(&purpose, &seed(5), now, 5)?;
    let opened = agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await.map(drop);
    tried.count(&name("orders by an unknown key"), false, opened.map_err(|why| why.to_string()));
    Ok(())
}
