//! The calls in flight of one tunnel: which replies they still want, and until when. Sends nothing.

use std::collections::BTreeMap;

use async_nats::{Message, StatusCode};
use nats_agent_api::order::{TunnelCall, TunnelReply, TunnelResponse};
use tokio::time::{Instant, sleep_until};

use super::{CallError, MAX_CALL_TIME, MAX_CALLS, MAX_REPLIES};

struct InFlight {
    subject: String,
    wanted: u32,
    replies: u32,
    deadline: Instant,
}

/// Which subjects a tunnel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any: the server knows what the user may.
    User,
    /// Those that ask servers about themselves.
    Monitoring,
}

/// See the module's text.
pub(super) struct Calls {
    in_flight: BTreeMap<u64, InFlight>,
    max_payload: u64,
    reach: Reach,
}

impl Calls {
    pub(super) fn new(max_payload: u64, reach: Reach) -> Calls {
        Calls { in_flight: BTreeMap::new(), max_payload, reach }
    }

    /// Takes a call in, before it is sent.
    pub(super) fn begin(&mut self, call: &TunnelCall) -> Result<(), CallError> {
        let TunnelCall { id, subject, payload, timeout, max_replies, headers } = call;
        let size = payload.len();
        if self.in_flight.contains_key(id) {
            return Err(CallError::IdInUse);
        }
        if self.in_flight.len() >= MAX_CALLS {
            return Err(CallError::TooManyCalls);
        }
        if !is_publishable(subject) {
            return Err(CallError::Invalid("its subject is not one that can be published to"));
        }
        if self.reach == Reach::Monitoring && !identity::is_monitoring(subject) {
            return Err(CallError::PermissionsViolation);
        }
        if !(1..=MAX_REPLIES).contains(max_replies) {
            return Err(CallError::Invalid("it waits for no reply, or for more than 4096"));
        }
        if timeout.is_zero() {
            return Err(CallError::Invalid("it has no time"));
        }
        if !headers.iter().all(|(name, value)| is_header(name, value)) {
            return Err(CallError::Invalid("a header holds what headers cannot"));
        }
        if u64::try_from(size).unwrap_or(u64::MAX) > self.max_payload {
            return Err(CallError::MaxPayload { size, max: self.max_payload });
        }
        let deadline = Instant::now() + (*timeout).min(MAX_CALL_TIME);
        let call = InFlight { subject: subject.clone(), wanted: *max_replies, replies: 0, deadline };
        self.in_flight.insert(*id, call);
        Ok(())
    }

