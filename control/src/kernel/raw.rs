//! Sending IP packets out of a link, whatever the routing table says.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{
    ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt::TxTime,
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};
use withy_common::header::{ESP, LEN};

use crate::reconcile::objects::InterfaceName;

/// `IPPROTO_RAW`: the header comes with the packet, and nothing is ever received.
const RAW: i32 = 255;
/// The time to live of what the gateway itself sends.
const TTL: u8 = 64;
/// The flag in the byte of flags and fragment offset.
const DONT_FRAGMENT: u8 = 0x40;

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
        // What routers say of the path's MTU is no news to who probes it, and may be a lie.
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        let times = libc::sock_txtime {
            clockid: libc::CLOCK_MONOTONIC,
            flags: 0,
        };
        setsockopt(&socket, TxTime, &times)?;
        socket.bind_device(Some(interface.as_str().as_bytes()))?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        Ok(Self { socket, address })
    }

    /// Sends `payload` as an ESP packet to the address of a remote link, padded with zeros to `length` bytes with its IP header. With
    /// padding, routers must not fragment it. It leaves at `time` of the monotonic clock if the interface's queue knows of such times
    /// (`SO_TXTIME`), else at once.
    ///
    /// # Errors
    ///
    /// The kernel refuses: the link is down, for one, or it is congested, or the packet does not fit its MTU.
    pub fn send_esp(
        &self,
        remote: Ipv4Addr,
        payload: &[u8],
        length: u16,
        time: Option<Duration>,
    ) -> io::Result<()> {
        let bare = usize::from(LEN) + payload.len();
        let [high, low] = length.to_be_bytes();
        let flags = if usize::from(length) > bare {
            DONT_FRAGMENT
        } else {
            0
        };
        // The kernel fills in identification and checksum.
        let mut packet = vec![0x45, 0, high, low, 0, 0, flags, 0, TTL, ESP, 0, 0];
        packet.extend(self.address.octets());
        packet.extend(remote.octets());
        packet.extend(payload);
        packet.resize(bare.max(length.into()), 0);
        let time = time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let time = time.as_ref().map(ControlMessage::TxTime);
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&packet)],
            time.as_slice(),
            MsgFlags::empty(),
            Some(&SockaddrIn::from(SocketAddrV4::new(remote, 0))),
        );
        Ok(sent.map(drop)?)
    }
}
