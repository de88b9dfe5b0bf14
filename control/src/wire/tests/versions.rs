//! Messages of other versions: fields that are not known, and fields that are missing.

use minicbor::{Decoder as Cbor, Encoder, data::Type};
use proptest::{collection::vec, prelude::*};

use super::{framed, read_all};
use crate::wire::{Frame, HEADER_LEN, Message, WireError, encode, strategies::message};

/// A value that no version has defined yet.
const LATER: u64 = 1000;

/// What a field of a later version may hold, as CBOR.
fn later_value() -> impl Strategy<Value = Vec<u8>> {
    let text = any::<String>().prop_map(|text| minicbor::to_vec(text).unwrap());
    let numbers = vec(any::<u64>(), 0..4).prop_map(|numbers| minicbor::to_vec(numbers).unwrap());
    let nested = any::<(bool, Option<u32>)>().prop_map(|value| minicbor::to_vec(value).unwrap());
    // An array without length inside of a map without length, behind a tag.
    let endless = Just(vec![0xc1, 0xbf, 0x01, 0x9f, 0x02, 0xff, 0xff]);
    prop_oneof![text, numbers, nested, endless]
}

/// Copies a value, and gives every map in it a field more.
fn widen(from: &mut Cbor<'_>, extra: &[u8], to: &mut Vec<u8>) {
    match from.datatype().unwrap() {
        Type::Map => {
            let fields = from.map().unwrap().unwrap();
            Encoder::new(&mut *to).map(fields + 1).unwrap();
            for _ in 0..2 * fields {
                widen(from, extra, to);
            }
            Encoder::new(&mut *to).u64(LATER).unwrap();
            to.extend(extra);
        }
        Type::Array => {
            let entries = from.array().unwrap().unwrap();
            Encoder::new(&mut *to).array(entries).unwrap();
            for _ in 0..entries {
                widen(from, extra, to);
            }
        }
        _ => to.extend(raw(from)),
    }
}

/// Takes the next value as it is.
fn raw<'b>(from: &mut Cbor<'b>) -> &'b [u8] {
    let start = from.position();
    from.skip().unwrap();
    &from.input()[start..from.position()]
}

/// The outermost fields of a payload, with their numbers.
fn fields(payload: &[u8]) -> Vec<(u64, &[u8])> {
    let mut from = Cbor::new(payload);
    let count = from.map().unwrap().unwrap();
    (0..count)
        .map(|_| (from.u64().unwrap(), raw(&mut from)))
        .collect()
}

fn payload_of(fields: &[(u64, &[u8])]) -> Vec<u8> {
    let mut to = Vec::new();
    Encoder::new(&mut to).map(fields.len() as u64).unwrap();
    for (number, value) in fields {
        Encoder::new(&mut to).u64(*number).unwrap();
        to.extend(*value);
    }
    to
}

/// The outermost fields of a message that may be missing.
fn optional(message: &Message) -> &'static [u64] {
    match message {
        Message::Hello(_) | Message::LinkAddRequest(_) => &[3],
        Message::SvcCreateRequest(_) => &[0],
        Message::SvcCreateReply(_) | Message::LinkAddReply(_) | Message::LinkDrop(_) => &[1],
        _ => &[],
    }
}

proptest! {
    #[test]
    fn fields_of_later_versions_are_skipped(message in message(), extra in later_value()) {
        let bytes = encode(7, &message);
        let mut payload = Vec::new();
        widen(&mut Cbor::new(&bytes[HEADER_LEN..]), &extra, &mut payload);
        let frames = read_all([&framed(message.number(), &payload)[..]]).unwrap();
        prop_assert_eq!(frames, [Frame { id: 7, message: Some(message) }]);
    }

    #[test]
    fn fields_may_come_in_any_order(message in message()) {
        let bytes = encode(7, &message);
        let mut fields = fields(&bytes[HEADER_LEN..]);
        fields.reverse();
        let frames = read_all([&framed(message.number(), &payload_of(&fields))[..]]).unwrap();
        prop_assert_eq!(frames, [Frame { id: 7, message: Some(message) }]);
    }

    #[test]
    fn what_is_optional_may_be_missing_and_nothing_else(message in message()) {
        let bytes = encode(7, &message);
        let all = fields(&bytes[HEADER_LEN..]);
        for (missing, _) in &all {
            let rest: Vec<_> = all.iter().copied().filter(|(number, _)| number != missing).collect();
            let read = read_all([&framed(message.number(), &payload_of(&rest))[..]]);
            if optional(&message).contains(missing) {
                prop_assert_eq!(read.unwrap().len(), 1);
            } else {
                let refused = matches!(read, Err(WireError::Payload { .. }));
                prop_assert!(refused);
            }
        }
    }

    #[test]
    fn types_of_later_versions_are_skipped(
        number in 17_u32.., payload in vec(any::<u8>(), 0..300), message in message(),
    ) {
        let bytes = [framed(number, &payload), encode(8, &message)].concat();
        let unknown = Frame { id: 7, message: None };
        let known = Frame { id: 8, message: Some(message) };
        prop_assert_eq!(read_all([&bytes[..]]).unwrap(), [unknown, known]);
    }
}

#[test]
fn an_optional_field_may_be_null() {
    let payload = minicbor::to_vec((1_u8, 2_u8)).unwrap();
    assert_eq!(payload[0], 0x82, "an array is no message");
    let hello = [0xa4, 0x00, 1, 0x01, 1, 0x02, 0x61, b'a', 0x03, 0xf6];
    let frames = read_all([&framed(1, &hello)[..]]).unwrap();
    assert!(matches!(&frames[0].message, Some(Message::Hello(hello)) if hello.join.is_none()));
    assert!(read_all([&framed(1, &payload)[..]]).is_err());
}
