//! A keepalive's bytes.
//!
//! ```text
//!  0          4          8                     16         20         24         28
//!  ├ SPI ─────┼ flags ───┼ time ───────────────┼ sequence ┼ newest ──┼ count ───┤
//!  28         32    34    36         40                    48
//!  ├ held ────┼ next┼ len ┼ probed ──┼ lost ──────────────┤
//!  48                    56                    64                    72         76    78    80                    112
//!  ├ arrived ────────────┼ bytes ──────────────┼ pieces ─────────────┼ lag ─────┼ ask ┼ load┼ tag ──────────────────┤
//! ```
//!
//! All big-endian; behind the tag there may be padding, of whatever bytes. Time: nanoseconds since the epoch, larger in each message of
//! an IVC, so that none is believed twice, by whatever daemon it is read. Sequence: one more in each message on an IVC, so that
//! what is lost can be counted. Arrived: when the newest message came, by a clock of the sender's; bytes and pieces: the data received by
//! then, or rather by `lag` microseconds later. Ask: the time in milliseconds after which the sender would like to hear, 0 if that does
//! not matter. Load: see [`Word`]. Tag: keyed BLAKE3 of the bytes before it and both link addresses, source first.

use std::{net::Ipv4Addr, time::Duration};

use withy_common::keepalive::{LEN, SPI};

use crate::load::Word;

/// What the keys of keepalives are derived for (`blake3::derive_key`): another form has another context.
const CONTEXT: &str =
    "withy 2026-11 keepalive of an IVC, with what was received, how much data, and load";
/// Where the tag begins.
const TAG: usize = 80;

/// The flag "I hear you".
const HEARS: u32 = 1;
/// The flag "do not be sparing now".
const HURRY: u32 = 2;
/// The flag "be as sparing as I am while there is no data".
const METERED: u32 = 4;
/// The flag "say something at once".
const ASKS: u32 = 8;
/// The flag "I can send again what you miss".
const KEEPS: u32 = 16;
/// All flags.
const FLAGS: u32 = HEARS | HURRY | METERED | ASKS | KEEPS;

/// What a keepalive says.
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the wire, each with a meaning of its own"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Whether the sender hears this IVC.
    pub hears: bool,
    /// Whether the sender wants keepalives at the full rate, as data flows.
    pub hurry: bool,
    /// Whether the sender pays for what crosses its link.
    pub metered: bool,
    /// Whether the sender misses a message, and wants one at once.
    pub asks: bool,
    /// Whether the sender keeps what it has sent lately, and sends it again when it is asked to.
    pub keeps: bool,
    /// When it was sent, in nanoseconds since the epoch.
    pub time: u64,
    /// Its number on this IVC.
    pub sequence: u32,
    /// What the sender has received on this IVC.
    pub received: Received,
    /// After which time in milliseconds the next message comes at the latest.
    pub interval: u16,
    /// The length in bytes of the IP packet that this message is, padding included.
    pub length: u16,
    /// The number of the newest message with padding that the sender has received.
    pub probed: u32,
    /// Another IVC between the same gateways over which the sender hears nothing or cannot send: the address of the sender's
    /// link, then the receiver's.
    pub lost: Option<(Ipv4Addr, Ipv4Addr)>,
    /// How much data had come with the newest message that the sender has received.
    pub counted: Counted,
    /// After which time in milliseconds the sender would like to hear; 0 if that does not matter.
    pub asked: u16,
    /// What is to be said of load.
    pub load: Word,
}

/// How much data has come on an IVC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// When the newest message came, in nanoseconds since any fixed moment.
    pub arrived: u64,
    /// The bytes of data that had come by then, IP headers included.
    pub bytes: u64,
    /// The pieces.
    pub pieces: u64,
    /// How much later, in microseconds, they were counted.
    pub lag: u32,
}

/// What a gateway has received on an IVC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The number of the newest message; 0 if there was none.
    pub newest: u32,
    /// How many messages there were, modulo 2^32.
    pub count: u32,
    /// How long ago the newest came, in microseconds.
    pub held: u32,
}

