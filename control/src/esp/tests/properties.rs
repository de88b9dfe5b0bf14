use proptest::{prelude::*, sample::select};

use super::*;
use crate::esp::{
    Content,
    cipher::Cipher,
    layout::{NEXT_IPV4, NEXT_IPV6, NEXT_NONE, associated},
};

fn suite() -> impl Strategy<Value = Suite> {
    select(&SUITES[..])
}

/// Beginnings around which something happens: the first packet, and both sides of a wrap of the low half.
fn beginning() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        (1_u64 << 32) - 60..(1 << 32) + 60,
        (7_u64 << 32) - 60..(7 << 32) + 60,
    ]
}

fn inner() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..120);
    prop_oneof![
        (any::<u8>(), payload()).prop_map(|(class, payload)| ipv4(class, &payload)),
        (any::<u8>(), payload()).prop_map(|(class, payload)| ipv6(class, &payload)),
    ]
}

proptest! {
    #[test]
    fn what_is_sealed_opens_exactly_once_in_any_order(
        suite in suite(),
        last in beginning(),
        inners in prop::collection::vec(inner(), 1..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 120),
    ) {
        let (sealer, opener) = pair(suite, 64, last);
        let packets: Vec<_> = inners.iter().map(|inner| seal(&sealer, inner).unwrap()).collect();
        let mut opened = vec![false; packets.len()];
        for index in order {
            let at = index.index(packets.len());
            let expected = if opened[at] { Err(Refused::Replayed) } else { Ok(inners[at].clone()) };
            prop_assert_eq!(open(&opener, &packets[at]), expected);
            opened[at] = true;
        }
        let bytes: usize = inners.iter().map(Vec::len).sum();
        prop_assert_eq!(sealer.traffic().bytes, bytes as u64);
        prop_assert_eq!(opener.traffic().packets, opened.iter().filter(|opened| **opened).count() as u64);
    }

    #[test]
    fn what_is_beyond_the_window_is_refused(
        suite in suite(), window in 1_u32..200, last in beginning(), gap in 0_u64..400,
    ) {
        let (sealer, opener) = pair(suite, window, last);
        let early = seal(&sealer, &ipv4(0, b"early")).unwrap();
        sealer.resume(sealer.sequence() + gap);
        let late = seal(&sealer, &ipv4(0, b"late")).unwrap();
        prop_assert!(open(&opener, &late).is_ok());
        let found = open(&opener, &early);
        if gap + 1 < u64::from(window) {
            prop_assert!(found.is_ok());
        } else {
            // By its low half alone it may as well be one of the next subspace: then its ICV is wrong.
            prop_assert!(matches!(found, Err(Refused::Old | Refused::Forged)), "{:?}", found);
        }
    }

    #[test]
    fn any_altered_byte_is_refused_and_leaves_the_sa_as_it_was(
        suite in suite(), last in beginning(), inner in inner(),
        at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let (sealer, opener) = pair(suite, 64, last);
        let packet = seal(&sealer, &inner).unwrap();
        let mut altered = packet.clone();
        // From the ESP header on: of the outer one only the addresses bear on the SA.
        let at = 20 + at.index(packet.len() - 20);
        altered[at] ^= flip;
        prop_assert!(open(&opener, &altered).is_err());
        for length in 0..packet.len() {
            prop_assert!(open(&opener, &packet[..length]).is_err());
        }
        prop_assert_eq!(open(&opener, &packet), Ok(inner));
    }

    #[test]
    fn no_initialisation_vector_comes_twice(suite in suite(), last in beginning(), count in 1_usize..200) {
        let (sealer, _) = pair(suite, 64, last);
        let inner = ipv4(0, b"");
        let ivs: std::collections::BTreeSet<_> = (0..count)
            .map(|_| seal(&sealer, &inner).unwrap()[28..36].to_vec())
            .collect();
        prop_assert_eq!(ivs.len(), count);
    }

    #[test]
    fn authentic_nonsense_is_refused(suite in suite(), text in prop::collection::vec(any::<u8>(), 4..200)) {
        let text = &text[..text.len() / 4 * 4];
        let (_, opener) = pair(suite, 64, 0);
        if let Ok(inner) = open(&opener, &authentic(suite, text)) {
            prop_assert_eq!(&inner[..], &text[..inner.len()]);
        }
    }
}

