//! One logged-in connection to the local nats-server: publishes calls, hands replies to the call they belong to.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, Message,
    ServerError, Subscriber,
};
use futures_util::StreamExt;
use nats_agent_api::order::TunnelCall;
use tokio::sync::{mpsc, oneshot};

use super::{CallError, Login, Target, TunnelError};
use crate::front::server_tls;

/// Longest time for connecting, the caller's signature included.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies that wait for a slow caller before the client library drops some; the calls then end by their deadline.
const WAITING_REPLIES: usize = 1024;

/// A nonce to be signed, and where the signature goes.
pub(super) struct Nonce {
    pub(super) nonce: Vec<u8>,
    pub(super) signature: oneshot::Sender<Vec<u8>>,
}

/// A login under way.
pub(super) struct Connecting<F> {
    pub(super) connected: F,
    pub(super) nonces: mpsc::Receiver<Nonce>,
}

/// What comes from the server.
pub(super) enum Incoming {
    /// A reply to the call with this id.
    Reply(u64, Box<Message>),
    /// The server refused a publish to this subject.
    MayNotPublish(String),
    /// The connection is over.
    Ended(String),
}

/// See the module's text.
pub(super) struct Connection {
    client: Client,
    inbox: String,
    replies: Subscriber,
    events: mpsc::Receiver<Incoming>,
}

/// Begins to log in; nothing happens until `connected` is polled.
pub(super) fn connect(
    target: &Target,
    login: Login,
) -> Result<Connecting<impl Future<Output = Result<Connection, TunnelError>> + use<>>, TunnelError> {
    let tls = server_tls::verified(&target.host_ca_pem, target.address).map_err(TunnelError::Tls)?;
    let (nonce_sender, nonces) = mpsc::channel::<Nonce>(1);
    let (event_sender, events) = mpsc::channel(16);
    let options = ConnectOptions::with_auth_callback(move |nonce| {
        let (nonce_sender, login) = (nonce_sender.clone(), login.clone());
        async move {
            let (jwt, signature) = match login {
                Login::Caller { user_jwt } => {
                    let gone = |()| async_nats::AuthError::new("the caller left");
                    let (signature, signed) = oneshot::channel();
                    nonce_sender.send(Nonce { nonce, signature }).await.map_err(|_| gone(()))?;
                    (user_jwt, signed.await.map_err(|_| gone(()))?)
                }
                Login::Monitor { user_jwt, user_key } => (user_jwt, user_key.sign(&nonce).to_vec()),
            };
            let mut auth = async_nats::Auth::new();
            auth.jwt = Some(jwt);
            auth.signature = Some(signature);
            Ok(auth)
        }
    })
    .name("nats-agent tunnel")
    .require_tls(true)
    .tls_client_config(tls)
    .ignore_discovered_servers()
    .max_reconnects(1)
    .connection_timeout(LOGIN_TIMEOUT)
    .subscription_capacity(WAITING_REPLIES)
    .event_callback(move |event| {
        let sender = event_sender.clone();
        async move {
            if let Some(event) = told(event) {
                // Full or closed: the tunnel is ending, or sixteen refusals are waiting already.
                let _unless_ended = sender.try_send(event);
            }
        }
    });
    let client_address = target.client;
    let connected = async move {
        let url = format!("tls://{client_address}");
        let client = options.connect(url).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation => TunnelError::AuthorizationViolation,
            ConnectErrorKind::TimedOut => TunnelError::Timeout,
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Dns
            | ConnectErrorKind::Authentication
            | ConnectErrorKind::Tls
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {
                TunnelError::Unreachable { client: client_address, source: Box::new(error) }
            }
        })?;
        let unreachable = |source| TunnelError::Unreachable { client: client_address, source };
        let inbox = client.new_inbox();
        let replies =
            client.subscribe(format!("{inbox}.*")).await.map_err(|error| unreachable(Box::new(error)))?;
        // The login is answered only after this round trip: a refused user shows here, not in its first call.
        client.flush().await.map_err(|error| unreachable(Box::new(error)))?;
        Ok(Connection { client, inbox, replies, events })
    };
    Ok(Connecting { connected, nonces })
}

