//! `AF_PACKET` sockets (packet(7)).

use std::{io, mem, os::fd::AsRawFd};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::length_of;

/// `ETH_P_ALL`: frames of every protocol, both those received and those sent.
const ALL_PROTOCOLS: u16 = 0x0003;

#[expect(clippy::cast_possible_truncation, reason = "17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

/// Opens a raw packet socket on the device with index `device` that receives every frame the
/// device receives or sends.
pub(crate) fn listen(device: u32) -> io::Result<Socket> {
    open(device, ALL_PROTOCOLS)
}

/// Opens a raw packet socket on the device with index `device` that can only send.
pub(crate) fn sender(device: u32) -> io::Result<Socket> {
    open(device, 0)
}

fn open(device: u32, protocol: u16) -> io::Result<Socket> {
    // Protocol 0 until bound: a socket opened with one collects frames from all devices meanwhile.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the address types that sockaddr_storage can hold, and is made
    // of integers only.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = FAMILY;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = device.cast_signed();
    // SAFETY: the storage holds a sockaddr_ll of the length given.
    let address = unsafe { SockAddr::new(storage, length_of::<libc::sockaddr_ll>()) };
    socket.bind(&address)?;
    Ok(socket)
}

/// A frame as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its true length in bytes, which may exceed the buffer's.
    pub(crate) length: usize,
    /// Whether this machine's device sent it, rather than received it.
    pub(crate) outgoing: bool,
}

/// Receives a frame into `buffer`; what does not fit is cut off.
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: sockaddr_ll is a C structure of integers, for which zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut address_length = length_of::<libc::sockaddr_ll>();
    // SAFETY: the kernel writes at most `buffer.len()` bytes of the frame, and at most
    // `address_length` bytes of an address of the socket's family; all of it lives until the call
    // returns.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_TRUNC,
            (&raw mut address).cast(),
            &raw mut address_length,
        )
    };
    let length = usize::try_from(length).map_err(|_negative| io::Error::last_os_error())?;
    Ok(Received {
        length,
        outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
    })
}

/// Returns how many frames the kernel threw away because the socket's buffer was full, since the
/// last call (`PACKET_STATISTICS`).
pub(crate) fn dropped(socket: &Socket) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = length_of::<libc::tpacket_stats>();
    // SAFETY: the kernel writes at most `length` bytes of a tpacket_stats, which is all integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(stats.tp_drops)
    }
}

/// Sets the receive buffer beyond `net.core.rmem_max` (`SO_RCVBUFFORCE`, needs `CAP_NET_ADMIN`).
pub(crate) fn force_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_recv_buffer_size_force(
        socket, bytes,
    )?)
}
