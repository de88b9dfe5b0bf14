//! A device whose packets a program makes and takes.
// The two requests of this device have no safe function in any crate at hand.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_short},
    fs::File,
    io::{self, Read as _, Write as _},
};

use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};

use crate::reconcile::objects::InterfaceName;

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<c_int>(b'T', 203);
const IFF_TUN: c_short = 0x0001;
/// No header of the device's own before each packet.
const IFF_NO_PI: c_short = 0x1000;
/// The length of `struct ifreq`'s name.
const IFNAMSIZ: usize = 16;

/// `struct ifreq` with its flags.
#[repr(C)]
struct Request {
    name: [u8; IFNAMSIZ],
    flags: c_short,
    rest: [u8; 22],
}

/// A TUN device of IP packets.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes the device in the network namespace of the calling thread, or takes hold of it if it is there and nobody has it. It is
    /// gone when this value is, unless it is made to stay.
    ///
    /// # Errors
    ///
    /// There is no `/dev/net/tun`, another program has the device, or an interface of another kind has the name.
    pub fn open(name: &InterfaceName) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        let mut request = Request {
            name: [0; IFNAMSIZ],
            flags: IFF_TUN | IFF_NO_PI,
            rest: [0; 22],
        };
        // An interface's name is shorter than this, so that a zero ends it.
        for (to, from) in request.name.iter_mut().zip(name.as_str().bytes()) {
            *to = from;
        }
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, whose layout and size `Request` has.
        unsafe {
            let request = Updater::<TUNSETIFF, Request>::new(&mut request);
            ioctl(&file, request)?;
        }
        Ok(Self(file))
    }

    /// Lets the device stay when the program ends. Until then it has no carrier, and drops what is sent into it.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub fn stay(&self) -> io::Result<()> {
        // SAFETY: TUNSETPERSIST takes a number, and no memory.
        unsafe {
            let request = IntegerSetter::<TUNSETPERSIST>::new_usize(1);
            ioctl(&self.0, request)?;
        }
        Ok(())
    }

    /// Waits for a packet that the kernel sends into the device; returns its length.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Hands the kernel a packet as one that came in through the device.
    ///
    /// # Errors
    ///
    /// The device is gone or down, or it is no IP packet.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernel() {
        assert_eq!(size_of::<Request>(), 40);
        #[cfg(target_arch = "x86_64")]
        assert_eq!((TUNSETIFF, TUNSETPERSIST), (0x4004_54ca, 0x4004_54cb));
    }
}