    /// What a reply to call `id` leads to; nothing when that call ended before.
    pub(super) fn reply(&mut self, id: u64, message: Message) -> Vec<TunnelResponse> {
        let Some(call) = self.in_flight.get_mut(&id) else { return Vec::new() };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return self.fail(id, CallError::NoResponders);
        }
        call.replies += 1;
        let status = message.status.map(|status| status.as_u16());
        let headers = message.headers.map(flat).unwrap_or_default();
        let reply = TunnelReply { id, payload: message.payload.to_vec(), status, headers };
        let mut said = vec![TunnelResponse::Reply(reply)];
        if call.replies >= call.wanted {
            said.extend(self.end(id, None));
        }
        said
    }

    /// Ends every call to `subject`, as the user may not publish there.
    pub(super) fn may_not_publish(&mut self, subject: &str) -> Vec<TunnelResponse> {
        let refused = self.in_flight.iter().filter(|(_, call)| call.subject == subject).map(|(id, _)| *id);
        let refused: Vec<u64> = refused.collect();
        refused.into_iter().flat_map(|id| self.fail(id, CallError::PermissionsViolation)).collect()
    }

    /// Ends the calls whose time is over, with what they have.
    pub(super) fn expire(&mut self) -> Vec<TunnelResponse> {
        let now = Instant::now();
        let over: Vec<u64> =
            self.in_flight.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| *id).collect();
        over.into_iter().filter_map(|id| self.end(id, None)).collect()
    }

    /// Ends when the next call's time is over; never while none is in flight.
    pub(super) async fn next_deadline(&self) {
        match self.in_flight.values().map(|call| call.deadline).min() {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Ends a call that failed.
    pub(super) fn fail(&mut self, id: u64, error: CallError) -> Vec<TunnelResponse> {
        self.end(id, Some(error)).into_iter().collect()
    }

    fn end(&mut self, id: u64, error: Option<CallError>) -> Option<TunnelResponse> {
        let call = self.in_flight.remove(&id)?;
        Some(ended(id, call.replies, error))
    }
}

/// The end of a call, as its caller is told.
pub(super) fn ended(id: u64, replies: u32, error: Option<CallError>) -> TunnelResponse {
    TunnelResponse::End { id, replies, error: error.map(|error| error.to_string()) }
}

/// Whether a message can be published there: tokens of visible characters without wildcards.
fn is_publishable(subject: &str) -> bool {
    let token = |token: &str| {
        !token.is_empty()
            && token != "*"
            && token != ">"
            && !token.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    subject.len() <= 1024 && subject.split('.').all(token)
}

/// Whether the wire can carry it. Source: nats-server ADR-4, headers are as in HTTP/1.1.
fn is_header(name: &str, value: &str) -> bool {
    let name_byte = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    !name.is_empty() && name.bytes().all(name_byte) && !value.contains(['\r', '\n'])
}

fn flat(headers: async_nats::HeaderMap) -> BTreeMap<String, String> {
    let last =
        |values: &Vec<async_nats::HeaderValue>| values.last().map(ToString::to_string).unwrap_or_default();
    headers.iter().map(|(name, values)| (name.to_string(), last(values))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call(id: u64, max_replies: u32) -> TunnelCall {
        TunnelCall {
            id,
            subject: "a.b".to_owned(),
            payload: b"12345678".to_vec(),
            timeout: Duration::from_secs(1),
            max_replies,
            headers: BTreeMap::new(),
        }
    }

    fn message(status: Option<StatusCode>) -> Message {
        Message {
            subject: "_INBOX.x.1".into(),
            reply: None,
            payload: "yes".into(),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    fn reply(id: u64) -> TunnelResponse {
        let (payload, headers) = (b"yes".to_vec(), BTreeMap::new());
        TunnelResponse::Reply(TunnelReply { id, payload, status: None, headers })
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_its_reply_and_anything_with_its_time() {
        let mut calls = Calls::new(8, Reach::User);
        calls.begin(&call(1, 1)).unwrap();
        calls.begin(&call(2, 3)).unwrap();
        calls.begin(&call(3, 1)).unwrap();
        let end = ended;
        assert_eq!(calls.reply(1, message(None)), [reply(1), end(1, 1, None)]);
        assert_eq!(calls.reply(1, message(None)), [], "a second reply comes too late");
        assert_eq!(calls.reply(2, message(None)), [reply(2)]);
        assert_eq!(calls.expire(), []);
        calls.next_deadline().await;
        assert_eq!(calls.expire(), [end(2, 1, None), end(3, 0, None)]);
    }

    #[tokio::test]
    async fn calls_that_cannot_succeed_end_at_once() {
        let mut calls = Calls::new(8, Reach::User);
        calls.begin(&call(1, 1)).unwrap();
        let nobody = message(Some(StatusCode::NO_RESPONDERS));
        let error = Some(CallError::NoResponders);
        assert_eq!(calls.reply(1, nobody), [ended(1, 0, error)]);
        calls.begin(&call(2, 9)).unwrap();
        assert_eq!(calls.may_not_publish("a.c"), []);
        let error = Some(CallError::PermissionsViolation);
        assert_eq!(calls.may_not_publish("a.b"), [ended(2, 0, error)]);
    }

    #[tokio::test]
    async fn a_monitor_reaches_what_servers_tell_of_themselves_and_nothing_else() {
        let mut calls = Calls::new(8, Reach::Monitoring);
        let refused = ["orders.new", "$JS.API.STREAM.DELETE.S", "$SYS.REQ.CLAIMS.UPDATE"]
            .into_iter()
            .chain(["$SYS.REQ.SERVER.PING.RELOAD", "$SYS.REQ.SERVER.NA.KICK", "$SYS.REQ.SERVER.PING.VARZ.x"]);
        for subject in refused {
            let wrong = TunnelCall { subject: subject.to_owned(), ..call(1, 1) };
            assert_eq!(calls.begin(&wrong), Err(CallError::PermissionsViolation), "{subject}");
        }
        for (id, subject) in ["$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.NA.VARZ", "$SYS.REQ.SERVER.PING"]
            .into_iter()
            .enumerate()
        {
            let right = TunnelCall { subject: subject.to_owned(), ..call(id as u64, 1) };
            assert_eq!(calls.begin(&right), Ok(()), "{subject}");
        }
    }

    #[tokio::test]
    async fn bounds_hold() {
        let mut calls = Calls::new(8, Reach::User);
        let refused = |calls: &mut Calls, call: TunnelCall| calls.begin(&call).unwrap_err().to_string();
        let large = TunnelCall { payload: b"123456789".to_vec(), ..call(1, 1) };
        assert_eq!(refused(&mut calls, large), "maximum payload exceeded: 9 bytes, at most 8");
        for subject in ["", "a..b", "a.*", ">", "a b", ".a", "a\r\nPUB x"] {
            let wrong = TunnelCall { subject: subject.to_owned(), ..call(1, 1) };
            let text = "invalid call: its subject is not one that can be published to";
            assert_eq!(refused(&mut calls, wrong), text, "{subject:?}");
        }
        let split = TunnelCall { headers: [("A".to_owned(), "b\r\nC: d".to_owned())].into(), ..call(1, 1) };
        assert_eq!(refused(&mut calls, split), "invalid call: a header holds what headers cannot");
        assert_eq!(
            refused(&mut calls, call(1, 0)),
            "invalid call: it waits for no reply, or for more than 4096"
        );
        let hasty = TunnelCall { timeout: Duration::ZERO, ..call(1, 1) };
        assert_eq!(refused(&mut calls, hasty), "invalid call: it has no time");
        for id in 0..64 {
            calls.begin(&call(id, 1)).unwrap();
        }
        assert_eq!(refused(&mut calls, call(3, 1)), "call id is in use");
        let error = Some(CallError::NoResponders).map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(nats_agent_api::order::NO_RESPONDERS));
        assert_eq!(refused(&mut calls, call(64, 1)), "too many calls in flight, at most 64");
    }
}