/// The events that matter to a tunnel.
fn told(event: Event) -> Option<Incoming> {
    match event {
        Event::ServerError(ServerError::Other(text)) => Some(match refused_subject(&text) {
            Some(subject) => Incoming::MayNotPublish(subject.to_owned()),
            None => Incoming::Ended(text),
        }),
        Event::ServerError(ServerError::AuthorizationViolation) => {
            Some(Incoming::Ended("authorization violation".to_owned()))
        }
        Event::Disconnected | Event::Closed => Some(Incoming::Ended("disconnected".to_owned())),

        Event::Connected
        | Event::LameDuckMode
        | Event::Draining
        | Event::SlowConsumer(_)
        | Event::ServerError(ServerError::SlowConsumer(_))
        | Event::ClientError(_) => None,
    }
}

/// The subject in `Permissions Violation for Publish to "orders.new"`.
/// Source: nats-server 2.15.1 server/client.go `pubPermissionViolation`.
pub(crate) fn refused_subject(text: &str) -> Option<&str> {
    let start = text.to_ascii_lowercase().find("permissions violation for publish to")?;
    let quoted = text.get(start..)?.split('"').nth(1)?;
    Some(quoted)
}

impl Connection {
    /// The server's name, and the largest payload that it takes.
    pub(super) fn server(&self) -> (String, u64) {
        let info = self.client.server_info();
        (info.server_name, u64::try_from(info.max_payload).unwrap_or(u64::MAX))
    }

    /// Sends a call; its replies come to [`Connection::reply`] under its id.
    pub(super) async fn publish(&self, call: TunnelCall) -> Result<(), (u64, CallError)> {
        let TunnelCall { id, subject, payload, headers, timeout: _, max_replies: _ } = call;
        let inbox = format!("{}.{id}", self.inbox);
        let sent = if headers.is_empty() {
            self.client.publish_with_reply(subject, inbox, payload.into()).await
        } else {
            let headers = headers_of(&headers).map_err(|error| (id, error))?;
            self.client.publish_with_reply_and_headers(subject, inbox, headers, payload.into()).await
        };
        sent.map_err(|error| (id, CallError::NotSent(error.to_string())))
    }

    /// What comes next. May be dropped while waiting: nothing is lost.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            let message = tokio::select! {
                event = self.events.recv() => {
                    return event.unwrap_or_else(|| Incoming::Ended("disconnected".to_owned()));
                }
                message = self.replies.next() => message,
            };
            let Some(message) = message else { return Incoming::Ended("its subscription ended".to_owned()) };
            let id = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            if let Some(id) = id {
                return Incoming::Reply(id, Box::new(message));
            }
        }
    }
}

/// Headers as the client library wants them; names and values were checked when the call was taken in.
fn headers_of(headers: &BTreeMap<String, String>) -> Result<HeaderMap, CallError> {
    let refused = |name: &String| CallError::NotSent(format!("header `{name}` cannot be sent"));
    let header = |(name, value): (&String, &String)| {
        let key = name.parse::<HeaderName>().map_err(|_| refused(name))?;
        Ok((key, value.parse::<HeaderValue>().map_err(|_| refused(name))?))
    };
    headers.iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::refused_subject;

    #[test]
    fn the_refused_subject_is_found() {
        let text = r#"Permissions Violation for Publish to "orders.new""#;
        assert_eq!(refused_subject(text), Some("orders.new"));
        assert_eq!(refused_subject(&format!("'{text}'")), Some("orders.new"));
        assert_eq!(refused_subject("Permissions Violation for Subscription to \"x\""), None);
        assert_eq!(refused_subject("User Authentication Expired"), None);
    }
}
