//! What holds for every message and every stream of bytes.

mod limits;
mod stream;
mod versions;

use super::{
    Decoder, Frame, WireError,
    header::{HEADER_LEN, Header},
};

/// Everything that a decoder makes of parts that arrive one after the other.
fn read_all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, WireError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for part in parts {
        decoder.push(part);
        while let Some(frame) = decoder.poll()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// A message of any type with any payload.
fn framed(number: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        id: 7,
        number,
        length: u32::try_from(HEADER_LEN + payload.len()).unwrap(),
    };
    [&header.to_bytes(), payload].concat()
}
