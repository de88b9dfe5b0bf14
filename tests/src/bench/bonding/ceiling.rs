//! The ceiling of a share: what links carry of payload at most, once the headers of the system that uses them are
//! deducted.

use crate::{
    bench::measure::{DATAGRAM, Span},
    lab::{Link, LinkSpec},
    peers::Envelope,
    shape::{ETHERNET_HEADER, OPPORTUNITY},
    traffic::bulk::Flavour,
};

/// Headers without options, in bytes.
const IP_HEADER: u32 = 20;
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;

/// TCP's timestamps, padded, in bytes: all kernels send them.
const TIMESTAMPS: u32 = 12;

/// The Data Sequence Signal of a segment of Multipath TCP, in bytes: a sequence number of 8, an acknowledgement of 4, no checksum
/// (RFC 8684, section 3.3; `mptcp_established_options_dss()` in net/mptcp/options.c).
const DATA_SEQUENCE: u32 = 24;

/// A full packet of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    /// So many bytes of payload in a packet that has `outer` bytes beneath the tunnel.
    Packet { payload: u32, outer: u32 },
    /// A segment of Multipath TCP, as long as the link carries it.
    Subflow,
}

/// What a parcel takes of a link, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footprint {
    payload: u32,
    /// The IP packets: one, or the fragments.
    packets: u32,
    /// The same with their Ethernet headers.
    frames: u32,
}

impl Parcel {
    /// A segment of a stream. `segment`: its payload in bytes, as the kernel says.
    pub(super) fn of_stream(flavour: Flavour, envelope: Envelope, segment: Option<u32>) -> Self {
        match (flavour, segment) {
            (Flavour::Tcp, Some(payload)) => Self::Packet {
                payload,
                outer: envelope.around(payload + TIMESTAMPS + TCP_HEADER + IP_HEADER),
            },
            _ => Self::Subflow,
        }
    }

    /// A datagram of the UDP load.
    pub(super) fn of_datagrams(envelope: Envelope) -> Self {
        let payload = DATAGRAM.into();
        Self::Packet {
            payload,
            outer: envelope.around(payload + UDP_HEADER + IP_HEADER),
        }
    }

    /// What it takes of a link that carries packets of `mtu` bytes.
    fn on(self, mtu: u32) -> Footprint {
        let (payload, outer) = match self {
            Self::Packet { payload, outer } => (payload, outer),
            Self::Subflow => {
                let headers = IP_HEADER + TCP_HEADER + TIMESTAMPS + DATA_SEQUENCE;
                (mtu.saturating_sub(headers), mtu)
            }
        };
        let pieces = if outer <= mtu {
            1
        } else {
            // All but the last carry a multiple of 8 bytes (RFC 791).
            (outer - IP_HEADER).div_ceil((mtu.saturating_sub(IP_HEADER) & !7).max(8))
        };
        let packets = outer + IP_HEADER * (pieces - 1);
        Footprint {
            payload,
            packets,
            frames: packets + ETHERNET_HEADER * pieces,
        }
    }

    /// Bits a second of payload on links that have nothing else to carry; of those that follow a recording, on average.
    pub(super) fn rate_bps(self, links: &[LinkSpec]) -> f64 {
        let of_link = |link: &LinkSpec| rate_bps(link) * self.on(link.mtu).part();
        links.iter().map(of_link).sum()
    }

