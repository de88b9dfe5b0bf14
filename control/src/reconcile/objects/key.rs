use std::fmt;

use zeroize::Zeroizing;

use crate::suite::Suite;

/// The keying material of a security association. It is cleared from memory when it is dropped,
/// and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EspKey {
    suite: Suite,
    material: Zeroizing<Vec<u8>>,
}

/// Keying material that does not fit its suite.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{} takes {} bytes of keying material, not {length}", suite, suite.material_len())]
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
    /// The length is not that of [`Suite::material_len`].
    pub fn new(suite: Suite, material: Vec<u8>) -> Result<Self, IllegalKeyLength> {
        let material = Zeroizing::new(material);
        if material.len() != suite.material_len() {
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

    /// All of the keying material.
    pub(crate) fn material(&self) -> &[u8] {
        &self.material
    }

    /// The cipher's part; for an AEAD that is everything, salt included, as the kernel wants it.
    pub(crate) fn cipher(&self) -> &[u8] {
        &self.material[..self.material.len() - self.suite.auth_key_len()]
    }

    /// The HMAC's part, where the suite has one.
    pub(crate) fn authentication(&self) -> Option<&[u8]> {
        let key = &self.material[self.cipher().len()..];
        (!key.is_empty()).then_some(key)
    }

    /// Whether every byte is zero, as the kernel reports keys that it keeps to itself
    /// (`LOCKDOWN_XFRM_SECRET`).
    pub(crate) fn is_withheld(&self) -> bool {
        self.material.iter().all(|byte| *byte == 0)
    }
}

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EspKey({}, hidden)", self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_wrong_lengths_are_refused() {
        for suite in Suite::ALL {
            let key = EspKey::new(suite, vec![7; suite.material_len()]).expect("right length");
            let parts = key.cipher().len() + key.authentication().map_or(0, <[u8]>::len);
            assert_eq!(parts, suite.material_len());
            let length = suite.material_len() - 1;
            assert_eq!(
                EspKey::new(suite, vec![7; length]),
                Err(IllegalKeyLength { suite, length })
            );
        }
    }

    #[test]
    fn debug_shows_no_byte_of_the_key() {
        let key = EspKey::new(Suite::AesGcm128, vec![0xab; 20]).expect("right length");
        assert_eq!(format!("{key:?}"), "EspKey(aes-gcm-128, hidden)");
    }
}
