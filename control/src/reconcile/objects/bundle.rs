use std::fmt;

use super::InterfaceName;

/// The device into which tunnels' packets are routed: a veth pair in the gateway's namespace.
///
/// An eBPF program at the TC egress hook of `name` sends every packet on to a link, so nothing
/// ever reaches `peer`; a pair is taken because kernels without the dummy driver exist, and
/// because `bpf_redirect_neigh` wants a device with an Ethernet header. Both ends are up, without
/// ARP and without IPv6 addresses of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDevice {
    /// The end into which routes point.
    pub name: InterfaceName,
    /// The end that sees no packet.
    pub peer: InterfaceName,
    /// The MTU of both ends.
    pub mtu: BundleMtu,
}

impl BundleDevice {
    /// The Ethernet address of the end into which routes point: locally administered, and the
    /// word "withy".
    ///
    /// It is given in the message that makes the pair, so there is no moment at which a crash
    /// could leave a pair that is not recognised as Withy's.
    pub const MAC: [u8; 6] = [0x02, b'w', b'i', b't', b'h', b'y'];
    /// The Ethernet address of the other end.
    pub const PEER_MAC: [u8; 6] = [0x06, b'w', b'i', b't', b'h', b'y'];
    /// The alias of both ends, for people who read `ip link`.
    pub const ALIAS: &'static str = "withy";

    /// The pair `withy0`, `withy0p`.
    ///
    /// # Panics
    ///
    /// Never: both names are legal.
    #[must_use]
    pub fn standard(mtu: BundleMtu) -> Self {
        let name = |name| InterfaceName::new(name).expect("a legal constant");
        Self {
            name: name("withy0"),
            peer: name("withy0p"),
            mtu,
        }
    }
}

impl fmt::Display for BundleDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "device {} peer {} mtu {}",
            self.name,
            self.peer,
            self.mtu.bytes()
        )
    }
}

/// The MTU of a bundle device, in bytes: from IPv4's smallest, 68 (RFC 791), to veth's largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleMtu(u16);

/// An MTU that the bundle device cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an MTU of {0} bytes is impossible: the bundle device takes 68 to 65535")]
pub struct IllegalBundleMtu(pub u32);

impl BundleMtu {
    /// The largest.
    pub const MAX: Self = Self(u16::MAX);

    /// Checks an MTU given in bytes.
    ///
    /// # Errors
    ///
    /// The MTU is below 68 or above 65535.
    pub fn new(bytes: u32) -> Result<Self, IllegalBundleMtu> {
        match u16::try_from(bytes) {
            Ok(legal @ 68..) => Ok(Self(legal)),
            _ => Err(IllegalBundleMtu(bytes)),
        }
    }

    /// Returns the MTU in bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0.into()
    }
}