    /// Bits of payload that the gateway could have sent over its links in a time.
    pub(super) fn room_bits(self, links: &[(&Link, &LinkSpec)], span: Span) -> f64 {
        let seconds = (span.to - span.from).as_secs_f64();
        let of_link = |&(link, spec): &(&Link, &LinkSpec)| {
            let footprint = self.on(spec.mtu);
            match link.opportunities(span.from, span.to) {
                Some(count) => footprint.in_opportunities(count),
                // Or of a recording that nobody has begun to play, the mean.
                None => rate_bps(spec) * seconds * footprint.part(),
            }
        };
        links.iter().map(of_link).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates of a few Gbit/s")]
fn rate_bps(link: &LinkSpec) -> f64 {
    link.up.rate_bps as f64
}

impl Footprint {
    /// What part of a link's rate is payload.
    fn part(self) -> f64 {
        f64::from(self.payload) / f64::from(self.frames)
    }

    /// Bits of payload in so many opportunities of a recording, which do not count Ethernet headers.
    #[expect(clippy::cast_precision_loss, reason = "a recording of a few minutes")]
    fn in_opportunities(self, count: u64) -> f64 {
        let bits = count as f64 * OPPORTUNITY as f64 * 8.0;
        bits * f64::from(self.payload) / f64::from(self.packets)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use withy::config::Suite;

    use super::*;
    use crate::shape::Shape;

    fn links(rates: &[u64]) -> Vec<LinkSpec> {
        let link = |rate| LinkSpec::new("wan", Shape::new(rate, Duration::ZERO));
        rates.iter().map(|rate| link(*rate)).collect()
    }

    /// What 100 Mbit/s carry of payload, in bits a second.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, and less than 100 Mbit/s"
    )]
    fn of_hundred_megabits(parcel: Parcel) -> u64 {
        parcel.rate_bps(&links(&[70_000_000, 30_000_000])).round() as u64
    }

    #[test]
    fn streams_are_less_their_headers_and_the_systems() {
        let tcp = |envelope, segment| Parcel::of_stream(Flavour::Tcp, envelope, Some(segment));
        // Withy clamps to 1406 bytes, 12 of which are timestamps: 1394 + 52 inside, 1446 + 54 outside, + 14 on the wire.
        let withy = tcp(Envelope::Esp(Suite::AesGcm256), 1394);
        assert_eq!(of_hundred_megabits(withy), 92_073_976);
        // 1500 - 52 of 1514.
        let plain = tcp(Envelope::NONE, 1448);
        assert_eq!(of_hundred_megabits(plain), 95_640_687);
        // The device carries 1420: 1368 + 52 inside, + 60 outside, + 14.
        let wireguard = tcp(Envelope::WIREGUARD, 1368);
        assert_eq!(of_hundred_megabits(wireguard), 91_566_265);
        // 1500 - 52 - 24 of 1514, whatever the kernel says.
        let multipath = Parcel::of_stream(Flavour::Mptcp, Envelope::NONE, Some(1448));
        assert_eq!(of_hundred_megabits(multipath), 94_055_482);
    }

    #[test]
    fn datagrams_are_less_their_headers_and_the_systems() {
        // 1200 + 28 inside; with 2 bytes of trailer padded to 1232, + 52 outside, + 14 on the wire.
        let withy = Parcel::of_datagrams(Envelope::Esp(Suite::AesGcm256));
        assert_eq!(of_hundred_megabits(withy), 92_449_923);
        let plain = Parcel::of_datagrams(Envelope::NONE);
        assert_eq!(of_hundred_megabits(plain), 96_618_357);
    }

    #[test]
    fn what_does_not_fit_a_link_takes_more_of_it() {
        let parcel = Parcel::Packet {
            payload: 1394,
            outer: 1500,
        };
        // 976 + 504 bytes behind two IP headers, in two frames.
        let on_narrow = Footprint {
            payload: 1394,
            packets: 1520,
            frames: 1548,
        };
        assert_eq!(parcel.on(1000), on_narrow);
        // Segments of Multipath TCP are as long as their link allows.
        let narrow = Parcel::Subflow.on(1000);
        assert_eq!((narrow.payload, narrow.frames), (924, 1014));
    }

    #[test]
    fn opportunities_count_packets_without_ethernet() {
        let parcel = Parcel::of_stream(Flavour::Tcp, Envelope::Esp(Suite::AesGcm256), Some(1294));
        // 1294 + 52 inside, 1346 + 54 outside: 15 packets in 14 opportunities.
        let bits = parcel.on(1500).in_opportunities(14);
        assert!((bits - 15.0 * 1294.0 * 8.0).abs() < 1e-6, "{bits}");
    }
}
