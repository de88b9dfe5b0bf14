//! From a stream of bytes to messages, and back.

use minicbor::Decode;

use super::{
    bounds::Excess,
    header::{HEADER_LEN, Header, MAX_LENGTH},
    message::Message,
};

/// A message with what its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Ties answers to requests.
    pub id: u32,
    /// The message; none if its type is not known, which is no error.
    pub message: Option<Message>,
}

/// What comes is no message. Nothing behind it can be read, so the connection must end.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The mark is missing.
    #[error("what comes is no bundle header")]
    NoMark,
    /// The header's length is impossible.
    #[error("a message of {0} bytes: {HEADER_LEN} to {MAX_LENGTH} are possible")]
    Length(u32),
    /// The payload is not what the type says.
    #[error("a broken message of type {number}: {error}")]
    Payload {
        /// The type.
        number: u32,
        /// What is wrong.
        error: minicbor::decode::Error,
    },
    /// The payload goes on behind the message.
    #[error("a message of type {number} with {bytes} bytes behind its end")]
    Trailing {
        /// The type.
        number: u32,
        /// How many bytes are left over.
        bytes: usize,
    },
    /// A field holds more than it may.
    #[error("a message of type {number} with too much in it: {excess}")]
    Excess {
        /// The type.
        number: u32,
        /// What is too much.
        excess: Excess,
    },
}

/// Writes a message with its header. What [`Message::check`] finds nothing wrong with is never longer than [`MAX_LENGTH`].
#[must_use]
pub fn encode(id: u32, message: &Message) -> Vec<u8> {
    let payload = message.payload();
    let length = HEADER_LEN + payload.len();
    let header = Header {
        id,
        number: message.number(),
        length: u32::try_from(length).unwrap_or(u32::MAX),
    };
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(header.to_bytes());
    bytes.extend(payload);
    bytes
}

/// Puts messages together from whatever parts of them arrive.
///
/// If each [`push`](Self::push) is followed by [`poll`](Self::poll) until there is nothing more, it holds no more than one
/// message and what was pushed last. After an error it takes in nothing more, and says the same again.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How much of `bytes` has been read. Taking that out once for each push, not for each message, is what keeps many
    /// small messages cheap.
    read: usize,
    broken: bool,
}

impl Decoder {
    /// Takes in bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next message, if all of it has arrived.
    ///
    /// # Errors
    ///
    /// What has arrived is no message.
    pub fn poll(&mut self) -> Result<Option<Frame>, WireError> {
        match next(&self.bytes[self.read..]) {
            Ok(Some((frame, length))) => {
                self.read += length;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.broken = true;
                Err(error)
            }
        }
    }

    /// Returns how many bytes it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }
}

/// Reads a payload to its end.
pub(super) fn read_payload<'b, T: Decode<'b, ()>>(
    number: u32,
    payload: &'b [u8],
) -> Result<T, WireError> {
    let mut decoder = minicbor::Decoder::new(payload);
    let body = decoder
        .decode()
        .map_err(|error| WireError::Payload { number, error })?;
    match payload.len() - decoder.position() {
        0 => Ok(body),
        bytes => Err(WireError::Trailing { number, bytes }),
    }
}

/// Reads the message at the beginning of `bytes`, and its length; none if it has not arrived as a whole.
fn next(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let header = Header::from_bytes(*header).ok_or(WireError::NoMark)?;
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    if length < HEADER_LEN || header.length > MAX_LENGTH {
        return Err(WireError::Length(header.length));
    }
    let Some(payload) = bytes.get(HEADER_LEN..length) else {
        return Ok(None);
    };
    let message = Message::read(header.number, payload).transpose()?;
    if let Some(message) = &message {
        let number = header.number;
        message
            .check()
            .map_err(|excess| WireError::Excess { number, excess })?;
    }
    let id = header.id;
    Ok(Some((Frame { id, message }, length)))
}
