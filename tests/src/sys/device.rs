//! Device ioctls: offloads and TUN devices.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

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

/// `IFF_TUN | IFF_NO_PI`: bare IP packets.
#[expect(clippy::cast_possible_truncation, reason = "0x1001")]
const TUN_WITHOUT_HEADER: libc::c_short = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns an offload of `device`, a device of the calling thread's network namespace, off.
pub(crate) fn disable_offload(device: &str, offload: Offload) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut value = EthtoolValue {
        command: offload as u32,
        data: 0,
    };
    let mut request = interface_request(device)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads an ifreq whose ifr_data points at an ethtool_value for these
    // commands; both live until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })
}

/// Creates the TUN device `device`, which carries bare IP packets, in the calling thread's network
/// namespace. It exists until the file is closed. Reads do not block.
pub(crate) fn open_tun(device: &str) -> io::Result<OwnedFd> {
    let file: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = interface_request(device)?;
    request.ifr_ifru.ifru_flags = TUN_WITHOUT_HEADER;
    // SAFETY: TUNSETIFF reads and writes the ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    rustix::io::ioctl_fionbio(&file, true)?;
    Ok(file.into())
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
