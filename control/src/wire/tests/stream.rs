//! Streams of messages.

use std::{collections::HashSet, time::Instant};

use proptest::{
    collection::vec, prelude::*, sample::Index, strategy::ValueTree as _, test_runner::TestRunner,
};

use super::{framed, read_all};
use crate::wire::{
    Decoder, Echo, Frame, HEADER_LEN, MAX_LENGTH, Message, WireError, encode, strategies::message,
};

/// Cuts bytes at places in any order.
fn cut<'a>(bytes: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|at| at.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    let parts = ends.into_iter().map(|end| {
        let part = &bytes[from..end];
        from = end;
        part
    });
    parts.collect()
}

/// Bytes that are not too far from messages: whole ones, parts of them, and noise.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let whole = message().prop_map(|message| encode(1, &message));
    let unknown = (any::<u32>(), vec(any::<u8>(), 0..40))
        .prop_map(|(number, payload)| framed(number, &payload));
    let altered = (message(), any::<Index>(), any::<u8>()).prop_map(|(message, at, byte)| {
        let mut bytes = encode(1, &message);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    let piece = prop_oneof![whole, unknown, altered, vec(any::<u8>(), 0..40)];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn every_type_is_among_the_messages_of_these_tests() {
    let mut runner = TestRunner::deterministic();
    let numbers: HashSet<u32> = (0..1000)
        .map(|_| message().new_tree(&mut runner).unwrap().current().number())
        .collect();
    assert_eq!(numbers, (1..=17).collect());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(id: u32, message in message()) {
        prop_assert_eq!(message.check(), Ok(()));
        let bytes = encode(id, &message);
        prop_assert!(bytes.len() <= MAX_LENGTH as usize);
        let frame = Frame { id, message: Some(message) };
        prop_assert_eq!(read_all([&bytes[..]]).unwrap(), [frame]);
    }

    #[test]
    fn it_does_not_matter_where_a_stream_is_cut(
        messages in vec((any::<u32>(), message()), 0..8), places: Vec<Index>,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(id, message)| encode(*id, message)).collect();
        let frames: Vec<_> = messages
            .into_iter()
            .map(|(id, message)| Frame { id, message: Some(message) })
            .collect();
        prop_assert_eq!(&read_all([&bytes[..]]).unwrap(), &frames);
        prop_assert_eq!(&read_all(cut(&bytes, &places)).unwrap(), &frames);
        prop_assert_eq!(&read_all(bytes.chunks(1)).unwrap(), &frames);
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_alike_in_any_parts(bytes in noise(), places: Vec<Index>) {
        let whole = read_all([&bytes[..]]).map_err(|error| error.to_string());
        let parts = read_all(cut(&bytes, &places)).map_err(|error| error.to_string());
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn no_more_is_held_than_a_message_and_what_came_last(bytes in noise(), size in 1_usize..5000) {
        let mut decoder = Decoder::default();
        for part in bytes.chunks(size) {
            decoder.push(part);
            prop_assert!(decoder.held() <= MAX_LENGTH as usize + part.len());
            while let Ok(Some(_)) = decoder.poll() {}
        }
    }
}

#[test]
fn after_an_error_nothing_is_taken_in_and_the_error_stays() {
    let mut decoder = Decoder::default();
    decoder.push(&[0; HEADER_LEN]);
    for _ in 0..3 {
        assert!(matches!(decoder.poll(), Err(WireError::NoMark)));
        decoder.push(&encode(1, &Message::Echo(Echo {})));
        assert_eq!(decoder.held(), HEADER_LEN);
    }
}

#[test]
fn an_impossible_length_is_found_before_there_is_more_than_the_header() {
    for length in [0, 15, MAX_LENGTH + 1, u32::MAX] {
        let mut bytes = framed(1, &[]);
        bytes[12..].copy_from_slice(&length.to_be_bytes());
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(matches!(decoder.poll(), Err(WireError::Length(found)) if found == length));
        decoder.push(&[0; 100]);
        assert_eq!(decoder.held(), HEADER_LEN);
    }
}

#[test]
fn the_longest_and_the_shortest_message_are_possible() {
    let longest = framed(99, &vec![0; MAX_LENGTH as usize - HEADER_LEN]);
    let frames = read_all(longest.chunks(1000).chain([&framed(99, &[])[..]])).unwrap();
    assert_eq!(frames.len(), 2);
}

#[test]
fn many_small_messages_at_once_take_time_in_proportion() {
    const COUNT: usize = 200_000;
    let bytes = encode(1, &Message::Echo(Echo {})).repeat(COUNT);
    let started = Instant::now();
    assert_eq!(read_all([&bytes[..]]).unwrap().len(), COUNT);
    // Moving the rest forward for each message would move 340 GB.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
