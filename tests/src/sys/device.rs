//! Device ioctls: offloads.

use std::{io, os::fd::AsRawFd};

use rustix::net::{AddressFamily, SocketType};

/// One on/off setting of `struct ethtool_value` (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Offload {
    /// `ETHTOOL_SRXCSUM`
    ReceiveChecksum = 0x15,
    /// `ETHTOOL_STXCSUM`
    TransmitChecksum = 0x17,
    /// `ETHTOOL_SSG`
    ScatterGather = 0x19,
    /// `ETHTOOL_STSO`
    TcpSegmentation = 0x1f,
    /// `ETHTOOL_SGSO`
    GenericSegmentation = 0x24,
    /// `ETHTOOL_SGRO`
    GenericReceive = 0x2c,
}

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns an offload of `device`, a device of the calling thread's network namespace, on or off.
pub(crate) fn set_offload(device: &str, offload: Offload, on: bool) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut value = EthtoolValue {
        command: offload as u32,
        data: u32::from(on),
    };
    let mut request = interface_request(device)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads an ifreq whose ifr_data points at an ethtool_value for these
    // commands; both live until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })
}

fn interface_request(device: &str) -> io::Result<libc::ifreq> {
    if device.is_empty() || device.len() >= libc::IFNAMSIZ || !device.is_ascii() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: ifreq is a C structure of integers and unions of them, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
