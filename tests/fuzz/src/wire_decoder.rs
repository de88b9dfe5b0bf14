//! Any bytes, in any parts, to the decoder of the control protocol.

use withy::wire::{Decoder, Frame, HEADER_LEN};

/// How many bytes of an input say how the rest is cut: each is the length of a part less one, over and over.
pub const CUTS: usize = 4;

/// Reads `bytes` in parts and as a whole, which must come to the same.
///
/// # Panics
///
/// The decoder misbehaves.
pub fn run(bytes: &[u8]) {
    let Some((cuts, stream)) = bytes.split_first_chunk::<CUTS>() else {
        return;
    };
    let whole = read([stream]);
    assert!(whole.0.len() * HEADER_LEN <= stream.len());
    assert_eq!(read(cut(stream, *cuts)), whole);
}

/// Everything that is decoded, and the error at which that ends, if it does.
fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for part in parts {
        decoder.push(part);
        loop {
            match decoder.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}

fn cut(mut stream: &[u8], cuts: [u8; CUTS]) -> impl Iterator<Item = &[u8]> {
    let mut lengths = cuts.into_iter().cycle();
    std::iter::from_fn(move || {
        let length = usize::from(lengths.next()?) + 1;
        let (part, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        (!part.is_empty()).then_some(part)
    })
}
