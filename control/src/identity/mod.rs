//! Who a gateway is: an Ed25519 key pair (RFC 8032). Peers are configured by their public keys.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    rand,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// The length of either key in bytes.
pub const KEY_LEN: usize = 32;
/// The length of either key as text.
const TEXT_LEN: usize = 44;

/// A gateway's public key. As text, it is 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

/// A gateway's private key, the seed of RFC 8032. It is overwritten when dropped, and no formatting prints any of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

/// A text or a file that holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalKey {
    /// It is no base64 of 32 bytes.
    #[error(
        "a key is {TEXT_LEN} characters of base64, as `withy genkey` and `withy pubkey` print it"
    )]
    Text,
    /// The system's random numbers or the library failed.
    #[error("the key cannot be used")]
    Unusable,
}

impl PublicKey {
    /// Takes the key's bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PrivateKey {
    /// Makes a random key.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn generate() -> Result<Self, IllegalKey> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        rand::fill(seed.as_mut()).map_err(|_| IllegalKey::Unusable)?;
        Ok(Self(seed))
    }

    /// Reads a key's text; space around it does not count.
    ///
    /// # Errors
    ///
    /// It is no key.
    pub fn parse(text: &str) -> Result<Self, IllegalKey> {
        decode(text).map(Self)
    }

    /// Returns the key's text, which is as secret as the key.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.0.as_ref()))
    }

    /// Returns the public key that belongs to it.
    ///
    /// # Errors
    ///
    /// The library refuses it.
    pub fn public(&self) -> Result<PublicKey, IllegalKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.0.as_ref())
            .map_err(|_| IllegalKey::Unusable)?;
        let bytes = pair.public_key().as_ref();
        bytes
            .try_into()
            .map(PublicKey)
            .map_err(|_| IllegalKey::Unusable)
    }

    /// Returns the seed.
    #[must_use]
    pub fn seed(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, IllegalKey> {
    let text = text.trim();
    if text.len() != TEXT_LEN {
        return Err(IllegalKey::Text);
    }
    // One byte more than needed: the decoder estimates.
    let mut bytes = Zeroizing::new([0; KEY_LEN + 1]);
    match BASE64_STANDARD.decode_slice(text, bytes.as_mut()) {
        Ok(KEY_LEN) => {
            let mut key = Zeroizing::new([0; KEY_LEN]);
            key.copy_from_slice(&bytes[..KEY_LEN]);
            Ok(key)
        }
        _ => Err(IllegalKey::Text),
    }
}

impl FromStr for PublicKey {
    type Err = IllegalKey;

    fn from_str(text: &str) -> Result<Self, IllegalKey> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test vector of RFC 8032 section 7.1.
    #[test]
    fn the_public_key_is_that_of_the_rfc() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let key = PrivateKey::parse(&format!(" {seed}\n")).unwrap();
        assert_eq!(key.public().unwrap().to_string(), public);
        assert_eq!(public.parse(), key.public());
        assert_eq!(*key.to_text(), seed);
        assert_eq!(format!("{key:?}"), "PrivateKey(secret)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "nWGx",
            "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "!WGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=",
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(IllegalKey::Text));
        }
        assert_ne!(PrivateKey::generate(), PrivateKey::generate());
    }
}
