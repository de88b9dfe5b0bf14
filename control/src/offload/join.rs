//! Packets into super-packets.

use withy_common::{
    checksum::fold,
    header::{TCP, UDP},
};

use super::{
    Header, Kind, LONGEST,
    segment::{Headers, flag, long, pseudo_header, word, write_network},
};

/// No further packet.
const NONE: u16 = u16::MAX;
/// DF, in the word of flags and fragment offset.
const DONT_FRAGMENT: u16 = 0x4000;

/// Packets that go to the kernel in one step: one, or several that follow each other in a flow.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    first: u16,
    last: u16,
    count: u16,
    /// How long all of it is, in bytes, with one header.
    total: usize,
    /// The payload of each packet but the last, in bytes.
    segment: usize,
    /// Nothing where nothing can be joined to it, now or ever.
    headers: Option<Headers>,
    open: bool,
}

/// Plans which packets are joined. It has memory for as many as it was made for.
#[derive(Debug)]
pub struct Joiner {
    units: Vec<Unit>,
    /// For each packet the next one in its unit.
    next: Vec<u16>,
}

impl Joiner {
    /// Makes one for `capacity` packets.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            units: Vec::with_capacity(capacity),
            next: vec![NONE; capacity],
        }
    }

    /// Plans those of `packets` that `members` names, in the order in which they came. Packets of one flow stay in that order; a packet
    /// whose flow cannot be told ends whatever was joined before it.
    ///
    /// # Panics
    ///
    /// There are more packets than it was made for.
    pub fn plan<P: AsRef<[u8]>>(&mut self, packets: &[P], members: impl Iterator<Item = usize>) {
        self.units.clear();
        for at in members {
            let number = u16::try_from(at).expect("no more than it was made for");
            self.next[at] = NONE;
            let packet = packets[at].as_ref();
            let headers = Headers::read(packet);
            match headers {
                None => self.units.iter_mut().for_each(|unit| unit.open = false),
                Some(headers) => {
                    if self.append(packets, number, &headers) {
                        continue;
                    }
                }
            }
            self.units.push(Unit::alone(number, packet, headers));
        }
    }

    /// What is planned.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// The packets of a unit behind its first.
    pub fn rest(&self, unit: &Unit) -> impl Iterator<Item = usize> + '_ {
        let mut at = unit.first;
        std::iter::from_fn(move || {
            at = self.next[usize::from(at)];
            (at != NONE).then_some(usize::from(at))
        })
    }

    /// Joins a packet to what came last of its flow, if it follows.
    fn append<P: AsRef<[u8]>>(&mut self, packets: &[P], number: u16, headers: &Headers) -> bool {
        let packet = packets[usize::from(number)].as_ref();
        let before = self.units.iter_mut().rev().find(|unit| {
            let first = packets[usize::from(unit.first)].as_ref();
            unit.headers
                .is_some_and(|own| same_flow(first, &own, packet, headers))
        });
        let Some(unit) = before else { return false };
        let first = packets[usize::from(unit.first)].as_ref();
        if !unit.open || !unit.is_followed_by(first, packet, headers) {
            unit.open = false;
            return false;
        }
        let payload = headers.total - headers.all;
        self.next[usize::from(unit.last)] = number;
        unit.last = number;
        unit.count += 1;
        unit.total += payload;
        unit.open = payload == unit.segment && !pushes(packet, headers);
        true
    }
}

impl Unit {
    fn alone(number: u16, packet: &[u8], headers: Option<Headers>) -> Self {
        let open = headers.is_some_and(|headers| may_begin(packet, &headers));
        Self {
            first: number,
            last: number,
            count: 1,
            total: packet.len(),
            segment: headers.map_or(0, |headers| headers.total - headers.all),
            headers,
            open,
        }
    }

