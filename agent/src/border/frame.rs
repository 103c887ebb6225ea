//! One message on the stream: its length as a big-endian `u32`, then so many bytes of JSON.
//!
//! Both ways are bounded, in bytes and in time, and every buffer that may have held a secret is wiped. No error quotes
//! what was read.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Longest message in bytes. All that a caller of the agent may send, or a ledger holds for an answer, fits with its
/// quotes escaped (`nats_agent_api::MAX_UP_BYTES`).
pub const MAX_FRAME_BYTES: usize = 40 * 1024 * 1024;
/// Time that a message may take from its first byte to its last, either way.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// The first room for a message whose length somebody only says.
const FIRST_ROOM: usize = 64 * 1024;

/// Why the stream can be used no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Too long.
    #[error("a message has {found} bytes, at most {MAX_FRAME_BYTES} are taken")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A message that began did not end.
    #[error("a message took longer than {} s", FRAME_TIMEOUT.as_secs())]
    Slow,
    /// Not a message of this version.
    #[error("a message cannot be read: {kind} at byte {at}")]
    Malformed {
        /// What is wrong with it.
        kind: &'static str,
        /// Where in the message.
        at: usize,
    },
}

/// A message that does not fit into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {found} bytes, at most {MAX_FRAME_BYTES} go from one process to the other")]
pub(super) struct TooLong {
    /// Its length in bytes.
    pub(super) found: usize,
}

/// Length of a message in bytes.
///
/// # Errors
/// When it is too long.
pub(super) fn length<M: Serialize>(message: &M) -> Result<usize, TooLong> {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, message).expect("messages are plain data with text for keys");
    if count.0 > MAX_FRAME_BYTES { Err(TooLong { found: count.0 }) } else { Ok(count.0) }
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The frame of a message whose [`length`] is known. The buffer never grows, so that no copy of it is left behind.
pub(super) fn encode<M: Serialize>(message: &M, length: usize) -> Zeroizing<Vec<u8>> {
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + length));
    let announced = u32::try_from(length).expect("a length was checked to be at most that of a frame");
    frame.extend_from_slice(&announced.to_be_bytes());
    serde_json::to_writer(&mut *frame, message).expect("messages are plain data with text for keys");
    frame
}

/// Reads a message out of its bytes.
///
/// # Errors
/// [`FrameError::Malformed`].
pub(super) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The text of the error may quote a secret.
        let kind = match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "it is cut off",
            serde_json::error::Category::Syntax => "it is no JSON",
            serde_json::error::Category::Data => "it is of another form",
        };
        FrameError::Malformed { kind, at: error.column() }
    })
}

/// Reads the next message and its length; `None` when the other side has ended the stream between two messages.
///
/// # Errors
/// [`FrameError`].
pub(super) async fn read<M: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(M, usize)>, FrameError> {
    let Some(first) = read_first(stream).await? else { return Ok(None) };
    let rest = async {
        let mut announced = [first, 0, 0, 0];
        stream.read_exact(&mut announced[1..]).await?;
        let length = usize::try_from(u32::from_be_bytes(announced)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { found: length });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(FIRST_ROOM)));
        while bytes.len() < length {
            if bytes.len() == bytes.capacity() {
                grow(&mut bytes, length);
            }
            let room = bytes.capacity().min(length) - bytes.len();
            if (&mut *stream).take(room as u64).read_buf(&mut *bytes).await? == 0 {
                return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok((decode(&bytes)?, length))
    };
    match tokio::time::timeout(FRAME_TIMEOUT, rest).await {
        Ok(message) => message.map(Some),
        Err(_) => Err(FrameError::Slow),
    }
}

/// A bigger buffer with the same content; the smaller one is wiped.
fn grow(bytes: &mut Zeroizing<Vec<u8>>, length: usize) {
    let mut bigger = Zeroizing::new(Vec::with_capacity(length.min(bytes.capacity().saturating_mul(4))));
    bigger.extend_from_slice(bytes);
    *bytes = bigger;
}

/// Waits for as long as it takes.
async fn read_first(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u8>, FrameError> {
    let mut first = [0_u8];
    Ok(if stream.read(&mut first).await? == 0 { None } else { Some(first[0]) })
}

/// Writes a message whose [`length`] is known.
///
/// # Errors
/// [`FrameError`]; what is on the stream then is of no use.
pub(super) async fn write<M: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &M,
    length: usize,
) -> Result<(), FrameError> {
    let frame = encode(message, length);
    match tokio::time::timeout(FRAME_TIMEOUT, stream.write_all(&frame)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(FrameError::Slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let mut messages = Vec::new();
        while let Some((message, _)) = read::<String>(&mut bytes).await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let long = "x".repeat(1_000_000);
        let mut stream = Vec::new();
        for message in ["", "one", &long] {
            write(&mut stream, &message, length(&message).unwrap()).await.unwrap();
        }
        assert_eq!(read_all(&stream).await.unwrap(), ["", "one", &long]);
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_not_quoted() {
        let error = |bytes: Vec<u8>| async move { read_all(&bytes).await.unwrap_err().to_string() };
        assert_eq!(error(b"\0\0\0\x09\"sesame!".to_vec()).await, "the connection broke");
        assert_eq!(error(b"\0\0".to_vec()).await, "the connection broke");
        assert_eq!(
            error(b"\0\0\0\x08{\"se\":1}".to_vec()).await,
            "a message cannot be read: it is of another form at byte 0"
        );
        assert_eq!(
            error(b"\0\0\0\x07sesame!".to_vec()).await,
            "a message cannot be read: it is no JSON at byte 1"
        );
        assert_eq!(
            error(b"\xff\xff\xff\xff".to_vec()).await,
            "a message has 4294967295 bytes, at most 41943040 are taken"
        );
        let found = length(&"x".repeat(MAX_FRAME_BYTES)).unwrap_err().found;
        assert_eq!(found, MAX_FRAME_BYTES + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_go_on_ends_the_stream() {
        let (mut ours, _theirs) = tokio::io::duplex(8);
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"\0\0\0\x09\"s").await.unwrap();
        let error = read::<String>(&mut far).await.unwrap_err();
        assert_eq!(error.to_string(), "a message took longer than 10 s");
        let error = write(&mut ours, &"longer than what goes in", 26).await.unwrap_err();
        assert_eq!(error.to_string(), "a message took longer than 10 s");
    }
}
