//! Ping, and what the kernel believes about path MTUs.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// ICMP types and codes (RFC 792, RFC 1191).
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO: u8 = 8;
const ICMP_HEADER: usize = 8;

/// The shortest time for a socket to wait: less is rounded to none, which it takes for no limit.
pub(super) const SHORTEST: Duration = Duration::from_micros(1);

/// Answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// The echo came back whole.
    Reply {
        /// Round-trip time.
        rtt: Duration,
    },
    /// The packet was too big to pass without fragmentation.
    FragNeeded {
        /// Largest packet that passes, in bytes of IP, as told.
        mtu: u32,
        /// The router that said so; none if the sender's own kernel knew.
        from: Option<Ipv4Addr>,
    },
    /// Another ICMP error came.
    Unreachable {
        /// Its code (RFC 792).
        code: u8,
        /// Who sent it.
        from: Ipv4Addr,
    },
    /// Nothing came in time.
    Timeout,
}

/// Sends one echo request with `size` bytes of data (the packet has 28 more) and waits for what
/// becomes of it. `dont_fragment` behaves as `ping -M do`.
pub fn ping(
    netns: &Netns,
    destination: Ipv4Addr,
    size: usize,
    dont_fragment: bool,
    timeout: Duration,
) -> Result<Ping> {
    ensure!(size <= 65_507, "{size} bytes do not fit into an IP packet");
    let socket = netns.enter(|| {
        Ok(Socket::new(
            Domain::IPV4,
            Type::RAW,
            Some(Protocol::ICMPV4),
        )?)
    })?;
    let discovery = if dont_fragment {
        Ipv4PathMtuDiscovery::DO
    } else {
        Ipv4PathMtuDiscovery::DONT
    };
    set_ip_mtu_discover(&socket, discovery)?;

    let echo = Echo::new(size);
    let mut buffer = vec![0; 65_535];
    let sent = Instant::now();
    match socket.send_to(&echo.request(), &SocketAddrV4::new(destination, 0).into()) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
            return Ok(Ping::FragNeeded {
                mtu: path_mtu(netns, destination)?,
                from: None,
            });
        }
        Err(error) => return Err(error).with_context(|| format!("cannot ping {destination}")),
    }
    loop {
        let left = timeout.saturating_sub(sent.elapsed());
        if left.is_zero() {
            return Ok(Ping::Timeout);
        }
        socket.set_read_timeout(Some(left.max(SHORTEST)))?;
        match (&socket).read(&mut buffer) {
            Ok(length) => {
                if let Some(answer) = echo.answer(&buffer[..length], sent.elapsed()) {
                    return Ok(answer);
                }
            }
            Err(error) if is_timeout(&error) => return Ok(Ping::Timeout),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the path MTU, in bytes, that a namespace's kernel would use towards `destination` now.
pub fn path_mtu(netns: &Netns, destination: Ipv4Addr) -> Result<u32> {
    let socket = netns.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Connecting looks up the route and sends nothing; port 9 discards.
        socket.connect((destination, 9))?;
        Ok(socket)
    })?;
    ip_mtu(&socket).with_context(|| format!("no path MTU towards {destination}"))
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What is in a ping with `size` bytes of data.
pub(crate) fn ping_data(size: usize) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).cycle().take(size)
}

/// One echo request, and how to know its answer.
pub(super) struct Echo {
    /// Identifier and sequence number, unique in this process for a while.
    mark: [u8; 4],
    size: usize,
}

impl Echo {
    pub(super) fn new(size: usize) -> Self {
        static SEQUENCE: AtomicU16 = AtomicU16::new(0);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        // Any value does: the namespace's other pingers are in this process, too.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self {
            mark: [high, low, sequence[0], sequence[1]],
            size,
        }
    }

    pub(super) fn request(&self) -> Vec<u8> {
        let mut packet = vec![ECHO, 0, 0, 0];
        packet.extend(self.mark);
        packet.extend(ping_data(self.size));
        let checksum = checksum(&packet);
        packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// Reads an IP packet that a raw ICMP socket received.
    pub(super) fn answer(&self, packet: &[u8], rtt: Duration) -> Option<Ping> {
        let (from, icmp) = payload(packet)?;
        let (header, data) = icmp.split_at_checked(ICMP_HEADER)?;
        match header[0] {
            ECHO_REPLY if header[4..8] == self.mark => {
                let whole = data.iter().copied().eq(ping_data(self.size));
                whole.then_some(Ping::Reply { rtt })
            }
            UNREACHABLE => {
                // The error quotes the request's IP header and at least eight bytes more.
                let (_, quoted) = payload(data)?;
                if quoted.first() != Some(&ECHO) || quoted.get(4..8) != Some(&self.mark) {
                    return None;
                }
                Some(match header[1] {
                    FRAGMENTATION_NEEDED => {
                        let mtu = u16::from_be_bytes([header[6], header[7]]).into();
                        Ping::FragNeeded {
                            mtu,
                            from: Some(from),
                        }
                    }
                    code => Ping::Unreachable { code, from },
                })
            }
            _ => None,
        }
    }
}

/// Source address and payload of an IPv4 packet.
fn payload(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some((source.into(), packet.get(header_length..)?))
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| {
            u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
    let folded = folded as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_rfc() {
        // The example of RFC 1071, section 3: the sum is 0xddf2.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn only_its_own_answer_counts() {
        let echo = Echo {
            mark: [1, 2, 3, 4],
            size: 5,
        };
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        let mut reply = echo.request();
        reply[0] = ECHO_REPLY;
        packet.extend(&reply);
        let rtt = Duration::from_millis(1);
        assert_eq!(echo.answer(&packet, rtt), Some(Ping::Reply { rtt }));
        let other = Echo {
            mark: [1, 2, 3, 5],
            size: 5,
        };
        assert_eq!(other.answer(&packet, rtt), None);
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(echo.answer(&packet, rtt), None);
    }
}
