//! What a system puts around the packets that it carries.

use withy::{config::Suite, vpn::overhead};

/// IPv4 and UDP headers, in bytes.
const IP: u32 = 20;
const UDP: u32 = 8;

/// Type, receiver and counter of a WireGuard packet, and the tag behind its payload, in bytes.
const WIREGUARD: u32 = 16 + 16;

/// How long an IP packet is on a link, once a system has packed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// So many bytes are added to each, the outer IP header included.
    Plus(u32),
    /// ESP in tunnel mode, not in UDP.
    Esp(Suite),
}

impl Envelope {
    /// Nothing is added: packets stay as they are, and TCP connections of Multipath TCP end at the gateways.
    pub const NONE: Self = Self::Plus(0);

    /// WireGuard as boringtun sends it, which does not pad.
    pub const WIREGUARD: Self = Self::Plus(IP + UDP + WIREGUARD);

    /// Returns the length in bytes of the outer IP packet around one of `inner` bytes.
    #[must_use]
    pub fn around(self, inner: u32) -> u32 {
        match self {
            Self::Plus(bytes) => inner + bytes,
            Self::Esp(suite) => overhead::outer(suite, inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_standards() {
        // 1446 and 2 are a multiple of 4: 20 + 8 + 8 + 1448 + 16.
        let gcm = Envelope::Esp(Suite::AesGcm256);
        assert_eq!((gcm.around(1446), gcm.around(1445)), (1500, 1500));
        assert_eq!(gcm.around(1228), 20 + 8 + 8 + 1232 + 16);
        // 1438 and 2 are 90 blocks of 16: 20 + 8 + 16 + 1440 + 16.
        let cbc = Envelope::Esp(Suite::AesCbc256HmacSha256);
        assert_eq!((cbc.around(1438), cbc.around(1439)), (1500, 1516));
        // The overhead that the WireGuard paper states: 32 bytes, beside UDP and IPv4.
        assert_eq!(Envelope::WIREGUARD.around(1420), 1480);
        assert_eq!(Envelope::NONE.around(1500), 1500);
    }
}
