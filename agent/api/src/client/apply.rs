//! The events of a running apply.

use host_state::report::{ApplyEvent, Outcome, Report};
use tonic::Streaming;

use super::CallError;
use crate::convert;
use crate::wire;

/// Events of one apply, ending with how it ended. Dropping it does not stop the agent.
#[derive(Debug)]
pub struct ApplyStream {
    address: String,
    events: Streaming<wire::ApplyEvent>,
    is_finished: bool,
}

impl ApplyStream {
    pub(super) fn new(address: String, events: Streaming<wire::ApplyEvent>) -> ApplyStream {
        ApplyStream { address, events, is_finished: false }
    }

    /// The next event; `None` after `Finished`.
    ///
    /// # Errors
    /// [`CallError`]; also [`CallError::Lost`] when the stream ends before `Finished`.
    pub async fn next(&mut self) -> Result<Option<ApplyEvent>, CallError> {
        if self.is_finished {
            return Ok(None);
        }
        let message = self.events.message().await;
        let message = message.map_err(|status| CallError::from_status(&self.address, "Apply", status))?;
        let Some(wire::ApplyEvent { event_json }) = message else {
            return Err(CallError::Lost {
                address: self.address.clone(),
                method: "Apply",
                reason: "it ended before it said how".to_owned(),
            });
        };
        let event: ApplyEvent = convert::answer("an event", &event_json)
            .map_err(|source| CallError::unreadable(&self.address, "Apply", source))?;
        self.is_finished = matches!(event, ApplyEvent::Finished { .. });
        Ok(Some(event))
    }

    /// How it ended, each event before that told to `tell`.
    ///
    /// # Errors
    /// As [`ApplyStream::next`].
    pub async fn finish(
        mut self,
        mut tell: impl FnMut(&ApplyEvent) + Send,
    ) -> Result<(Outcome, Report), CallError> {
        loop {
            match self.next().await? {
                Some(ApplyEvent::Finished { outcome, report }) => return Ok((outcome, *report)),
                Some(event @ (ApplyEvent::Started { .. } | ApplyEvent::Done { .. })) => tell(&event),
                None => {
                    return Err(CallError::Lost {
                        address: self.address.clone(),
                        method: "Apply",
                        reason: "its end was already read".to_owned(),
                    });
                }
            }
        }
    }
}
