//! The ESP transforms that a tunnel can use.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::config::ValueError;

/// An ESP suite: the cipher, and the integrity check where the cipher has none of its own.
///
/// All lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Suite {
    /// AES-GCM with a key of 128 bits and an ICV of 16 bytes (RFC 4106).
    #[serde(rename = "aes-gcm-128")]
    AesGcm128,
    /// AES-GCM with a key of 256 bits and an ICV of 16 bytes (RFC 4106).
    #[serde(rename = "aes-gcm-256")]
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    /// AES-CBC with a key of 128 bits (RFC 3602) and HMAC-SHA-256-128 (RFC 4868).
    #[serde(rename = "aes-cbc-128-hmac-sha-256")]
    AesCbc128HmacSha256,
    /// AES-CBC with a key of 256 bits (RFC 3602) and HMAC-SHA-256-128 (RFC 4868).
    #[serde(rename = "aes-cbc-256-hmac-sha-256")]
    AesCbc256HmacSha256,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 5] = [
        Self::AesGcm128,
        Self::AesGcm256,
        Self::ChaCha20Poly1305,
        Self::AesCbc128HmacSha256,
        Self::AesCbc256HmacSha256,
    ];

    /// Returns the name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm128 => "aes-gcm-128",
            Self::AesGcm256 => "aes-gcm-256",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::AesCbc128HmacSha256 => "aes-cbc-128-hmac-sha-256",
            Self::AesCbc256HmacSha256 => "aes-cbc-256-hmac-sha-256",
        }
    }

    /// Returns whether one algorithm both encrypts and authenticates, by a nonce that must never
    /// be used twice under one key.
    #[must_use]
    pub fn is_aead(self) -> bool {
        self.auth_key_len() == 0
    }

    /// Returns the length of the cipher's key.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesCbc128HmacSha256 => 16,
            Self::AesGcm256 | Self::ChaCha20Poly1305 | Self::AesCbc256HmacSha256 => 32,
        }
    }

    /// Returns the length of the salt, the fixed part of an AEAD's nonce: 0 or 4.
    #[must_use]
    pub fn salt_len(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 => 4,
            Self::AesCbc128HmacSha256 | Self::AesCbc256HmacSha256 => 0,
        }
    }

    /// Returns the length of the integrity check's own key: 0 for an AEAD, else that of RFC 4868 section 2.1.1.
    #[must_use]
    pub fn auth_key_len(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 => 0,
            Self::AesCbc128HmacSha256 | Self::AesCbc256HmacSha256 => 32,
        }
    }

    /// Returns the length of a key file's contents: cipher key, then salt or integrity key.
    #[must_use]
    pub fn material_len(self) -> usize {
        self.key_len() + self.salt_len() + self.auth_key_len()
    }

    /// Returns the length of the initialisation vector in each packet.
    #[must_use]
    pub fn iv_len(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 => 8,
            Self::AesCbc128HmacSha256 | Self::AesCbc256HmacSha256 => 16,
        }
    }

    /// Returns the length of the integrity check value at the end of each packet.
    #[must_use]
    pub fn icv_len(self) -> usize {
        16
    }

    /// Returns what payload, padding and the two bytes of trailer are aligned to: the cipher's
    /// block, or the 4 bytes that RFC 4303 section 2.4 asks of stream ciphers.
    #[must_use]
    pub fn block_size(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 => 4,
            Self::AesCbc128HmacSha256 | Self::AesCbc256HmacSha256 => 16,
        }
    }
}

impl FromStr for Suite {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let suite = Self::ALL.into_iter().find(|suite| suite.name() == text);
        suite.ok_or_else(|| ValueError::unknown_choice(text, "an ESP suite", &Self::ALL))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        let lengths = Suite::ALL.map(Suite::material_len);
        assert_eq!(lengths, [20, 36, 36, 48, 64]);
        let per_packet = Suite::ALL.map(|s| (s.iv_len(), s.icv_len(), s.block_size()));
        assert_eq!(per_packet[..3], [(8, 16, 4); 3]);
        assert_eq!(per_packet[3..], [(16, 16, 16); 2]);
        assert_eq!(
            Suite::ALL.map(Suite::is_aead),
            [true, true, true, false, false]
        );
    }

    #[test]
    fn a_suite_reads_and_serialises_as_its_name() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
            assert_eq!(
                serde_yaml::to_string(&suite).expect("a text").trim(),
                suite.name()
            );
        }
        assert!("aes-gcm".parse::<Suite>().is_err());
    }
}
