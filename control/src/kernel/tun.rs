//! A device whose packets a program makes and takes, with segmentation offload and several queues.
// The requests of this device have no safe function in any crate at hand.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_short, c_uint},
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode},
};

use crate::{offload::HEADER, reconcile::objects::InterfaceName};

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<c_int>(b'T', 203);
const TUNSETOFFLOAD: Opcode = opcode::write::<c_uint>(b'T', 208);
const TUNSETQUEUE: Opcode = opcode::write::<c_int>(b'T', 217);

const IFF_TUN: c_short = 0x0001;
/// Several queues, each for a part of the flows.
const IFF_MULTI_QUEUE: c_short = 0x0100;
const IFF_DETACH_QUEUE: c_short = 0x0400;
/// No header of the device's own before each packet.
const IFF_NO_PI: c_short = 0x1000;
/// But one that tells of offloads: [`crate::offload::Header`].
const IFF_VNET_HDR: c_short = 0x4000;
/// The length of `struct ifreq`'s name.
const IFNAMSIZ: usize = 16;

/// `TUN_F_CSUM`, `TUN_F_TSO4`: checksums and TCP segments over IPv4 are left to the program.
const TCP_OFFLOADS: usize = 0x01 | 0x02;
/// `TUN_F_USO4`, `TUN_F_USO6`: datagrams, too. Linux 6.2 and later, and only both.
const UDP_OFFLOADS: usize = 0x20 | 0x40;

/// `struct ifreq` with its flags.
#[repr(C)]
struct Request {
    name: [u8; IFNAMSIZ],
    flags: c_short,
    rest: [u8; 22],
}

impl Request {
    fn new(name: &InterfaceName, flags: c_short) -> Self {
        let mut request = Self {
            name: [0; IFNAMSIZ],
            flags,
            rest: [0; 22],
        };
        // An interface's name is shorter than this, so that a zero ends it.
        for (to, from) in request.name.iter_mut().zip(name.as_str().bytes()) {
            *to = from;
        }
        request
    }
}

/// A TUN device of IP packets.
#[derive(Debug)]
pub struct Tun {
    /// Where packets are read.
    pub queues: Vec<Queue>,
    /// Where packets are written.
    pub writer: Writer,
}

impl Tun {
    /// Makes the device in the network namespace of the calling thread, or takes hold of it if it is there and nobody has it. It is
    /// gone when this value is, unless it is made to stay. The kernel spreads flows over the `queues`, and packets of one flow stay in
    /// one queue.
    ///
    /// # Errors
    ///
    /// There is no `/dev/net/tun`, another program has the device, or an interface of another kind has the name.
    pub fn open(name: &InterfaceName, queues: usize) -> io::Result<Self> {
        let queues: io::Result<Vec<_>> = (0..queues.max(1)).map(|_| attach(name)).collect();
        let queues = queues?;
        offload(&queues[0])?;
        let writer = attach(name)?;
        // The kernel sends a flow to the queue through which its packets last came in. Through one that is detached they come in all the
        // same, and flows stay where they are.
        request::<TUNSETQUEUE>(&writer, &mut Request::new(name, IFF_TUN | IFF_DETACH_QUEUE))?;
        for queue in &queues {
            rustix::io::ioctl_fionbio(queue, true)?;
        }
        Ok(Self {
            queues: queues.into_iter().map(Queue).collect(),
            writer: Writer(writer),
        })
    }

    /// Lets the device stay when the program ends. Until then it has no carrier, and drops what is sent into it.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub fn stay(&self) -> io::Result<()> {
        integer::<TUNSETPERSIST>(&self.writer.0, 1)
    }
}

/// Packets that the kernel sends into the device.
#[derive(Debug)]
pub struct Queue(File);

impl Queue {
    /// Reads a packet, and what stands before it; returns its length.
    ///
    /// # Errors
    ///
    /// There is none ([`io::ErrorKind::WouldBlock`]), or the device is gone.
    pub fn read(&self, header: &mut [u8; HEADER], packet: &mut [u8]) -> io::Result<usize> {
        let mut parts = [IoSliceMut::new(header), IoSliceMut::new(packet)];
        let length = (&self.0).read_vectored(&mut parts)?;
        Ok(length.saturating_sub(HEADER))
    }

    /// Waits until there is a packet, or the device is gone.
    ///
    /// # Errors
    ///
    /// A signal came in between.
    pub fn wait(&self) -> io::Result<()> {
        let mut events = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut events, None)?;
        Ok(())
    }
}

/// The way of packets into the kernel, as such that came in through the device; for several threads at once.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Hands the kernel a packet in parts, of which the first is a [`crate::offload::Header`].
    ///
    /// # Errors
    ///
    /// The device is gone or down, or it is no IP packet.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.0).write_vectored(parts).map(drop)
    }
}

/// Opens one more queue of a device, which is made if it is not there.
fn attach(name: &InterfaceName) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    request::<TUNSETIFF>(&file, &mut Request::new(name, flags))?;
    Ok(file)
}

/// Has the kernel hand over super-packets; without those of UDP where it does not know of them.
fn offload(queue: &File) -> io::Result<()> {
    integer::<TUNSETOFFLOAD>(queue, TCP_OFFLOADS | UDP_OFFLOADS)
        .or_else(|_| integer::<TUNSETOFFLOAD>(queue, TCP_OFFLOADS))
}

fn request<const OPCODE: Opcode>(file: &File, request: &mut Request) -> io::Result<()> {
    // SAFETY: TUNSETIFF and TUNSETQUEUE read one `struct ifreq`, and the first writes it: `Request` has its layout and size.
    unsafe {
        ioctl(file, Updater::<OPCODE, Request>::new(request))?;
    }
    Ok(())
}

fn integer<const OPCODE: Opcode>(file: &File, value: usize) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST and TUNSETOFFLOAD take a number, and no memory.
    unsafe {
        ioctl(file, IntegerSetter::<OPCODE>::new_usize(value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernel() {
        assert_eq!(size_of::<Request>(), 40);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            [TUNSETIFF, TUNSETPERSIST, TUNSETOFFLOAD, TUNSETQUEUE],
            [0x4004_54ca, 0x4004_54cb, 0x4004_54d0, 0x4004_54d9]
        );
    }
}
