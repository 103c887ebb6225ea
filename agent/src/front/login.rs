//! Logging in to the local nats-server as one of the agent's own users.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions};
use tokio::sync::Mutex;

use crate::front::server_tls;
use crate::roles::LocalServer;

/// Longest time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the agent is not let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// TLS cannot be prepared.
    #[error("cannot prepare TLS to the local nats-server")]
    Tls(#[source] server_tls::ServerTlsError),
    /// Not reached, or refused.
    #[error("cannot connect to the local nats-server at `{client}` as the agent's {user}")]
    Connect {
        /// Where.
        client: SocketAddr,
        /// As whom, like `system user`.
        user: &'static str,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
}

/// Connects once as the user that `server` names; `user` says in messages who that is. The connection comes back by
/// itself at most once: a stopped server costs nothing, and whoever asks next connects anew.
///
/// # Errors
/// [`LoginError`], after three seconds at the latest.
pub async fn login(server: &LocalServer, user: &'static str) -> Result<Client, LoginError> {
    let LocalServer { client, address, host_ca_pem, user_jwt, user_key } = server;
    let tls = server_tls::verified(host_ca_pem, *address).map_err(LoginError::Tls)?;
    let (jwt, key) = (user_jwt.clone(), Arc::clone(user_key));
    let options = ConnectOptions::with_auth_callback(move |nonce| {
        let (jwt, key) = (jwt.clone(), Arc::clone(&key));
        async move {
            let mut auth = async_nats::Auth::new();
            auth.jwt = Some(jwt);
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    });
    options
        .name("nats-agent")
        .require_tls(true)
        .tls_client_config(tls)
        .ignore_discovered_servers()
        .max_reconnects(1)
        .connection_timeout(CONNECT_TIMEOUT)
        .connect(format!("tls://{client}"))
        .await
        .map_err(|source| LoginError::Connect { client: *client, user, source })
}

/// Whether both mean the same login: same place, same trust, same user.
#[must_use]
pub fn is_same(one: &LocalServer, other: &LocalServer) -> bool {
    let LocalServer { client, address, host_ca_pem, user_jwt, user_key: _belongs_to_the_jwt } = one;
    *client == other.client
        && *address == other.address
        && *host_ca_pem == other.host_ca_pem
        && *user_jwt == other.user_jwt
}

/// The system user's connection, kept between questions: a new one would cost a handshake for each of hundreds of
/// accounts.
#[derive(Debug, Default)]
pub struct SystemLogin {
    kept: Mutex<Option<(LocalServer, Client)>>,
}

impl SystemLogin {
    /// The kept connection while it is one to this server as this user, else a new one.
    ///
    /// # Errors
    /// As [`login`].
    pub async fn connected(&self, server: &LocalServer) -> Result<Client, LoginError> {
        let mut kept = self.kept.lock().await;
        if let Some((known, client)) = kept.as_ref()
            && is_same(known, server)
            && client.connection_state() == State::Connected
        {
            return Ok(client.clone());
        }
        *kept = None;
        let client = login(server, "system user").await?;
        *kept = Some((server.clone(), client.clone()));
        Ok(client)
    }
}
