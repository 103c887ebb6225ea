//! Every NATS subject on which something can be changed, through the tunnels that lesser keys are let into.

use std::time::Duration;

use anyhow::{Context, Result};
use identity::Role;
use nats_agent_api::{RequestError, Tunnel};
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::calls::{self, Callers};
use super::{OURS, THEIRS, Tried};
use crate::scenario::system::System;
use crate::scenario::traffic::talk;

/// How long an answer is awaited on a subject that must not be answered. Those that are answer within milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);

/// Where JetStream can be changed. Source: nats-server 2.15.1 server/jetstream_api.go, subjects `JSApi...`.
const JETSTREAM: [&str; 27] = [
    "$JS.API.STREAM.CREATE.ORDERS",
    "$JS.API.STREAM.CREATE.NEW",
    "$JS.API.STREAM.UPDATE.ORDERS",
    "$JS.API.STREAM.DELETE.ORDERS",
    "$JS.API.STREAM.PURGE.ORDERS",
    "$JS.API.STREAM.MSG.DELETE.ORDERS",
    "$JS.API.STREAM.SNAPSHOT.ORDERS",
    "$JS.API.STREAM.RESTORE.NEW",
    "$JS.API.STREAM.PEER.REMOVE.ORDERS",
    "$JS.API.STREAM.LEADER.STEPDOWN.ORDERS",
    "$JS.API.STREAM.TEMPLATE.CREATE.T",
    "$JS.API.STREAM.TEMPLATE.DELETE.T",
    "$JS.API.CONSUMER.CREATE.ORDERS",
    "$JS.API.CONSUMER.CREATE.ORDERS.c",
    "$JS.API.CONSUMER.CREATE.ORDERS.c.orders.a",
    "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.c",
    "$JS.API.CONSUMER.DELETE.ORDERS.c",
    "$JS.API.CONSUMER.PAUSE.ORDERS.c",
    "$JS.API.CONSUMER.UNPIN.ORDERS.c",
    "$JS.API.CONSUMER.RESET.ORDERS.c",
    "$JS.API.CONSUMER.LEADER.STEPDOWN.ORDERS.c",
    "$JS.API.CONSUMER.MSG.NEXT.ORDERS.c",
    "$JS.ACK.ORDERS.c.1.1.1.1.1",
    "$JS.FC.ORDERS.c.1",
    "$KV.bucket.key",
    "orders.new",
    "_INBOX.somebody.1",
];

/// Where the whole system can be. Source: the same, and server/events.go.
fn of_system(host: &str, ours: &str, theirs: &str) -> Vec<String> {
    let mut subjects: Vec<String> = [
        "$JS.API.SERVER.REMOVE",
        "$JS.API.META.LEADER.STEPDOWN",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.CLAIMS.LIST",
        "$SYS.REQ.CLAIMS.PACK",
        "$SYS.REQ.USER.AUTH",
        "$SYS.DEBUG.SUBSCRIBERS",
        "$SYS.REQ.SERVER.PING.VARZ.more",
        "$SYS.REQ.SERVER..VARZ",
        "$sys.req.server.PING.VARZ",
        "nats-agent.probe.east-1",
    ]
    .map(str::to_owned)
    .to_vec();
    for server in ["PING", host] {
        for endpoint in ["RELOAD", "KICK", "LDM", "PROFILEZ", "SUBSZ", "EXPVARZ"] {
            subjects.push(format!("$SYS.REQ.SERVER.{server}.{endpoint}"));
        }
    }
    for account in [ours, theirs] {
        for request in ["CLAIMS.UPDATE", "CLAIMS.LOOKUP", "CONNS", "INFO", "JSZ", "SUBSZ"] {
            subjects.push(format!("$SYS.REQ.ACCOUNT.{account}.{request}"));
        }
        subjects.push(format!("$SYS.ACCOUNT.{account}.CLAIMS.UPDATE"));
        subjects.push(format!("$JS.API.ACCOUNT.PURGE.{account}"));
        subjects.push(format!("$JS.API.ACCOUNT.STREAM.MOVE.{account}.ORDERS"));
        subjects.push(format!("$JS.API.ACCOUNT.STREAM.CANCEL_MOVE.{account}.ORDERS"));
    }
    subjects
}

