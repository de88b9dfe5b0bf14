//! From a stream of bytes to messages, and back.

use super::{
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
}

/// Writes a message with its header.
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

/// Puts messages together from whatever parts of them arrive. It never holds more than one message.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes in bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next message, if all of it has arrived.
    ///
    /// # Errors
    ///
    /// What has arrived is no message.
    pub fn poll(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(header) = self.bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::from_bytes(*header).ok_or(WireError::NoMark)?;
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if length < HEADER_LEN || header.length > MAX_LENGTH {
            return Err(WireError::Length(header.length));
        }
        if self.bytes.len() < length {
            return Ok(None);
        }
        let message = Message::read(header.number, &self.bytes[HEADER_LEN..length])
            .transpose()
            .map_err(|error| WireError::Payload {
                number: header.number,
                error,
            })?;
        self.bytes.drain(..length);
        Ok(Some(Frame {
            id: header.id,
            message,
        }))
    }
}
