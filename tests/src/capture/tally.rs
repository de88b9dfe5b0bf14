//! What a capture remembers of frames.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Instant};

use memchr::memmem::Finder;

const ETHERNET_HEADER: usize = 14;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ICMP: u8 = 1;

/// Bytes to be looked for in frames.
#[derive(Clone, Debug)]
pub struct Needle {
    name: String,
    bytes: Vec<u8>,
}

impl Needle {
    /// Looks for arbitrary bytes, such as a marker strewn into a transfer.
    #[must_use]
    pub fn bytes(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    /// Looks for an IPv4 header's pair of addresses, anywhere: as the outer header, or as an inner
    /// one that should have been encrypted. Eight bytes hardly occur by chance; four would.
    #[must_use]
    pub fn addresses(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let bytes = [source.octets(), destination.octets()].concat();
        Self {
            name: format!("{source} > {destination}"),
            bytes,
        }
    }

    /// The name under which a tally counts it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A frame that was kept.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When the capture read it.
    pub at: Instant,
    /// Whether the device sent it, rather than received it.
    pub outgoing: bool,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// What was seen on a device.
#[derive(Debug)]
pub struct Tally {
    /// Frames of every kind.
    pub frames: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Frames by `EtherType`, in host byte order.
    pub ether_types: BTreeMap<u16, u64>,
    /// IPv4 packets by protocol number; fragments count under the protocol they carry.
    pub protocols: BTreeMap<u8, u64>,
    /// IPv4 packets by source and destination.
    pub pairs: BTreeMap<(Ipv4Addr, Ipv4Addr), u64>,
    /// ICMP messages by type and code.
    pub icmp: BTreeMap<(u8, u8), u64>,
    /// IPv4 packets that are fragments of larger ones.
    pub fragments: u64,
    /// Frames that hold each needle, by its name.
    pub found: BTreeMap<String, u64>,
    /// The first frames, as many as asked for.
    pub kept: Vec<Frame>,
    /// Frames that the capture missed because it was too slow. What it says about the others
    /// proves nothing about these.
    pub missed: u64,
    needles: Vec<(String, Finder<'static>)>,
    keep: usize,
}

impl Tally {
    pub(super) fn new(needles: Vec<Needle>, keep: usize) -> Self {
        let found = needles
            .iter()
            .map(|needle| (needle.name.clone(), 0))
            .collect();
        let needles = needles
            .into_iter()
            .map(|needle| (needle.name, Finder::new(&needle.bytes).into_owned()))
            .collect();
        Self {
            frames: 0,
            bytes: 0,
            ether_types: BTreeMap::new(),
            protocols: BTreeMap::new(),
            pairs: BTreeMap::new(),
            icmp: BTreeMap::new(),
            fragments: 0,
            found,
            kept: Vec::new(),
            missed: 0,
            needles,
            keep,
        }
    }

    /// Frames that hold the needle of that name; none if it was not looked for.
    #[must_use]
    pub fn found(&self, needle: &str) -> Option<u64> {
        self.found.get(needle).copied()
    }

    pub(super) fn add(&mut self, frame: &[u8], outgoing: bool) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
        self.count_ipv4(frame);
        for (name, finder) in &self.needles {
            if finder.find(frame).is_some() {
                *self.found.entry(name.clone()).or_default() += 1;
            }
        }
        if self.kept.len() < self.keep {
            self.kept.push(Frame {
                at: Instant::now(),
                outgoing,
                bytes: frame.to_vec(),
            });
        }
    }

    fn count_ipv4(&mut self, frame: &[u8]) -> Option<()> {
        let ether_type = u16::from_be_bytes(frame.get(12..ETHERNET_HEADER)?.try_into().ok()?);
        *self.ether_types.entry(ether_type).or_default() += 1;
        if ether_type != ETHER_TYPE_IPV4 {
            return None;
        }
        let packet = &frame[ETHERNET_HEADER..];
        let header_length = usize::from(packet.first()? & 0x0f) * 4;
        let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
        let protocol = *packet.get(9)?;
        let address = |at: usize| {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        *self.pairs.entry((address(12)?, address(16)?)).or_default() += 1;
        *self.protocols.entry(protocol).or_default() += 1;
        self.fragments += u64::from(fragment != 0);
        let offset = fragment & 0x1fff;
        if protocol == ICMP && offset == 0 {
            let message = packet.get(header_length..header_length + 2)?;
            *self.icmp.entry((message[0], message[1])).or_default() += 1;
        }
        Some(())
    }
}
