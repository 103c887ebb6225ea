//! Coalesced reads: the first read of an account in a process lists all its streams, later ones are served from it.
//!
//! Terraform reads each resource by itself; a list of 256 streams costs 89 ms where 256 single reads cost seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::api::{ApiError, JetStreamApi, Page, StreamInfo};

/// Streams of one account by name, as one listing saw them. One that is not here may be there: a listing leaves out
/// streams whose leader does not answer.
pub type Listing = BTreeMap<String, StreamInfo>;

/// The listings of one process, by account id.
#[derive(Default)]
pub struct Listings {
    cells: Mutex<HashMap<String, Arc<OnceCell<Arc<Listing>>>>>,
}

impl Listings {
    /// The account's streams: listed once, until [`Listings::forget`]. A failed listing is tried anew by the next reader.
    ///
    /// # Errors
    /// When the account could not be listed.
    pub async fn read(&self, account: &str, api: &JetStreamApi) -> Result<Arc<Listing>, ApiError> {
        let cell = Arc::clone(self.cells.lock().await.entry(account.to_owned()).or_default());
        cell.get_or_try_init(|| list_all(api)).await.cloned()
    }

    /// The next read lists anew; called after every write to the account.
    pub async fn forget(&self, account: &str) {
        self.cells.lock().await.remove(account);
    }
}

async fn list_all(api: &JetStreamApi) -> Result<Arc<Listing>, ApiError> {
    let mut listing = Listing::new();
    let mut offset = 0;
    loop {
        let Page { streams, covered, total } = api.list(offset).await?;
        offset += covered;
        let last = covered == 0 || offset >= total;
        for info in streams {
            let name = info.config.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
            listing.insert(name.to_owned(), info);
        }
        if last {
            return Ok(Arc::new(listing));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use serde_json::{Value, json};

    use super::*;
    use nats_agent_api::RequestError;

    use crate::jetstream::api::Caller;

    /// Answers `STREAM.LIST` in pages of 256, as the server does. Nobody leads every tenth stream if some are lost.
    struct Server {
        streams: usize,
        some_lost: bool,
        asked: AtomicUsize,
        silent_first: bool,
    }

    #[async_trait]
    impl Caller for Server {
        async fn request(
            &self,
            subject: &str,
            payload: Vec<u8>,
            _: Duration,
        ) -> Result<Vec<u8>, RequestError> {
            if self.asked.fetch_add(1, Ordering::SeqCst) == 0 && self.silent_first {
                return Err(RequestError::Timeout { subject: subject.to_owned(), timeout: Duration::ZERO });
            }
            let request: Value = serde_json::from_slice(&payload).unwrap();
            let offset = usize::try_from(request["offset"].as_u64().unwrap()).unwrap();
            let page = offset..self.streams.min(offset + 256);
            let (lost, led): (Vec<usize>, Vec<usize>) =
                page.partition(|number| self.some_lost && number % 10 == 0);
            let lost: Vec<String> = lost.into_iter().map(|number| format!("S{number}")).collect();
            let led: Vec<Value> =
                led.into_iter().map(|number| json!({"config": {"name": format!("S{number}")}})).collect();
            Ok(json!({"total": self.streams, "streams": led, "missing": lost}).to_string().into_bytes())
        }
    }

    fn server(streams: usize, silent_first: bool) -> Arc<Server> {
        Arc::new(Server { streams, some_lost: false, asked: AtomicUsize::new(0), silent_first })
    }

    #[tokio::test]
    async fn an_account_is_listed_once_however_many_read_it() {
        let server = server(600, false);
        let (api, listings) = (JetStreamApi::new(server.clone()), Listings::default());
        let reads = (0..20).map(|_| listings.read("acme/orders", &api));
        let all = futures_util::future::try_join_all(reads).await.unwrap();
        assert!(all.iter().all(|listing| listing.len() == 600));
        assert_eq!(server.asked.load(Ordering::SeqCst), 3);
        listings.forget("acme/orders").await;
        listings.read("acme/orders", &api).await.unwrap();
        assert_eq!(server.asked.load(Ordering::SeqCst), 6);
    }

    #[tokio::test]
    async fn streams_without_leader_shift_no_page() {
        let server =
            Server { streams: 600, some_lost: true, asked: AtomicUsize::new(0), silent_first: false };
        let (server, listings) = (Arc::new(server), Listings::default());
        let listing = listings.read("a", &JetStreamApi::new(server.clone())).await.unwrap();
        assert_eq!((listing.len(), server.asked.load(Ordering::SeqCst)), (540, 3));
        assert!(listing.contains_key("S599") && !listing.contains_key("S590"));
    }

    #[tokio::test]
    async fn a_failed_listing_is_no_empty_one() {
        let (api, listings) = (JetStreamApi::new(server(1, true)), Listings::default());
        assert!(listings.read("a", &api).await.unwrap_err().is_unanswered());
        assert_eq!(listings.read("a", &api).await.unwrap().len(), 1);
    }
}