/// An ESP packet whose plaintext is `text`, trailer included, whatever that is.
fn authentic(suite: Suite, text: &[u8]) -> Vec<u8> {
    let (sealer, _) = pair(suite, 64, 0);
    let headers = seal(&sealer, &ipv4(0, b"")).unwrap();
    let mut cipher_text = text.to_vec();
    let iv = headers[28..36].try_into().unwrap();
    let cipher = Cipher::new(&key(suite)).unwrap();
    let icv = cipher
        .seal(iv, &associated(0x1001, 1), &mut cipher_text)
        .unwrap();
    [&headers[..36], &cipher_text, &icv].concat()
}

#[test]
fn trailers_are_checked() {
    let four = ipv4(0, b"");
    let six = ipv6(0, b"");
    let cases = [
        (
            "right",
            four.clone(),
            &[1, 2, 2, NEXT_IPV4][..],
            Ok(four.len()),
        ),
        (
            "more padding than needed",
            four.clone(),
            &[1, 2, 3, 4, 5, 6, 6, NEXT_IPV4],
            Ok(four.len()),
        ),
        (
            "hidden length",
            [&four[..], &[9; 10]].concat(),
            &[0, NEXT_IPV4],
            Ok(four.len()),
        ),
        ("IPv6", six.clone(), &[1, 2, 2, NEXT_IPV6], Ok(six.len())),
        (
            "padding of zeros",
            four.clone(),
            &[0, 0, 2, NEXT_IPV4],
            Err(Refused::Padding),
        ),
        (
            "padding longer than all",
            vec![],
            &[1, 2, 3, NEXT_IPV4],
            Err(Refused::Padding),
        ),
        (
            "IPv6 said to be IPv4",
            six,
            &[1, 2, 2, NEXT_IPV4],
            Err(Refused::NextHeader),
        ),
        ("TCP", four.clone(), &[1, 2, 2, 6], Err(Refused::NextHeader)),
        ("dummy", vec![5; 6], &[0, NEXT_NONE], Err(Refused::Dummy)),
        (
            "cut short",
            four[..18].to_vec(),
            &[0, NEXT_IPV4],
            Err(Refused::NotIp),
        ),
    ];
    for (name, inner, trailer, expected) in cases {
        for suite in SUITES {
            let (_, opener) = pair(suite, 64, 0);
            let packet = authentic(suite, &[&inner[..], trailer].concat());
            let found = open(&opener, &packet).map(|inner| inner.len());
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn a_dummy_carries_its_payload_and_counts_as_a_packet() {
    for length in 0..9 {
        let payload = &b"anything"[..length];
        let (sealer, opener) = pair(Suite::AesGcm256, 64, 0);
        let mut buffer = [&[0; HEADROOM], payload, &[0; TAILROOM]].concat();
        let total = sealer.seal_dummy(&mut buffer, length).unwrap();
        buffer.truncate(total);
        assert_eq!(open(&opener, &buffer), Err(Refused::Dummy));
        let (_, opener) = pair(Suite::AesGcm256, 64, 0);
        let contained = opener.open_any(&mut buffer).unwrap();
        let Content::Dummy(range) = contained.content else {
            panic!("{contained:?}")
        };
        assert_eq!((&buffer[range], contained.number), (payload, 1));
        let next = seal(&sealer, &ipv4(0, b"next")).unwrap();
        assert_eq!(next[24..28], [0, 0, 0, 2]);
    }
    let (sealer, _) = pair(Suite::AesGcm256, 64, 0);
    let long = sealer.seal_dummy(&mut [0; HEADROOM + 8], 8);
    assert_eq!((long, sealer.sequence()), (Err(Refused::Oversized), 0));
}
