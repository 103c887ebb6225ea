//! The border between front and applier as two processes: both traits of [`crate::roles`], both ways, over one stream
//! of a Unix socket.
//!
//! ```text
//! front process                                         applier process
//! Front -> RemoteApplier --- calls, answers --------->  applier_end -> LocalApplier
//! Network <- Reader      <-- calls, events, standing -  RemoteView  <- LocalApplier
//! ```
//!
//! Messages are JSON behind their length, in bounded frames; calls have ids, and so many may be under way. There are no
//! versions: both processes are of one package. Stopping nats-server is no message: neither process stops it by coming
//! or going.
//!
//! *The front is lost*: the applier goes on with what it was asked, and lets in the next one. *The applier is lost*:
//! [`RemoteApplier::lost`] says so, and the front's process ends.

mod applier_end;
mod convert;
mod frame;
mod link;
mod message;
mod places;
mod remote_applier;
mod remote_view;
mod secret;

pub use applier_end::{FrontUser, SOCKET_NAME, open, serve};
pub use frame::MAX_FRAME_BYTES;
pub use remote_applier::{ConnectError, RemoteApplier};
pub use remote_view::RemoteView;

/// A message either way, for `crate::fuzz`: what was read can be sent again and arrives as it is.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    fn again<M: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
        let Ok(message) = frame::decode::<M>(bytes) else { return };
        let Ok(length) = frame::length(&message) else { return };
        let sent = frame::encode(&message, length);
        drop(message);
        let message: M = frame::decode(&sent[4..]).expect("what was read can be read again");
        assert_eq!(frame::length(&message), Ok(length));
    }
    again::<message::ToApplier>(bytes);
    again::<message::ToFront>(bytes);
}

#[cfg(test)]
mod tests;
