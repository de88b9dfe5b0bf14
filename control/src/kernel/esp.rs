//! The ESP packets of a machine in the hands of a program, many at a time.
// Addresses of packet sockets have no safe constructor in any crate at hand.
#![allow(unsafe_code)]

use std::{
    array, fmt,
    io::{self, IoSlice, IoSliceMut},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force},
};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use withy_common::header::ESP;

/// How many packets the kernel is given or asked for at a time.
pub const BATCH: usize = 64;

/// How much memory in bytes may hold packets that wait for the engine.
const BUFFER: usize = 8 << 20;

/// The Ethernet header of what is sent: of IPv4, from nobody to nobody. Whoever steers the packet gives it another.
const ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00];

/// A way into the bundle device, at which the programs see to the rest. Each thread has its own.
pub struct EspSender {
    socket: Socket,
    headers: MultiHeaders<()>,
}

impl fmt::Debug for EspSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EspSender").field(&self.socket).finish()
    }
}

impl EspSender {
    /// Opens it in the network namespace of the calling thread, for the device with this index.
    ///
    /// # Errors
    ///
    /// The kernel refuses: `CAP_NET_RAW` is missing, or the device.
    pub fn open(device: u32) -> io::Result<Self> {
        // Protocol 0: nothing is ever received. That of a packet the kernel finds in its Ethernet header.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        set_socket_send_buffer_size_force(&socket, BUFFER)?;
        bind(&socket, device)?;
        Ok(Self {
            socket,
            headers: MultiHeaders::preallocate(BATCH, None),
        })
    }

    /// Sends `count` packets that have their headers, and tells which ones were refused; each is offered once, for the program at the
    /// device drops some by chance. Returns how many of them the device itself did not take: the others the program has counted.
    ///
    /// # Panics
    ///
    /// There are more than [`BATCH`].
    pub fn send<'p>(
        &mut self,
        count: usize,
        packet: impl Fn(usize) -> &'p [u8],
        mut refused: impl FnMut(usize),
    ) -> u64 {
        assert!(count <= BATCH, "{count} packets at once");
        let frames: [[IoSlice<'_>; 2]; BATCH] = array::from_fn(|at| {
            let packet = if at < count { packet(at) } else { &[] };
            [IoSlice::new(&ETHERNET), IoSlice::new(packet)]
        });
        let (mut done, mut stuck) = (0, 0);
        while done < count {
            let sent = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                &frames[done..count],
                [None; BATCH],
                [],
                MsgFlags::empty(),
            );
            let (taken, error) = match sent {
                Err(nix::Error::EINTR) => continue,
                // What ends a batch the kernel keeps to itself. If it was the device, that shows at the next packet.
                Ok(results) => (results.count(), nix::Error::ENOBUFS),
                Err(error) => (0, error),
            };
            done += taken;
            if done < count {
                refused(done);
                done += 1;
                // Which is how the kernel says that a program has dropped a packet.
                stuck += u64::from(error != nix::Error::ENOBUFS);
            }
        }
        stuck
    }
}

/// Binds a packet socket to a device.
fn bind(socket: &Socket, device: u32) -> io::Result<()> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the address types that sockaddr_storage can hold, and is made of integers only.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    #[expect(clippy::cast_possible_truncation, reason = "17")]
    let family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_family = family;
    address.sll_ifindex = device.cast_signed();
    #[expect(clippy::cast_possible_truncation, reason = "20")]
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a sockaddr_ll of the length given.
    let address = unsafe { SockAddr::new(storage, length) };
    socket.bind(&address)
}

/// How long a thread waits for a packet before it looks what else there is to do.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where ESP packets come in; threads take turns.
#[derive(Debug)]
pub struct EspReceiver(Socket);

/// What a thread needs to receive, and has received.
pub struct Received {
    headers: MultiHeaders<()>,
    lengths: [usize; BATCH],
}

impl Received {
    /// How long the packet in a buffer is, in bytes.
    #[must_use]
    pub fn length(&self, at: usize) -> usize {
        self.lengths[at]
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}

impl Default for Received {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            lengths: [0; BATCH],
        }
    }
}

impl EspReceiver {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The kernel refuses: `CAP_NET_RAW` is missing.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::IPV4,
            Type::RAW,
            Some(Protocol::from(i32::from(ESP))),
        )?;
        set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Waits for packets, but no longer than a time; returns whether there are any.
    ///
    /// # Errors
    ///
    /// A signal came in between.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut events = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut events, Some(&timeout))? > 0)
    }

    /// Waits for ESP packets to any address of the machine, put together from their fragments, headers included. Takes what is there,
    /// one packet into each of the `buffers` (no more than [`BATCH`]); returns how many there were.
    ///
    /// # Errors
    ///
    /// A signal came in between, or nothing for a while.
    pub fn receive<B: AsMut<[u8]>>(
        &self,
        received: &mut Received,
        buffers: &mut [B],
    ) -> io::Result<usize> {
        let count = buffers.len().min(BATCH);
        let mut buffers = buffers.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = array::from_fn(|_| {
            let buffer = buffers.next().map_or(&mut [][..], AsMut::as_mut);
            [IoSliceMut::new(buffer)]
        });
        let results = recvmmsg(
            self.0.as_raw_fd(),
            &mut received.headers,
            slices.iter_mut().take(count),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        let mut came = 0;
        for (length, message) in received.lengths.iter_mut().zip(results) {
            *length = message.bytes;
            came += 1;
        }
        Ok(came)
    }
}
