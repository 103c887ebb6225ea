//! The socket for `status` and `diff` on the host itself.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use nats_agent::front::local::{self, SOCKET_NAME};
use nats_agent::roles::Applier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::scripted::Scripted;

#[tokio::test]
async fn it_answers_its_own_user_and_goes_with_the_agent() {
    let (folder, host, stop) = (tempfile::tempdir().unwrap(), Scripted::new(21), CancellationToken::new());
    let missing = local::report(folder.path()).await.unwrap_err().to_string();
    assert!(missing.starts_with("no agent answers at `"), "{missing}");

    let socket = local::open(folder.path()).await.unwrap();
    let path = folder.path().join(SOCKET_NAME);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let serving = tokio::spawn(local::serve(socket, Arc::clone(&host) as Arc<dyn Applier>, stop.clone()));
    assert_eq!(local::report(folder.path()).await.unwrap().observed_at, 1_700_000_000);

    let second = local::open(folder.path()).await.unwrap_err().to_string();
    assert!(second.starts_with("another agent already answers at `"), "{second}");

    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"apply everything\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, r#"{"error":"the only request is `report`"}"#);

    stop.cancel();
    serving.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_killed_agent_left_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SOCKET_NAME);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(local::open(folder.path()).await.unwrap());
    std::fs::write(&path, "mine").unwrap();
    let error = local::open(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("is in the way: it is not a socket of an earlier run"), "{error}");
    let deep = folder.path().join("x".repeat(120));
    let error = local::open(&deep).await.unwrap_err().to_string();
    assert!(error.contains("is longer than 107 bytes"), "{error}");
}
