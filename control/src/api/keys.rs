//! The one way on which keys of SAs leave the daemon: to root, who asks for them in so many words.

use std::{fmt, fmt::Write as _, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::status::SaDirection;
use crate::{
    suite::Suite,
    vpn::{RunningSa, RunningTunnels},
};

/// The key of a security association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaKey {
    /// The tunnel.
    pub tunnel: String,
    /// Which way its packets go.
    pub direction: SaDirection,
    /// The tunnel endpoint that its packets come from.
    pub source: Ipv4Addr,
    /// The tunnel endpoint that they go to.
    pub destination: Ipv4Addr,
    /// The SPI.
    pub spi: u32,
    /// The ESP suite.
    pub suite: String,
    /// The cipher's key; an AEAD's salt behind it.
    pub cipher: Secret,
    /// The key of the integrity check, where the cipher has none of its own.
    pub authentication: Option<Secret>,
}

/// Bytes in hexadecimal, which are cleared from memory when dropped, and shown to nobody by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    fn new(bytes: &[u8]) -> Self {
        // Reserved at once: a string that grows would leave copies of the key behind.
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Lists the keys of the tunnels that run.
pub(crate) fn of(running: &RunningTunnels) -> Vec<SaKey> {
    let mut all = Vec::new();
    for (name, tunnel) in running {
        let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
        for (direction, sas, ends) in [
            (SaDirection::Out, &tunnel.outbound, (local, remote)),
            (SaDirection::In, &tunnel.inbound, (remote, local)),
        ] {
            let key = |RunningSa { spi, key }: &RunningSa| SaKey {
                tunnel: name.to_string(),
                direction,
                source: ends.0,
                destination: ends.1,
                spi: spi.get(),
                suite: key.suite().name().to_owned(),
                cipher: Secret::new(key.cipher()),
                authentication: key.authentication().map(Secret::new),
            };
            all.extend(sas.iter().map(key));
        }
    }
    all
}

/// Writes keys as lines of Wireshark's table `esp_sa`, with a comment before each.
///
/// The lines match packets by SPI alone: between gateways these have the addresses of links. The last two fields say that sequence numbers
/// have 64 bits, of which the upper half is taken for zero.
#[must_use]
pub fn wireshark(keys: &[SaKey]) -> Zeroizing<String> {
    /// More than a key and its comment take.
    const ROOM: usize = 512;
    let mut text = Zeroizing::new(String::with_capacity(keys.len() * ROOM));
    for key in keys {
        let (cipher, check) = names(&key.suite);
        let secret = |secret: &Secret| Zeroizing::new(format!("0x{}", secret.0));
        let authentication = key.authentication.as_ref().map(secret).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# tunnel {}, {} to {}, {}\n\"IPv4\",\"*\",\"*\",\"{:#010x}\",\
             \"{cipher}\",\"{}\",\"{check}\",\"{}\",\"64-bit\",\"0x00000000\"",
            key.tunnel,
            key.source,
            key.destination,
            key.suite,
            key.spi,
            *secret(&key.cipher),
            *authentication,
        );
    }
    text
}

/// Wireshark's names for a suite's cipher and integrity check.
fn names(suite: &str) -> (&'static str, &'static str) {
    match suite.parse() {
        Ok(Suite::AesGcm128 | Suite::AesGcm256) => ("AES-GCM with 16 octet ICV [RFC4106]", "NULL"),
        Ok(Suite::ChaCha20Poly1305) => ("ChaCha20 with Poly1305 [RFC7634]", "NULL"),
        Ok(Suite::AesCbc128HmacSha256 | Suite::AesCbc256HmacSha256) => {
            ("AES-CBC [RFC3602]", "HMAC-SHA-256-128 [RFC4868]")
        }
        // Of another version of the daemon: Wireshark says that it does not know it.
        Err(_) => ("unknown", "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(suite: Suite, authentication: Option<&[u8]>) -> SaKey {
        SaKey {
            tunnel: "paris".to_owned(),
            direction: SaDirection::Out,
            source: Ipv4Addr::new(10, 255, 0, 1),
            destination: Ipv4Addr::new(10, 255, 0, 2),
            spi: 0x1001,
            suite: suite.name().to_owned(),
            cipher: Secret::new(&[0xab, 0x01]),
            authentication: authentication.map(Secret::new),
        }
    }

    #[test]
    fn lines_are_as_wireshark_writes_them() {
        let keys = [
            key(Suite::AesGcm256, None),
            key(Suite::AesCbc128HmacSha256, Some(&[0xcd])),
        ];
        assert_eq!(
            *wireshark(&keys),
            "# tunnel paris, 10.255.0.1 to 10.255.0.2, aes-gcm-256\n\
             \"IPv4\",\"*\",\"*\",\"0x00001001\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0xab01\",\
             \"NULL\",\"\",\"64-bit\",\"0x00000000\"\n\
             # tunnel paris, 10.255.0.1 to 10.255.0.2, aes-cbc-128-hmac-sha-256\n\
             \"IPv4\",\"*\",\"*\",\"0x00001001\",\"AES-CBC [RFC3602]\",\"0xab01\",\
             \"HMAC-SHA-256-128 [RFC4868]\",\"0xcd\",\"64-bit\",\"0x00000000\"\n"
        );
        for suite in Suite::ALL {
            assert_ne!(names(suite.name()).0, "unknown", "{suite}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", key(Suite::AesGcm256, Some(&[0xcd])));
        assert!(!shown.contains("ab01") && !shown.contains("cd"), "{shown}");
    }
}
