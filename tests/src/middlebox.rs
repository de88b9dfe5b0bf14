//! A router on the way that breaks TCP connections off.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    capture::{CapturePlan, Ipv4Fields, Segment, ipv4},
    lab::Link,
    traffic::icmp::checksum,
};

const TCP: u8 = 6;
const RST: u8 = 4;
/// More frames than a link of the lab carries while connections are looked for.
const FRAMES: usize = 50_000;

/// One direction of a TCP connection.
type Flow = (SocketAddrV4, SocketAddrV4);

/// Watches the links' providers for a while, and then resets every TCP connection with `port` at
/// one end of which a segment was seen, at both ends (RFC 9293, section 3.5.2). Returns how many.
pub fn reset_connections(links: &[Link], port: u16, time: Duration) -> Result<usize> {
    let mut captures = Vec::new();
    for link in links {
        let (netns, device) = link.provider();
        let capture = CapturePlan::new().keep(FRAMES).start(netns, device)?;
        captures.push((netns, capture));
    }
    thread::sleep(time);
    let mut connections = BTreeSet::new();
    for (netns, capture) in captures {
        let tally = capture.finish()?;
        let frames = tally.kept.iter().map(|frame| frame.bytes.as_slice());
        let flows = next_bytes(frames, port);
        let socket = netns.enter(|| {
            let raw = Protocol::from(libc::IPPROTO_RAW);
            Ok(Socket::new(Domain::IPV4, Type::RAW, Some(raw))?)
        })?;
        for ((source, destination), sequence) in flows {
            let packet = reset(source, destination, sequence);
            socket
                .send_to(&packet, &SocketAddrV4::new(*destination.ip(), 0).into())
                .with_context(|| format!("cannot reset {source} to {destination}"))?;
            connections.insert((source.min(destination), source.max(destination)));
        }
    }
    Ok(connections.len())
}

/// The sequence number that each flow goes on with, as its last segment tells.
fn next_bytes<'a>(frames: impl Iterator<Item = &'a [u8]>, port: u16) -> BTreeMap<Flow, u32> {
    let mut flows = BTreeMap::new();
    for segment in frames.filter_map(Segment::read) {
        let flow = (segment.source, segment.destination);
        if flow.0.port() != port && flow.1.port() != port {
            continue;
        }
        if segment.rst {
            flows.remove(&flow);
            continue;
        }
        let last = flows.entry(flow).or_insert(segment.next);
        // What is sent again does not take the flow back.
        if segment.next.wrapping_sub(*last).cast_signed() > 0 {
            *last = segment.next;
        }
    }
    flows
}

/// An IPv4 packet with a TCP segment that resets a connection.
fn reset(source: SocketAddrV4, destination: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    // No acknowledgement; five words of header; no window, checksum or urgent pointer.
    segment.extend([0, 0, 0, 0, 0x50, RST, 0, 0, 0, 0, 0, 0]);
    let sum = checksum(
        &[
            &pseudo_header(*source.ip(), *destination.ip()),
            &segment[..],
        ]
        .concat(),
    );
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let fields = Ipv4Fields::new(*source.ip(), *destination.ip(), TCP);
    ipv4(&fields, &segment)
}

/// What TCP's checksum covers besides the segment, for one of 20 bytes.
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    [
        &source.octets()[..],
        &destination.octets(),
        &[0, TCP, 0, 20],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ethernet;

    #[test]
    fn a_reset_goes_on_where_the_flow_is() {
        let near = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 2), 40_000);
        let far = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), 5710);
        let frame = |sequence| ethernet([2; 6], [3; 6], &reset_without_flag(near, far, sequence));
        let frames = [frame(u32::MAX - 1), frame(3), frame(u32::MAX)];
        let flows = next_bytes(frames.iter().map(Vec::as_slice), 5710);
        assert_eq!(flows, BTreeMap::from([((near, far), 3)]));
        assert!(next_bytes(frames.iter().map(Vec::as_slice), 5711).is_empty());

        let packet = reset(near, far, 3);
        let covered = [&pseudo_header(*near.ip(), *far.ip()), &packet[20..]].concat();
        assert_eq!(checksum(&covered), 0);
    }

    fn reset_without_flag(
        source: SocketAddrV4,
        destination: SocketAddrV4,
        sequence: u32,
    ) -> Vec<u8> {
        let mut packet = reset(source, destination, sequence);
        packet[33] = 0;
        packet
    }
}
