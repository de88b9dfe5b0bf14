use std::fmt;

use zeroize::Zeroizing;

/// The algorithms of a security association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// AES-GCM with a 128-bit key and a 16-byte check value (RFC 4106).
    Aes128Gcm,
    /// AES-GCM with a 256-bit key and a 16-byte check value (RFC 4106).
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC with a 128-bit key (RFC 3602) and HMAC-SHA-256-128 (RFC 4868).
    Aes128CbcSha256,
    /// AES-CBC with a 256-bit key (RFC 3602) and HMAC-SHA-256-128 (RFC 4868).
    Aes256CbcSha256,
}

/// The bytes of an HMAC-SHA-256 key in IPsec (RFC 4868 section 2.1.1).
const SHA256_KEY: usize = 32;

impl Suite {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Aes128Gcm,
        Self::Aes256Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes128CbcSha256,
        Self::Aes256CbcSha256,
    ];

    /// The length of its keying material in bytes: the cipher's key, and then the 4-byte salt of
    /// an AEAD or the 32-byte key of the HMAC.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16 + 4,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32 + 4,
            Self::Aes128CbcSha256 => 16 + SHA256_KEY,
            Self::Aes256CbcSha256 => 32 + SHA256_KEY,
        }
    }

    /// Its name as IPsec tools write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes128-gcm",
            Self::Aes256Gcm => "aes256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes128CbcSha256 => "aes128-cbc-sha256",
            Self::Aes256CbcSha256 => "aes256-cbc-sha256",
        }
    }
}

/// The keying material of a security association. It is cleared from memory when it is dropped,
/// and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EspKey {
    suite: Suite,
    material: Zeroizing<Vec<u8>>,
}

/// Keying material that does not fit its suite.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{} takes {} bytes of keying material, not {length}", suite.name(), suite.key_length())]
pub struct IllegalKeyLength {
    /// The algorithms.
    pub suite: Suite,
    /// How many bytes were given.
    pub length: usize,
}

impl EspKey {
    /// Checks keying material: the cipher's key, followed by the salt of an AEAD or by the key of
    /// the HMAC.
    ///
    /// # Errors
    ///
    /// The length is not that of [`Suite::key_length`].
    pub fn new(suite: Suite, material: Vec<u8>) -> Result<Self, IllegalKeyLength> {
        let material = Zeroizing::new(material);
        if material.len() != suite.key_length() {
            return Err(IllegalKeyLength {
                suite,
                length: material.len(),
            });
        }
        Ok(Self { suite, material })
    }

    /// The algorithms.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The cipher's part; for an AEAD that is everything, salt included, as the kernel wants it.
    pub(crate) fn cipher(&self) -> &[u8] {
        match self.suite {
            Suite::Aes128CbcSha256 | Suite::Aes256CbcSha256 => {
                &self.material[..self.material.len() - SHA256_KEY]
            }
            _ => &self.material,
        }
    }

    /// The HMAC's part, where the suite has one.
    pub(crate) fn authentication(&self) -> Option<&[u8]> {
        match self.suite {
            Suite::Aes128CbcSha256 | Suite::Aes256CbcSha256 => {
                Some(&self.material[self.material.len() - SHA256_KEY..])
            }
            _ => None,
        }
    }

    /// Whether every byte is zero, as the kernel reports keys that it keeps to itself
    /// (`LOCKDOWN_XFRM_SECRET`).
    pub(crate) fn is_withheld(&self) -> bool {
        self.material.iter().all(|byte| *byte == 0)
    }
}

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EspKey({}, hidden)", self.suite.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_wrong_lengths_are_refused() {
        for suite in Suite::ALL {
            let key = EspKey::new(suite, vec![7; suite.key_length()]).expect("right length");
            let parts = key.cipher().len() + key.authentication().map_or(0, <[u8]>::len);
            assert_eq!(parts, suite.key_length());
            let length = suite.key_length() - 1;
            assert_eq!(
                EspKey::new(suite, vec![7; length]),
                Err(IllegalKeyLength { suite, length })
            );
        }
    }

    #[test]
    fn debug_shows_no_byte_of_the_key() {
        let key = EspKey::new(Suite::Aes128Gcm, vec![0xab; 20]).expect("right length");
        assert_eq!(format!("{key:?}"), "EspKey(aes128-gcm, hidden)");
    }
}
