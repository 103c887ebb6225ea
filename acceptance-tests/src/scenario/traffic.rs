//! Real traffic by a client that is not ours: publishes in one cluster, reads in another.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use futures_util::StreamExt;

use crate::rig::agents::Host;

/// Port that clients connect to.
pub const CLIENT_PORT: u16 = 4222;
/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one conversation to its end.
///
/// # Errors
/// What the conversation says.
pub fn talk<T>(conversation: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(conversation)
}

/// Connects to the server of `host` over TLS with a credentials file.
///
/// # Errors
/// When the server cannot be reached, is not who it should be, or refuses the credentials.
pub async fn connect(host: &Host, credentials: &Path) -> Result<async_nats::Client> {
    connect_to(host.address(), &host.state_dir().join("current/ca.pem"), credentials).await
}

/// As [`connect`], by the server's address and the file of the CA that signed its issuer.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to(address: Ipv4Addr, ca: &Path, credentials: &Path) -> Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::with_credentials_file(credentials)
        .await
        .context("read the credentials")?
        .require_tls(true)
        .add_root_certificates(ca.to_owned())
        .connection_timeout(PATIENCE);
    let connected = options.connect(format!("tls://{address}:{CLIENT_PORT}")).await;
    connected.with_context(|| format!("connect to the server at {address}"))
}

/// Publishes `count` messages on `subject` and waits until the stream has acknowledged each.
///
/// # Errors
/// When one is not acknowledged.
pub async fn publish(client: &async_nats::Client, subject: &str, count: u64) -> Result<()> {
    let context = jetstream::new(client.clone());
    for number in 0..count {
        let subject = subject.to_owned();
        let published = tokio::time::timeout(PATIENCE, async {
            context.publish(subject, format!("message {number}").into()).await?.await
        });
        published
            .await
            .context("no acknowledgement in time")?
            .with_context(|| format!("message {number}"))?;
    }
    Ok(())
}

/// Reads the first `count` messages of `stream`, or of its subject `filter`, through a consumer of its own. Gives how many
/// came, which is `count`.
///
/// # Errors
/// When they do not all come, or come changed.
pub async fn read(
    client: &async_nats::Client,
    stream: &str,
    filter: Option<&str>,
    count: u64,
) -> Result<u64> {
    let context = jetstream::new(client.clone());
    let found = context.get_stream(stream).await.with_context(|| format!("find stream `{stream}`"))?;
    let config = jetstream::consumer::pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        // None is no filter.
        filter_subject: filter.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let consumer = found.create_consumer(config).await.context("make a consumer")?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut number = 0;
    while number < count {
        let wanted = usize::try_from(count - number)?;
        let fetched = consumer.fetch().max_messages(wanted).expires(PATIENCE).messages();
        let mut messages = fetched.await.context("ask for messages")?;
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                // Gateways learn of a new consumer's interest with the first request that nobody took: "503" until
                // then, and clients ask again.
                Err(error) if error.to_string().contains("503") => break,
                Err(error) => bail!("receive message {number}: {error}"),
            };
            let expected = format!("message {number}");
            ensure!(message.payload == expected.as_bytes(), "message {number} came changed");
            number += 1;
        }
        ensure!(tokio::time::Instant::now() < deadline, "only {number} of {count} messages came");
        if number < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(number)
}
