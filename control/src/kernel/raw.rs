//! Sending IP packets out of a link, whatever the routing table says.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use socket2::{Domain, Protocol, Socket, Type};
use withy_common::header::{ESP, LEN};

use crate::reconcile::objects::InterfaceName;

/// `IPPROTO_RAW`: the header comes with the packet, and nothing is ever received.
const RAW: i32 = 255;
/// The time to live of what the gateway itself sends.
const TTL: u8 = 64;

/// A socket that sends ESP packets from one link.
#[derive(Debug)]
pub struct LinkSocket {
    socket: Socket,
    address: Ipv4Addr,
}

impl LinkSocket {
    /// Opens a socket for a link's interface and address.
    ///
    /// # Errors
    ///
    /// The kernel refuses: the interface or the address is gone, or `CAP_NET_RAW` is missing.
    pub fn open(interface: &InterfaceName, address: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::IPV4,
            Type::RAW.nonblocking(),
            Some(Protocol::from(RAW)),
        )?;
        socket.bind_device(Some(interface.as_str().as_bytes()))?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        Ok(Self { socket, address })
    }

    /// Sends `payload` as an ESP packet to the address of a remote link.
    ///
    /// # Errors
    ///
    /// The kernel refuses: the link is down, for one, or it is congested.
    pub fn send_esp(&self, remote: Ipv4Addr, payload: &[u8]) -> io::Result<()> {
        let len = usize::from(LEN) + payload.len();
        let len = u16::try_from(len)
            .map_err(|_| io::ErrorKind::InvalidInput)?
            .to_be_bytes();
        // The kernel fills in identification and checksum.
        let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0, 0, TTL, ESP, 0, 0];
        packet.extend(self.address.octets());
        packet.extend(remote.octets());
        packet.extend(payload);
        self.socket
            .send_to(&packet, &SocketAddrV4::new(remote, 0).into())
            .map(drop)
    }
}
