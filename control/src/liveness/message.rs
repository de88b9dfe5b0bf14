//! A keepalive's bytes.
//!
//! ```text
//!  0       4       8              16                                     48
//!  ├ SPI ──┼ flags ┼ time ────────┼ tag ─────────────────────────────────┤
//! ```
//!
//! All big-endian. Flag bit 0: the sender hears this IVC. Time: nanoseconds since the epoch, larger in
//! each message. Tag: keyed BLAKE3 of the bytes before it and both link addresses, source first.

use std::net::Ipv4Addr;

use withy_common::keepalive::{LEN, SPI};

/// What the keys of keepalives are derived for (`blake3::derive_key`).
const CONTEXT: &str = "withy 2026-11 keepalive of an IVC";
/// Where the tag begins.
const TAG: usize = 16;
/// The flag "I hear you".
const HEARS: u32 = 1;

/// What a keepalive says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether the sender hears this IVC.
    pub hears: bool,
    /// When it was sent, in nanoseconds since the epoch.
    pub time: u64,
}

/// Why a keepalive is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The tag is another key's, or another IVC's.
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

    /// Writes a message from one link address to the other.
    #[must_use]
    pub fn seal(&self, message: Message, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&SPI.to_be_bytes());
        bytes[4..8].copy_from_slice(&(u32::from(message.hears) * HEARS).to_be_bytes());
        bytes[8..TAG].copy_from_slice(&message.time.to_be_bytes());
        let tag = self.tag(&bytes[..TAG], source, destination);
        bytes[TAG..].copy_from_slice(tag.as_bytes());
        bytes
    }

    /// Reads a message that came from `source` to `destination`.
    ///
    /// # Errors
    ///
    /// The message was made with another key, or for another IVC.
    pub fn open(
        &self,
        bytes: &[u8; LEN],
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<Message, Rejected> {
        let (said, tag) = bytes.split_at(TAG);
        // Compares in constant time.
        let genuine = tag.try_into().is_ok_and(|tag: [u8; 32]| {
            self.tag(said, source, destination) == blake3::Hash::from_bytes(tag)
        });
        let (Some(flags), Some(time)) = (said[4..].first_chunk(), said[8..].first_chunk()) else {
            return Err(Rejected::Forged);
        };
        if !genuine {
            return Err(Rejected::Forged);
        }
        Ok(Message {
            hears: u32::from_be_bytes(*flags) & HEARS != 0,
            time: u64::from_be_bytes(*time),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDS: (Ipv4Addr, Ipv4Addr) =
        (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else(hears: bool, time: u64, at in 0..LEN, flip in 1_u8..) {
            let key = KeepaliveKey::derive(b"one");
            let message = Message { hears, time };
            let bytes = key.seal(message, ENDS.0, ENDS.1);
            prop_assert!(withy_common::keepalive::is(&bytes));
            prop_assert_eq!(key.open(&bytes, ENDS.0, ENDS.1), Ok(message));
            prop_assert_eq!(key.open(&bytes, ENDS.1, ENDS.0), Err(Rejected::Forged));
            prop_assert_eq!(KeepaliveKey::derive(b"two").open(&bytes, ENDS.0, ENDS.1), Err(Rejected::Forged));
            let mut altered = bytes;
            altered[at] ^= flip;
            prop_assert_eq!(key.open(&altered, ENDS.0, ENDS.1), Err(Rejected::Forged));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), LEN)) {
            let bytes: [u8; LEN] = bytes.try_into().unwrap();
            prop_assert_eq!(KeepaliveKey::derive(b"one").open(&bytes, ENDS.0, ENDS.1), Err(Rejected::Forged));
        }
    }
}
