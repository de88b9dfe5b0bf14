//! Any payload of any type: what is understood says the same when it is written and read again.

use withy::wire::{Decoder, Frame, HEADER_LEN, MARK, MAX_LENGTH, Message, encode};

/// Reads an input: a byte for the type, and a payload.
///
/// # Panics
///
/// A message that was understood says something else when it is written and read again.
pub fn run(bytes: &[u8]) {
    let Some((number, payload)) = bytes.split_first() else {
        return;
    };
    let Some(message) = decode(&framed(u32::from(*number), payload)) else {
        return;
    };
    assert_eq!(message.check(), Ok(()), "{message:?}");
    let written = encode(1, &message);
    assert!(
        written.len() <= MAX_LENGTH as usize,
        "{} bytes",
        written.len()
    );
    assert_eq!(decode(&written), Some(message));
}

fn framed(number: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + payload.len()).unwrap_or(u32::MAX);
    let header = [MARK, 1, number, length].map(u32::to_be_bytes);
    [header.as_flattened(), payload].concat()
}

fn decode(bytes: &[u8]) -> Option<Message> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    match decoder.poll() {
        Ok(Some(Frame { message, .. })) => message,
        Ok(None) | Err(_) => None,
    }
}
