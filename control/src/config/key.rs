//! Key material of SAs, and what can be wrong with keys.

use std::{fmt, io, path::PathBuf};

use zeroize::Zeroizing;

use super::key_file::MAX_FILE;
use crate::suite::Suite;

/// The key material of one SA, fitting its suite. It is overwritten when dropped, and no
/// formatting prints any of it.
#[derive(Clone)]
pub struct KeyMaterial {
    suite: Suite,
    bytes: Zeroizing<Vec<u8>>,
}

impl KeyMaterial {
    /// Makes key material for `suite` of raw bytes: cipher key, then salt or integrity key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`] if the suite takes another number of bytes, [`KeyError::Zero`] if a
    /// key in it is all zeros.
    pub fn new(suite: Suite, bytes: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        if bytes.len() != suite.material_len() {
            return Err(KeyError::Length {
                found: bytes.len(),
                suite,
            });
        }
        let material = Self { suite, bytes };
        let zero = |key: &[u8]| !key.is_empty() && key.iter().all(|byte| *byte == 0);
        if zero(material.cipher_key()) || zero(material.auth_key()) {
            return Err(KeyError::Zero);
        }
        Ok(material)
    }

    /// Returns the suite that this material is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns the cipher's key, without the salt.
    #[must_use]
    pub fn cipher_key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len()]
    }

    /// Returns the salt of an AEAD; empty for other suites.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.bytes[self.suite.key_len()..][..self.suite.salt_len()]
    }

    /// Returns the cipher's key with the salt after it: the form in which the kernel takes an
    /// AEAD's key (`crypto_rfc4106_setkey` in `crypto/gcm.c`; RFC 4106 section 8.1).
    #[must_use]
    pub fn cipher_key_and_salt(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len() + self.suite.salt_len()]
    }

    /// Returns the key of the integrity check; empty for an AEAD.
    #[must_use]
    pub fn auth_key(&self) -> &[u8] {
        &self.bytes[self.suite.key_len() + self.suite.salt_len()..]
    }

    /// Returns everything, in the order of the file: cipher key, then salt or integrity key.
    #[must_use]
    pub fn material(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns whether a key occurs in both, whatever the salts.
    #[must_use]
    pub fn shares_key_with(&self, other: &Self) -> bool {
        let same = |a: &[u8], b: &[u8]| !a.is_empty() && a == b;
        same(self.cipher_key(), other.cipher_key()) || same(self.auth_key(), other.auth_key())
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({}, secret)", self.suite)
    }
}

impl PartialEq for KeyMaterial {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && self.bytes == other.bytes
    }
}

impl Eq for KeyMaterial {}

/// Says why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be opened or read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path names something else than a file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Group or others have access to the file.
    #[error("{} has mode {mode:04o}: others than its owner have access", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user, who can read or replace the key.
    #[error("{} belongs to user {owner}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// The file is too long for a key.
    #[error("{} is longer than {MAX_FILE} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The contents are not hexadecimal.
    #[error("{} is not hexadecimal", path.display())]
    NotHex {
        /// The file.
        path: PathBuf,
    },
    /// The contents are no private key of a gateway.
    #[error("{} is not a gateway's private key", path.display())]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
    },
    /// The key has the wrong length for its suite.
    #[error("the key has {found} bytes, {suite} takes {}", suite.material_len())]
    Length {
        /// How many bytes there are.
        found: usize,
        /// The suite.
        suite: Suite,
    },
    /// The key, or the integrity key, is all zeros.
    #[error("the key is all zeros")]
    Zero,
}

impl KeyError {
    /// Returns what would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Read { .. } | Self::NotAFile { .. } => {
                "name a readable file, relative to the configuration file".to_owned()
            }
            Self::Mode { path, .. } => format!("run chmod 0600 {}", path.display()),
            Self::Owner { path, .. } => format!("make root own it: chown root {}", path.display()),
            Self::TooLong { .. } => "write the key and nothing else".to_owned(),
            Self::NotHex { .. } => {
                "write the key as hexadecimal digits and nothing else".to_owned()
            }
            Self::NotAnIdentity { .. } => {
                "name a file that holds what `withy genkey` prints".to_owned()
            }
            Self::Length { suite, .. } => {
                let (key, salt, auth) = (suite.key_len(), suite.salt_len(), suite.auth_key_len());
                let rest = if suite.is_aead() {
                    format!("{salt} of salt")
                } else {
                    format!("{auth} of integrity key")
                };
                format!("give {key} bytes of cipher key, then {rest}, in hexadecimal")
            }
            Self::Zero => "make a random key".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(suite: Suite) -> KeyMaterial {
        let bytes = (1_u8..).take(suite.material_len()).collect();
        KeyMaterial::new(suite, Zeroizing::new(bytes)).expect("as long as the suite says")
    }

    #[test]
    fn parts_cover_the_material_once() {
        for suite in Suite::ALL {
            let key = material(suite);
            let parts = [key.cipher_key(), key.salt(), key.auth_key()].concat();
            assert_eq!(parts, *key.bytes);
            assert!(parts.starts_with(key.cipher_key_and_salt()));
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let key = material(Suite::AesGcm128);
        assert_eq!(format!("{key:?}"), "KeyMaterial(aes-gcm-128, secret)");
        assert_eq!(format!("{key:#?}"), "KeyMaterial(aes-gcm-128, secret)");
    }

    #[test]
    fn wrong_lengths_and_zeros_are_refused() {
        let new = |suite, bytes: &[u8]| KeyMaterial::new(suite, Zeroizing::new(bytes.to_vec()));
        let short = new(Suite::AesGcm128, &[1; 16]).expect_err("too short");
        assert_eq!(
            short.to_string(),
            "the key has 16 bytes, aes-gcm-128 takes 20"
        );
        assert!(
            short
                .help()
                .contains("16 bytes of cipher key, then 4 of salt")
        );
        // A salt does not make a zero key good, nor does a good cipher key a zero integrity key.
        let mut salted = [0; 20];
        salted[16..].fill(7);
        assert!(matches!(
            new(Suite::AesGcm128, &salted),
            Err(KeyError::Zero)
        ));
        let mut unauthenticated = [0; 48];
        unauthenticated[..16].fill(7);
        assert!(matches!(
            new(Suite::AesCbc128HmacSha256, &unauthenticated),
            Err(KeyError::Zero)
        ));
    }
}