    /// Its first packet.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first.into()
    }

    /// Its last packet.
    #[must_use]
    pub fn last(&self) -> usize {
        self.last.into()
    }

    /// How many packets it joins.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.into()
    }

    /// How long the headers are that only the first packet gives, in bytes.
    #[must_use]
    pub fn headers(&self) -> usize {
        self.headers.map_or(0, |headers| headers.all)
    }

    /// Tells whether the last of its packets asks for delivery at once.
    #[must_use]
    pub fn pushes(&self, last: &[u8]) -> bool {
        self.headers.is_some_and(|headers| pushes(last, &headers))
    }

    /// Makes the header of its first packet that of all; returns what stands before it. `pushes` tells whether the last of them does.
    #[must_use]
    pub fn finish(&self, first: &mut [u8], pushes: bool) -> Header {
        let Some(headers) = self.headers.filter(|_| self.count > 1) else {
            return Header::default();
        };
        let Headers {
            network,
            all,
            protocol,
            ..
        } = headers;
        // `append` has kept it below that.
        let total = u16::try_from(self.total).unwrap_or(u16::MAX);
        let identification = word(first, 4);
        write_network(first, network, total, identification);
        if protocol == TCP {
            if pushes {
                first[network + 13] |= flag::PSH;
            }
        } else {
            let length = self.total - network;
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            first[network + 4..network + 6].copy_from_slice(&length.to_be_bytes());
        }
        // What the kernel goes on from: the sum of the pseudo header, not its complement.
        let sum = fold(pseudo_header(first, protocol, self.total - network));
        let checksum = network + headers.checksum_offset();
        first[checksum..checksum + 2].copy_from_slice(&sum.to_ne_bytes());
        let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        Header {
            kind: if protocol == TCP {
                Kind::Tcp
            } else {
                Kind::Udp
            },
            checksum: Some((short(network), short(headers.checksum_offset()))),
            headers: short(all),
            segment: short(self.segment),
        }
    }

    /// Tells whether `packet` continues what begins with `first` and so far ends with `last`.
    fn is_followed_by(&self, first: &[u8], packet: &[u8], headers: &Headers) -> bool {
        let payload = headers.total - headers.all;
        let fits = payload > 0 && payload <= self.segment && self.total + payload <= LONGEST;
        fits && self.headers.is_some_and(|own| {
            own.all == headers.all
                && own.network == headers.network
                && same_network(first, packet, self.count)
                && same_transport(first, &own, packet, headers, self.total - own.all)
                // The one before has been looked at when it was joined, but for the first.
                && (self.count > 1 || own.checksum_holds(first))
                && headers.checksum_holds(packet)
        })
    }
}

/// Tells whether something can follow the packet.
fn may_begin(packet: &[u8], headers: &Headers) -> bool {
    // What is behind an IP packet is not its own, and options are rare.
    let plain =
        headers.total == packet.len() && headers.network == 20 && headers.total > headers.all;
    plain
        && match headers.protocol {
            TCP => {
                let flags = packet[headers.network + 13];
                flags & !(flag::ECE | flag::PSH) == flag::ACK && !pushes(packet, headers)
            }
            _ => udp_length(packet, headers),
        }
}

fn pushes(packet: &[u8], headers: &Headers) -> bool {
    headers.protocol == TCP && packet[headers.network + 13] & flag::PSH != 0
}

/// Whether a datagram is as long as its packet says.
fn udp_length(packet: &[u8], headers: &Headers) -> bool {
    usize::from(word(packet, headers.network + 4)) == headers.total - headers.network
}

/// Addresses, protocol and ports.
fn same_flow(one: &[u8], own: &Headers, other: &[u8], headers: &Headers) -> bool {
    let ports = |packet: &[u8], at: usize| [word(packet, at), word(packet, at + 2)];
    own.protocol == headers.protocol
        && one[12..20] == other[12..20]
        && ports(one, own.network) == ports(other, headers.network)
}

/// Whether IP headers differ only in what the kernel makes anew when it cuts: length, checksum and, where it means something, an
/// identification that counts on.
fn same_network(first: &[u8], packet: &[u8], count: u16) -> bool {
    let fragment = word(first, 6);
    let counted = word(packet, 4) == word(first, 4).wrapping_add(count);
    first[..2] == packet[..2]
        && fragment == word(packet, 6)
        && first[8] == packet[8]
        && (fragment & DONT_FRAGMENT != 0 || counted)
}

/// Whether the transport header says that the payload follows on `sent` bytes.
fn same_transport(
    first: &[u8],
    own: &Headers,
    packet: &[u8],
    headers: &Headers,
    sent: usize,
) -> bool {
    let (one, other) = (
        &first[own.network..own.all],
        &packet[headers.network..headers.all],
    );
    if headers.protocol == UDP {
        return udp_length(packet, headers);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within one packet")]
    let expected = long(one, 4).wrapping_add(sent as u32);
    long(other, 4) == expected
        // The acknowledgement, the data's offset, the window, the urgent pointer, and all options.
        && one[8..13] == other[8..13]
        && one[13] == other[13] & !flag::PSH
        && one[14..16] == other[14..16]
        && one[18..] == other[18..]
}
