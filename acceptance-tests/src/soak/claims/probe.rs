//! One try of a credential on one server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use futures_util::StreamExt;

use super::declared::{Fate, Old};
use crate::scenario::traffic::CLIENT_PORT;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether a publish was refused.
const LOOK: Duration = Duration::from_millis(20);

/// Where to connect.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) address: std::net::Ipv4Addr,
    pub(super) ca: PathBuf,
}

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing: it does not run, or does not know yet.
    None,
    /// What is meant to become of the credential.
    Out,
    /// What it allowed before.
    In,
}

/// Tries it.
pub(super) async fn probe(place: &Place, old: &Old) -> Word {
    tokio::time::timeout(PATIENCE, attempt(place, old)).await.unwrap_or(Word::None)
}

async fn attempt(place: &Place, old: &Old) -> Word {
    let Ok(options) = ConnectOptions::with_credentials_file(&old.credentials).await else {
        return Word::None;
    };
    let denied = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&denied);
    let options = options
        .require_tls(true)
        .add_root_certificates(place.ca.clone())
        .ignore_discovered_servers()
        .max_reconnects(1)
        .event_callback(move |event| {
            if matches!(&event, Event::ServerError(error) if error.to_string().to_lowercase().contains("permissions violation")) {
                seen.store(true, Ordering::Release);
            }
            std::future::ready(())
        });
    let client = match options.connect(format!("tls://{}:{CLIENT_PORT}", place.address)).await {
        Ok(client) => client,
        Err(error) => {
            let is_refused = format!("{error:?} {error}").to_lowercase().contains("authorization violation");
            return match (is_refused, old.fate) {
                (true, Fate::Out) => Word::Out,
                // A server that has not read the account yet refuses everybody, and is neither.
                (true, Fate::Narrowed) | (false, _) => Word::None,
            };
        }
    };
    match old.fate {
        Fate::Out => Word::In,
        Fate::Narrowed => try_publish(&client, &format!("free.{}", place.host), &denied).await,
    }
}

/// Publishes to itself, on a subject of this server's clients alone: what comes is proof of one thing, a refusal of the
/// other, and silence of neither.
async fn try_publish(client: &async_nats::Client, subject: &str, denied: &AtomicBool) -> Word {
    let Ok(mut heard) = client.subscribe(subject.to_owned()).await else { return Word::None };
    if client.publish(subject.to_owned(), "x".into()).await.is_err() || client.flush().await.is_err() {
        return Word::None;
    }
    loop {
        if denied.load(Ordering::Acquire) {
            return Word::Out;
        }
        if let Ok(message) = tokio::time::timeout(LOOK, heard.next()).await {
            return if message.is_some() { Word::In } else { Word::None };
        }
    }
}
