use std::{fmt, net::Ipv4Addr};

use super::EspKey;

/// One direction of an IPsec tunnel: ESP in tunnel mode (RFC 4303), with 64-bit sequence numbers.
///
/// The kernel identifies it by destination, protocol and SPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation {
    /// The outer source address, a tunnel endpoint.
    pub source: Ipv4Addr,
    /// The outer destination address, a tunnel endpoint.
    pub destination: Ipv4Addr,
    /// The security parameters index.
    pub spi: Spi,
    /// Ties it to its policies, and marks it as Withy's.
    pub reqid: ReqId,
    /// Algorithms and key.
    pub key: EspKey,
    /// Which way packets go, with what only that way has.
    pub direction: Direction,
}

/// The direction of a security association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Encrypts.
    Out(Outbound),
    /// Decrypts.
    In(Inbound),
}

/// What only an encrypting association has.
///
/// It also clears `skb->mark` on the packets that it makes (`XFRMA_SET_MARK`), all but the label
/// ([`withy_common::label`]), so that no other marks of inner packets reach the programs of the bundle
/// device. That attribute is also how an association read from the kernel is known to be an encrypting one: `XFRMA_SA_DIR` exists only
/// since 6.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Whether ESP goes into UDP (RFC 3948, ports 4500).
    ///
    /// The reason is not NAT: `xfrm_dev_offload_ok` refuses associations with an encapsulation.
    /// Where the module `esp4_offload` is loaded the kernel would otherwise encrypt only after
    /// the TC egress hook of the bundle device. The program at that hook takes the 8 bytes off.
    pub udp_encapsulation: bool,
    /// Whether the outer header copies the inner one's DF bit; without it, it has none
    /// (`XFRM_STATE_NOPMTUDISC`) and may be fragmented.
    pub path_mtu_discovery: bool,
}

/// What only a decrypting association has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// How far behind the newest packet others may come.
    pub replay_window: ReplayWindow,
}

/// The sequence numbers of a security association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The number of the last packet sent.
    pub sent: u64,
    /// The largest number received.
    pub received: u64,
}

impl fmt::Display for SecurityAssociation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Out(_) => "out",
            Direction::In(_) => "in",
        };
        let Self {
            source,
            destination,
            spi,
            reqid,
            key,
            ..
        } = self;
        write!(
            f,
            "association {direction} src {source} dst {destination} spi {:#010x} reqid {} {}",
            spi.get(),
            reqid.to_kernel(),
            key.suite().name(),
        )
    }
}

/// A security parameters index, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(u32);

/// An SPI that is reserved.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the SPI {0} is reserved: RFC 4303 leaves 256 and above")]
pub struct IllegalSpi(pub u32);

impl Spi {
    /// Checks an SPI.
    ///
    /// # Errors
    ///
    /// It is below 256 (RFC 4303 section 2.1).
    pub fn new(spi: u32) -> Result<Self, IllegalSpi> {
        if spi < 256 {
            Err(IllegalSpi(spi))
        } else {
            Ok(Self(spi))
        }
    }

    /// Returns it in host byte order.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Ties security associations to policies. The kernel compares the two and attaches no other
/// meaning to it, so its upper half tells Withy's from everyone else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqId(pub u16);

impl ReqId {
    /// The upper half of every reqid of Withy's: the letters "WI".
    const MARK: u32 = 0x5749_0000;

    /// The number that the kernel sees.
    #[must_use]
    pub fn to_kernel(self) -> u32 {
        Self::MARK | u32::from(self.0)
    }

    /// Reads the kernel's number; none if it is not one of Withy's.
    #[must_use]
    pub fn from_kernel(reqid: u32) -> Option<Self> {
        // The cast keeps the lower half, which is what is meant.
        #[allow(clippy::cast_possible_truncation)]
        (reqid & 0xffff_0000 == Self::MARK).then_some(Self(reqid as u16))
    }
}

/// An anti-replay window, in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayWindow(u32);

/// A window that the kernel does not offer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a replay window of {0} packets is impossible: 1 to 4096")]
pub struct IllegalReplayWindow(pub u32);

impl ReplayWindow {
    /// The kernel's largest (`XFRMA_REPLAY_ESN_MAX`).
    pub const MAX: Self = Self(4096);

    /// The nearest window that the kernel offers.
    #[must_use]
    pub fn nearest(packets: u32) -> Self {
        Self(packets.clamp(1, Self::MAX.0))
    }

    /// Checks a window.
    ///
    /// # Errors
    ///
    /// It is 0, which 64-bit sequence numbers do not allow, or above 4096.
    pub fn new(packets: u32) -> Result<Self, IllegalReplayWindow> {
        if (1..=Self::MAX.0).contains(&packets) {
            Ok(Self(packets))
        } else {
            Err(IllegalReplayWindow(packets))
        }
    }

    /// Returns the window in packets.
    #[must_use]
    pub const fn packets(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reqids_of_our_own_are_recognised() {
        for n in [0, 1, u16::MAX] {
            assert_eq!(ReqId::from_kernel(ReqId(n).to_kernel()), Some(ReqId(n)));
        }
        for foreign in [0, 1, 0x3fff, 0x5748_0001, 0x574a_0000, u32::MAX] {
            assert_eq!(ReqId::from_kernel(foreign), None);
        }
    }

    #[test]
    fn ranges_end_where_the_standards_say() {
        assert_eq!(Spi::new(255), Err(IllegalSpi(255)));
        assert_eq!(Spi::new(256).map(Spi::get), Ok(256));
        assert_eq!(ReplayWindow::new(0), Err(IllegalReplayWindow(0)));
        assert_eq!(ReplayWindow::new(4097), Err(IllegalReplayWindow(4097)));
        assert_eq!(ReplayWindow::new(4096), Ok(ReplayWindow::MAX));
        let nearest = [0, 64, 65_536].map(|packets| ReplayWindow::nearest(packets).packets());
        assert_eq!(nearest, [1, 64, 4096]);
    }
}
