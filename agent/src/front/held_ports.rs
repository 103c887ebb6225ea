//! Answers on the ports of a held server, so that others can test whether they reach them before anybody starts.
//!
//! An accepted connection is closed at once: nothing is read, nothing said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// The ports that are answered on now.
#[derive(Debug, Default)]
pub struct HeldPorts {
    open: Mutex<BTreeMap<SocketAddr, JoinHandle<()>>>,
}

impl HeldPorts {
    /// Answers on exactly these ports from now on; when it returns, every other port is free again, so a server may
    /// bind it. May be repeated: a port that is held already stays so without a gap.
    pub async fn hold(&self, ports: &[SocketAddr]) -> BTreeMap<SocketAddr, Result<(), String>> {
        let mut open = self.open.lock().await;
        let ended: Vec<SocketAddr> = open.keys().filter(|port| !ports.contains(port)).copied().collect();
        for port in ended {
            if let Some(task) = open.remove(&port) {
                task.abort();
                // The listener is dropped with the task: wait for that, the result says only "cancelled".
                let _cancelled = task.await;
            }
        }
        let mut results = BTreeMap::new();
        for port in ports {
            let held = if open.contains_key(port) {
                Ok(())
            } else {
                TcpListener::bind(port)
                    .await
                    .map_err(|error| format!("cannot listen on `{port}`: {error}"))
                    .map(|listener| {
                        open.insert(*port, tokio::spawn(answer(listener)));
                    })
            };
            results.insert(*port, held);
        }
        results
    }
}

async fn answer(listener: TcpListener) {
    loop {
        if let Err(error) = listener.accept().await {
            tracing::debug!(%error, "a connection to a held port failed");
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn ports_answer_while_held_and_are_free_afterwards() {
        let held = HeldPorts::default();
        let first: SocketAddr = "127.71.3.1:5222".parse().unwrap();
        let second: SocketAddr = "127.71.3.1:7222".parse().unwrap();
        let results = held.hold(&[first, second]).await;
        assert_eq!(results, [(first, Ok(())), (second, Ok(()))].into());
        let mut stream = TcpStream::connect(first).await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);

        assert_eq!(held.hold(&[second]).await, [(second, Ok(()))].into());
        let taken = TcpListener::bind(first).await.unwrap();
        TcpStream::connect(second).await.unwrap();

        let error = held.hold(&[first]).await.remove(&first).unwrap().unwrap_err();
        assert!(error.starts_with("cannot listen on `127.71.3.1:5222`: Address already in use"), "{error}");
        drop(taken);
        assert!(held.hold(&[]).await.is_empty());
        TcpListener::bind(second).await.unwrap();
    }
}
