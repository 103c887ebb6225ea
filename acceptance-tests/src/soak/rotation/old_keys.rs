//! What first generations signed, kept from before the first rotation and tried after each.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use host_state::SignedSection;
use host_state::document::{ClaimsSection, ContentHash, SECTION_DOMAIN, canonical};
use identity::{AccountKey, AdminPurpose, Authority, Generations, Jwt, Role, RootKey, decode_account};
use nats_agent_api::{AgentClient, Expected, Timeouts};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Key;
use crate::rig::agents::Host;
use crate::scenario::supercluster::AUTHORITY;
use crate::scenario::system::System;
use crate::scenario::traffic::{connect, talk};

const HOURS: Duration = Duration::from_secs(4 * 3600);

/// See the module.
pub(super) struct OldKeys {
    credentials: PathBuf,
    account_key: AccountKey,
}

/// What was tried, whether it was to live, and whether it does.
type Fate = (String, bool, bool);

fn seed(fill: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([fill; 32])
}

impl OldKeys {
    pub(super) fn made(system: &System) -> Result<OldKeys> {
        let users = BTreeMap::from([("service".parse()?, 1)]);
        let now = OffsetDateTime::now_utc();
        let account_key =
            system.authority().issue_account_key(&"orders".parse()?, 1, &users, &seed(3), now, HOURS)?;
        // A copy: those of the traffic are minted into the same file.
        let credentials = system.supercluster.fleet.folder().join("old.creds");
        fs::copy(system.credentials(), &credentials).context("keep credentials")?;
        Ok(OldKeys { credentials, account_key })
    }

    /// Everything that concerns `key`, after it was raised to `generation`.
    pub(super) fn tried(&self, system: &System, key: Key, generation: u32) -> Result<Vec<Fate>> {
        let lives = generation < 3;
        let mut fates = Vec::new();
        for host in system.hosts() {
            let mut fate = |what: &str, promised: bool, found: bool| {
                fates.push((format!("{what} at {}", host.name()), promised, found));
            };
            fate("a user's credentials", true, talk(connect(host, &self.credentials)).is_ok());
            let by_key = talk(self.enters(host)).is_ok();
            match key {
                Key::AccountSigning => fate("an account key", lives, by_key),
                Key::Document => {
                    let old =
                        |operator_signing, document| previewed(system, host, operator_signing, document);
                    fate("a section by the first document key", lives, talk(old(1, 1)).is_ok());
                    fate("a section by the newest document key", true, talk(old(1, generation)).is_ok());
                }
                Key::SystemAccountSigning => {
                    fate("a user of the system account", lives, talk(system_user(system, host, 1)).is_ok());
                    fate(
                        "a newer user of the system account",
                        true,
                        talk(system_user(system, host, 2)).is_ok(),
                    );
                }
                Key::OperatorSigning => {
                    let signers = signers(system, host)?;
                    fate("an account signed by the first operator key", lives, signers.contains(&1));
                    let trusted = signers.iter().all(|signer| *signer + 1 >= generation);
                    fate("accounts by keys that are trusted, and no others", true, trusted);
                    let old = |operator_signing| previewed(system, host, operator_signing, 3);
                    fate("a new account by the first operator key", lives, talk(old(1)).is_ok());
                    fate("a new account by the newest operator key", true, talk(old(generation)).is_ok());
                }
            }
        }
        Ok(fates)
    }

    /// A tunnel with the account key.
    async fn enters(&self, host: &Host) -> Result<()> {
        let caller = self.account_key.caller();
        let agent = dialled(host, caller.client(), caller.host_ca()).await?;
        let user = self.account_key.admin_user(&seed(4), OffsetDateTime::now_utc(), 5)?;
        agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await?;
        Ok(())
    }
}

async fn dialled(host: &Host, client: &identity::ClientIdentity, host_ca: &str) -> Result<AgentClient> {
    let address = host.agent_address().to_string();
    Ok(AgentClient::connect(&address, client, host_ca, Expected::default(), Timeouts::default()).await?)
}

