//! The fake's end of a tunnel: checks the user's signature, then answers from the script.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use identity::UserPublicKey;
use tokio::sync::mpsc;

use super::Shared;
use crate::order::{NO_RESPONDERS, TunnelCall, TunnelLogin, TunnelReply, TunnelRequest, TunnelResponse};
use crate::server::ServiceError;

/// What every fake asks to be signed.
const NONCE: &[u8] = b"a nonce of a fake nats-server";
/// nats-server's default. Source: nats-server 2.15.1 server/const.go (`MAX_PAYLOAD_SIZE`).
const MAX_PAYLOAD: u64 = 1024 * 1024;

pub(super) async fn serve(
    shared: Arc<Shared>,
    server_name: String,
    mut requests: mpsc::Receiver<TunnelRequest>,
    responses: mpsc::Sender<TunnelResponse>,
) -> Result<(), ServiceError> {
    let Some(TunnelRequest::Open(login)) = requests.recv().await else { return Err(order()) };
    if let TunnelLogin::User { jwt } = login {
        log_in(&jwt, &mut requests, &responses).await?;
    }
    say(&responses, TunnelResponse::Opened { server_name, max_payload: MAX_PAYLOAD }).await;
    while let Some(request) = requests.recv().await {
        let TunnelRequest::Call(call) = request else { return Err(order()) };
        let answers = shared.script().answers.clone();
        let responses = responses.clone();
        // Each call by itself, as with a real server: slow ones do not hold up others.
        tokio::spawn(async move {
            let TunnelCall { id, subject, payload, headers: _, timeout: _, max_replies } = call;
            let replies = tokio::task::spawn_blocking(move || answers(&subject, &payload)).await;
            let replies = replies.unwrap_or_default();
            let count = u32::try_from(replies.len()).unwrap_or(u32::MAX).min(max_replies);
            for payload in replies.into_iter().take(max_replies as usize) {
                let reply = TunnelReply { id, payload, status: None, headers: BTreeMap::new() };
                say(&responses, TunnelResponse::Reply(reply)).await;
            }
            let error = (count == 0).then(|| NO_RESPONDERS.to_owned());
            say(&responses, TunnelResponse::End { id, replies: count, error }).await;
        });
    }
    Ok(())
}

fn order() -> ServiceError {
    ServiceError::Invalid("a tunnel opens with a user, then a signature".to_owned())
}

/// Has the user of `jwt` sign the nonce.
async fn log_in(
    jwt: &str,
    requests: &mut mpsc::Receiver<TunnelRequest>,
    responses: &mpsc::Sender<TunnelResponse>,
) -> Result<(), ServiceError> {
    let user = subject(jwt).ok_or_else(|| ServiceError::Invalid("the user JWT cannot be read".to_owned()))?;
    say(responses, TunnelResponse::Nonce(NONCE.to_vec())).await;
    let Some(TunnelRequest::Signature(signature)) = requests.recv().await else { return Err(order()) };
    if user.verify(NONCE, &signature) {
        return Ok(());
    }
    Err(ServiceError::Denied("nats-server refused the user: authorization violation".to_owned()))
}

async fn say(responses: &mpsc::Sender<TunnelResponse>, response: TunnelResponse) {
    // The caller may have gone.
    let _ = responses.send(response).await;
}

/// Whose JWT it is.
fn subject(jwt: &str) -> Option<UserPublicKey> {
    let payload = BASE64URL_NOPAD.decode(jwt.split('.').nth(1)?.as_bytes()).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("sub")?.as_str()?.parse().ok()
}