/// What a subject that changes something would be sent.
fn payload(subject: &str, delete: &str) -> Vec<u8> {
    let config = json!({ "name": subject.rsplit('.').next(), "subjects": ["new.>"], "storage": "file" });
    let body = match subject {
        _ if subject.contains("CLAIMS") => return delete.as_bytes().to_vec(),
        _ if subject.contains("STREAM.CREATE") || subject.contains("STREAM.UPDATE") => config,
        _ if subject.contains("CONSUMER.CREATE") || subject.contains("DURABLE") => {
            json!({ "stream_name": "ORDERS", "config": { "name": "c", "durable_name": "c", "ack_policy": "explicit" } })
        }
        _ if subject.contains("MSG.DELETE") => json!({ "seq": 1 }),
        _ if subject.contains("SNAPSHOT") => json!({ "deliver_subject": "_INBOX.somebody" }),
        _ => json!({}),
    };
    body.to_string().into_bytes()
}

/// Whether the request did something: it did when somebody answered with something else than an error.
async fn request(tunnel: &Tunnel, subject: &str, payload: Vec<u8>) -> Result<(), String> {
    let reply = match tunnel.request(subject, payload, PATIENCE).await {
        Ok(reply) => reply,
        Err(error) => return Err(error.to_string()),
    };
    let answer: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
    match answer.get("error") {
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// All of them, as the reader and as users of `orders` with all the rights that a key of the account can give.
pub(super) fn try_all(system: &System, callers: &Callers) -> Result<Tried> {
    let mut tried = Tried::new("requests through tunnels");
    let authority = system.authority();
    let key = |name: &str| Ok::<_, anyhow::Error>(authority.account_key(&name.parse()?));
    let (ours, theirs) = (key(OURS)?, key(THEIRS)?);
    let gone = identity::AccountClaims::tombstone(OURS.parse()?, ours.clone(), 1);
    let delete = authority.account_jwt(&gone, OffsetDateTime::now_utc().unix_timestamp() + 100)?;
    let host = &system.hosts()[0];
    let id =
        crate::scenario::system::varz(host)["server_id"].as_str().context("a server has an id")?.to_owned();
    let everywhere = of_system(&id, ours.as_str(), theirs.as_str());
    talk(async {
        let of = |role: &Role| callers.0.iter().find(|caller| caller.role == *role).context("it is a caller");
        let reader = calls::as_caller(system, host, of(&Role::Reader)?).await?.monitor().await?;
        for subject in JETSTREAM.iter().map(|it| (*it).to_owned()).chain(everywhere.clone()) {
            let outcome = reader.request(&subject, payload(&subject, delete.as_str()), PATIENCE).await;
            // For a reader silence is not enough: the agent must have said no.
            let outcome = match outcome {
                Err(RequestError::Failed { reason, .. }) => Err(reason),
                Ok(_) | Err(_) => Ok(()),
            };
            tried.count(&format!("reader: {subject}"), false, outcome);
        }
        for endpoint in identity::MONITOR_ENDPOINTS {
            for server in ["PING", &id] {
                let subject = format!("$SYS.REQ.SERVER.{server}.{endpoint}");
                let outcome = reader.request(&subject, b"{}".to_vec(), calls::PATIENCE).await;
                let outcome = outcome.map(drop).map_err(|why| why.to_string());
                tried.count(&format!("reader: {subject}"), true, outcome);
            }
        }
        let agent = calls::as_caller(system, host, of(&Role::Account(OURS.parse()?))?).await?;
        let now = OffsetDateTime::now_utc();
        let seed = Zeroizing::new([4; 32]);
        let purpose = identity::AdminPurpose::JetStream(OURS.parse()?, 1);
        let admin = authority.admin_user(&purpose, &seed, now, 5)?;
        let free = authority.user_credentials(&OURS.parse()?, &"free".parse()?, 1, &seed, now, None);
        let as_admin = agent.tunnel(admin.jwt.as_str(), |nonce| admin.sign(nonce)).await?;
        let as_free = agent.tunnel(free.jwt.as_str(), |nonce| free.sign(nonce)).await?;
        for (name, tunnel) in [("account key", as_admin), ("unrestricted user", as_free)] {
            for subject in &everywhere {
                let outcome = request(&tunnel, subject, payload(subject, delete.as_str())).await;
                tried.count(&format!("{name}: {subject}"), false, outcome);
            }
            let foreign = request(&tunnel, "$JS.API.STREAM.DELETE.INVOICES", b"{}".to_vec()).await;
            tried.count(&format!("{name}: a stream of {THEIRS}"), false, foreign);
            let own = request(&tunnel, "$JS.API.STREAM.INFO.ORDERS", b"{}".to_vec()).await;
            tried.count(&format!("{name}: its own stream"), true, own);
        }
        Ok(())
    })?;
    Ok(tried)
}