impl Received {
    /// How long ago the newest message came.
    #[must_use]
    pub fn held(&self) -> Duration {
        Duration::from_micros(self.held.into())
    }
}

/// Why a keepalive is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The tag is another key's, or another IVC's, or the packet has not the length that it had.
    #[error("it is forged")]
    Forged,
    /// It is not newer than another.
    #[error("it is a replay")]
    Replayed,
    /// It is of no configured IVC.
    #[error("it is of no configured IVC")]
    Unknown,
}

/// The key of one direction's keepalives.
pub struct KeepaliveKey(blake3::Hasher);

impl std::fmt::Debug for KeepaliveKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeepaliveKey(secret)")
    }
}

impl KeepaliveKey {
    /// Derives the key from the key material of the direction's SA.
    #[must_use]
    pub fn derive(material: &[u8]) -> Self {
        let key = zeroize::Zeroizing::new(blake3::derive_key(CONTEXT, material));
        Self(blake3::Hasher::new_keyed(&key))
    }

    fn tag(&self, bytes: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> blake3::Hash {
        let mut hasher = self.0.clone();
        hasher
            .update(bytes)
            .update(&source.octets())
            .update(&destination.octets());
        hasher.finalize()
    }

    /// Writes a message from one link address to the other, without padding.
    #[must_use]
    pub fn seal(&self, message: &Message, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; LEN] {
        let mut bytes = message.write();
        let tag = self.tag(&bytes[..TAG], source, destination);
        bytes[TAG..].copy_from_slice(tag.as_bytes());
        bytes
    }

    /// Reads a message that came from `source` to `destination` in an IP packet of `length` bytes.
    ///
    /// # Errors
    ///
    /// The message was made with another key, for another IVC, or in a packet of another length.
    pub fn open(
        &self,
        bytes: &[u8; LEN],
        length: u32,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<Message, Rejected> {
        let (said, tag) = bytes.split_at(TAG);
        // Compares in constant time.
        let genuine = tag.try_into().is_ok_and(|tag: [u8; 32]| {
            self.tag(said, source, destination) == blake3::Hash::from_bytes(tag)
        });
        let message = Message::read(said).ok_or(Rejected::Forged)?;
        if !genuine || u32::from(message.length) != length {
            return Err(Rejected::Forged);
        }
        Ok(message)
    }
}

impl Message {
    /// Writes everything before the tag.
    fn write(&self) -> [u8; LEN] {
        let flag = |set: bool, flag: u32| u32::from(set) * flag;
        let flags = flag(self.hears, HEARS)
            | flag(self.hurry, HURRY)
            | flag(self.metered, METERED)
            | flag(self.asks, ASKS)
            | flag(self.keeps, KEEPS);
        let none = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        let (ours, theirs) = self.lost.unwrap_or(none);
        let fields: [&[u8]; 19] = [
            &SPI.to_be_bytes(),
            &flags.to_be_bytes(),
            &self.time.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.received.newest.to_be_bytes(),
            &self.received.count.to_be_bytes(),
            &self.received.held.to_be_bytes(),
            &self.interval.to_be_bytes(),
            &self.length.to_be_bytes(),
            &self.probed.to_be_bytes(),
            &ours.octets(),
            &theirs.octets(),
            &self.counted.arrived.to_be_bytes(),
            &self.counted.bytes.to_be_bytes(),
            &self.counted.pieces.to_be_bytes(),
            &self.counted.lag.to_be_bytes(),
            &self.asked.to_be_bytes(),
            &self.load.0.to_be_bytes(),
            &[0; LEN - TAG],
        ];
        let mut bytes = [0; LEN];
        for (byte, field) in bytes.iter_mut().zip(fields.iter().copied().flatten()) {
            *byte = *field;
        }
        bytes
    }

    /// Reads everything before the tag; none if there is too little, or a flag that this version does not know.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(4..)?;
        let flags = u32::from_be_bytes(take(&mut rest)?);
        let message = Self {
            hears: flags & HEARS != 0,
            hurry: flags & HURRY != 0,
            metered: flags & METERED != 0,
            asks: flags & ASKS != 0,
            keeps: flags & KEEPS != 0,
            time: u64::from_be_bytes(take(&mut rest)?),
            sequence: u32::from_be_bytes(take(&mut rest)?),
            received: Received {
                newest: u32::from_be_bytes(take(&mut rest)?),
                count: u32::from_be_bytes(take(&mut rest)?),
                held: u32::from_be_bytes(take(&mut rest)?),
            },
            interval: u16::from_be_bytes(take(&mut rest)?),
            length: u16::from_be_bytes(take(&mut rest)?),
            probed: u32::from_be_bytes(take(&mut rest)?),
            lost: Some((
                Ipv4Addr::from(take::<4>(&mut rest)?),
                Ipv4Addr::from(take::<4>(&mut rest)?),
            ))
            .filter(|(ours, theirs)| !(ours.is_unspecified() && theirs.is_unspecified())),
            counted: Counted {
                arrived: u64::from_be_bytes(take(&mut rest)?),
                bytes: u64::from_be_bytes(take(&mut rest)?),
                pieces: u64::from_be_bytes(take(&mut rest)?),
                lag: u32::from_be_bytes(take(&mut rest)?),
            },
            asked: u16::from_be_bytes(take(&mut rest)?),
            load: Word(u16::from_be_bytes(take(&mut rest)?)),
        };
        (flags & !FLAGS == 0).then_some(message)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*field)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDS: (Ipv4Addr, Ipv4Addr) =
        (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));