fn authority(system: &System, generations: Generations) -> Result<Authority> {
    let root: RootKey = system.supercluster.root_key.parse()?;
    Ok(Authority::derive(&root, AUTHORITY.parse()?, generations)?)
}

async fn operator(system: &System, host: &Host) -> Result<AgentClient> {
    let authority = system.authority();
    let client = authority.client_certificate(&Role::Operator, &seed(9), OffsetDateTime::now_utc(), HOURS)?;
    dialled(host, &client, &authority.trust().host_ca_bundle()).await
}

/// The newest generation of an authority that signs by the key of `generation`: it signs by the one before its newest.
fn signs(generation: u32) -> u32 {
    if generation == 1 { 1 } else { generation + 1 }
}

/// A login into the system account by its signing key of a generation.
async fn system_user(system: &System, host: &Host, generation: u32) -> Result<()> {
    let signer =
        authority(system, Generations { account_signing: signs(generation), ..Generations::default() })?;
    let user = signer.admin_user(&AdminPurpose::SystemMonitor, &seed(5), OffsetDateTime::now_utc(), 5)?;
    let agent = operator(system, host).await?;
    agent.tunnel(user.jwt.as_str(), |nonce| user.sign(nonce)).await?;
    Ok(())
}

/// What an apply of the next claims would do, in which one account was signed anew by these generations. Asks only.
async fn previewed(system: &System, host: &Host, operator_signing: u32, document: u32) -> Result<()> {
    let (operator_signing, by_document) = (signs(operator_signing), signs(document));
    let generations = Generations { operator_signing, document: by_document, ..Generations::default() };
    let signer = authority(system, generations)?;
    let agent = operator(system, host).await?;
    let head = agent.claims().await?.context("the system has claims")?;
    let mut claims: ClaimsSection = head.body()?;
    let key = signer.account_key(&"orders".parse()?);
    let entry = claims.accounts.get_mut(key.as_str()).context("the claims hold the account")?;
    let all = Generations { operator_signing: 3, ..Generations::default() };
    let jwt: Jwt = entry.jwt.parse()?;
    let known = decode_account(&jwt, &authority(system, all)?.trust())
        .or_else(|_| decode_account(&jwt, &system.authority().trust()))?;
    entry.issued_at += 1;
    entry.jwt = signer.account_jwt(&known.claims, entry.issued_at)?.to_string();
    let body = canonical(&claims);
    let mut header = head.header;
    header.parent = Some(std::mem::replace(&mut header.content, ContentHash::of(&body)));
    header.generation += 1;
    header.document_key = document;
    let signature = signer.document_key().sign(SECTION_DOMAIN, &header.signed_bytes());
    let signature = data_encoding::BASE64.encode(&signature);
    agent.preview(vec![SignedSection { header, body, signature }]).await?;
    Ok(())
}

/// Generations of the operator keys that signed what the server's resolver holds, but for accounts of the authority
/// itself, which stand in the configuration.
fn signers(system: &System, host: &Host) -> Result<Vec<u32>> {
    let mut signers = Vec::new();
    let trusts = (1..=3).map(|operator_signing| {
        let generations = Generations { operator_signing, ..Generations::default() };
        Ok((operator_signing, authority(system, generations)?.trust()))
    });
    let trusts: BTreeMap<u32, identity::Trust> = trusts.collect::<Result<_>>()?;
    for entry in
        fs::read_dir(host.state_dir().join(host_state::layout::RESOLVER)).context("list the resolver")?
    {
        let text = fs::read_to_string(entry.context("look at the resolver")?.path()).context("read a JWT")?;
        let jwt: Jwt = text.trim().parse()?;
        // Each trusts its own generation and the one before; the first that does tells which it is.
        let signer = trusts.iter().find(|(_, trust)| decode_account(&jwt, trust).is_ok());
        signers.extend(signer.map(|(generation, _)| *generation));
    }
    Ok(signers)
}
