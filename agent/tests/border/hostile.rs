//! A front that fell into wrong hands: whatever it sends, the applier refuses it in words, holds little, and goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nats_agent::border::{MAX_FRAME_BYTES, SOCKET_NAME};
use nats_agent::roles::{Applier, ApplierError, ApplyMode, ApplyOrder};
use nats_agent::testing::caller;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::rig::until;
use crate::scripted::Scripted;
use crate::world::{ApplierSide, connect};

/// A peer that writes what it likes.
struct Peer(UnixStream);

impl Peer {
    async fn connect(sockets: &Path) -> Peer {
        let mut peer = Peer(UnixStream::connect(sockets.join(SOCKET_NAME)).await.unwrap());
        assert!(peer.next().await.unwrap().get("hello").is_some());
        peer
    }

    async fn send(&mut self, message: &str) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let _ended = self.0.write_all(&[&length[..], message.as_bytes()].concat()).await;
    }

    /// The next message; `None` when the applier has ended the connection.
    async fn next(&mut self) -> Option<Value> {
        let read = async {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).await.ok()?;
            let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            self.0.read_exact(&mut message).await.ok()?;
            Some(serde_json::from_slice(&message).unwrap())
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap()
    }

    /// The applier says why it ends the connection, and ends it.
    async fn must_be_refused(mut self, expected: &str) {
        let last = self.next().await.unwrap();
        let reason = last["farewell"]["reason"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{reason}");
        assert!(self.next().await.is_none());
    }
}

async fn side(sockets: &Path) -> (Arc<Scripted>, ApplierSide) {
    let host = Scripted::new(32);
    let side = ApplierSide::open(sockets, Arc::clone(&host) as Arc<dyn Applier>, Arc::default()).await;
    (host, side)
}

/// Whether a front that means well is served.
async fn is_well(sockets: &Path, host: &Scripted) {
    let before = host.sweeps.load(Ordering::SeqCst);
    let front = connect(sockets, Arc::new(nats_agent::border::RemoteView::default())).await;
    tokio::time::timeout(Duration::from_secs(5), front.observe()).await.unwrap().unwrap();
    assert_eq!(host.sweeps.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_words_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = side(folder.path()).await;
    let cases = [
        ("sesame", "a message cannot be read: it is no JSON"),
        (r#"{"call":{"id":1,"call":"shut_down"}}"#, "a message cannot be read: it is of another form"),
        (r#"{"hello":"sesame"}"#, "a message cannot be read: it is of another form"),
        ("", "a message cannot be read: it is cut off"),
        (r#"{"call":{"id":1,"call":"observe","more":1}}"#, "a message cannot be read: it is of another form"),
    ];
    for (message, expected) in cases {
        let mut peer = Peer::connect(folder.path()).await;
        peer.send(message).await;
        peer.must_be_refused(expected).await;
    }
    let mut peer = Peer::connect(folder.path()).await;
    let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    peer.0.write_all(&length.to_be_bytes()).await.unwrap();
    peer.must_be_refused("a message has 41943041 bytes, at most 41943040 are taken").await;
    let mut peer = Peer::connect(folder.path()).await;
    peer.send(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))).await;
    peer.must_be_refused("a message cannot be read").await;
    is_well(folder.path(), &host).await;
    side.end().await;
}

#[tokio::test]
async fn a_message_that_never_ends_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = side(folder.path()).await;
    let mut peer = Peer::connect(folder.path()).await;
    peer.0.write_all(&[0, 0, 1, 0, b'{']).await.unwrap();
    let begin = Instant::now();
    peer.must_be_refused("a message took longer than 10 s").await;
    assert!(begin.elapsed() < Duration::from_secs(15));
    is_well(folder.path(), &host).await;
    side.end().await;
}

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_also_over_several_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = side(folder.path()).await;
    let apply = |id: u32| {
        let order = json!({ "sections": [], "mode": "roll", "lease_id": "ab" });
        let caller = json!({ "role": "operator", "serial": "01", "opened_ms": 1 });
        json!({ "call": { "id": id, "call": { "apply": { "order": order, "caller": caller } } } }).to_string()
    };
    let mut first = Peer::connect(folder.path()).await;
    for id in 0..40 {
        first.send(&apply(id)).await;
    }
    until("forty are under way", async || host.orders.lock().unwrap().len() == 40).await;
    // What a lost front asked for goes on and counts.
    drop(first);
    let mut second = Peer::connect(folder.path()).await;
    for id in 0..40 {
        second.send(&apply(id)).await;
    }
    let (mut refused, mut begun) = (0, 0);
    while refused + begun < 40 {
        let message = second.next().await.unwrap();
        if let Some(answer) = message.get("answer") {
            assert_eq!(answer["answer"], json!({ "failed": { "failed": "too many requests at once" } }));
            refused += 1;
        } else if message.get("event").is_some() {
            begun += 1;
        }
    }
    assert_eq!((refused, begun), (16, 24));
    host.may_end.add_permits(100);
    until("all have ended", async || host.orders.lock().unwrap().is_empty()).await;
    drop(second);
    is_well(folder.path(), &host).await;
    side.end().await;
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = side(folder.path()).await;
    let mut peer = Peer::connect(folder.path()).await;
    let begin = Instant::now();
    let observe = r#"{"call":{"id":1,"call":"observe"}}"#;
    let length = u32::try_from(observe.len()).unwrap().to_be_bytes();
    let frame = [&length[..], observe.as_bytes()].concat();
    let asked = async {
        let mut asked = 0_u64;
        while peer.0.write_all(&frame).await.is_ok() {
            asked += 1;
        }
        asked
    };
    let asked = tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap();
    let (took, swept) = (begin.elapsed(), host.sweeps.load(Ordering::SeqCst));
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("{asked} questions in {took:?}, {swept} were looked into");
    is_well(folder.path(), &host).await;
    side.end().await;
}

#[tokio::test]
async fn an_order_that_is_too_long_for_the_border_is_refused_where_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (host, side) = side(folder.path()).await;
    let front = connect(folder.path(), Arc::new(nats_agent::border::RemoteView::default())).await;
    let order =
        ApplyOrder { sections: Vec::new(), mode: ApplyMode::Roll, lease_id: "x".repeat(MAX_FRAME_BYTES) };
    let (events, _taken) = mpsc::channel(1);
    let error = front.apply(order, caller(), events).await.unwrap_err();
    assert!(matches!(error, ApplierError::InvalidDocument(_)), "{error:?}");
    assert!(error.to_string().starts_with("the request is too long: it has 4194"), "{error}");
    front.observe().await.unwrap();
    assert_eq!(host.sweeps.load(Ordering::SeqCst), 1);
    side.end().await;
}