    fn pair() -> impl Strategy<Value = Option<(Ipv4Addr, Ipv4Addr)>> {
        prop::option::of((1_u32.., 1_u32..).prop_map(|(a, b)| (a.into(), b.into())))
    }

    prop_compose! {
        pub(crate) fn message()(
            [hears, hurry, metered, asks, keeps]: [bool; 5],
            time: u64,
            [sequence, newest, count, held, probed, lag]: [u32; 6],
            [interval, length, asked, load]: [u16; 4],
            [arrived, bytes, pieces]: [u64; 3],
            lost in pair(),
        ) -> Message {
            Message {
                hears,
                hurry,
                metered,
                asks,
                keeps,
                time,
                sequence,
                received: Received { newest, count, held },
                interval,
                length,
                probed,
                lost,
                counted: Counted { arrived, bytes, pieces, lag },
                asked,
                load: Word(load),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else(message in message(), at in 0..LEN, flip in 1_u8.., more in 1_u32..) {
            let key = KeepaliveKey::derive(b"one");
            let length = u32::from(message.length);
            let bytes = key.seal(&message, ENDS.0, ENDS.1);
            prop_assert_eq!(&bytes[..4], &SPI.to_be_bytes());
            prop_assert_eq!(key.open(&bytes, length, ENDS.0, ENDS.1), Ok(message));
            prop_assert_eq!(key.open(&bytes, length, ENDS.1, ENDS.0), Err(Rejected::Forged));
            prop_assert_eq!(key.open(&bytes, length.wrapping_add(more), ENDS.0, ENDS.1), Err(Rejected::Forged));
            prop_assert_eq!(KeepaliveKey::derive(b"two").open(&bytes, length, ENDS.0, ENDS.1), Err(Rejected::Forged));
            let mut altered = bytes;
            altered[at] ^= flip;
            prop_assert_eq!(key.open(&altered, length, ENDS.0, ENDS.1), Err(Rejected::Forged));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), LEN), length: u32) {
            let bytes: [u8; LEN] = bytes.try_into().unwrap();
            prop_assert_eq!(KeepaliveKey::derive(b"one").open(&bytes, length, ENDS.0, ENDS.1), Err(Rejected::Forged));
        }
    }
}
