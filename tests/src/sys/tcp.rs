//! What the kernel knows of a TCP connection.

use std::{io, mem, net::TcpStream, os::fd::AsRawFd, time::Duration};

use super::length_of;

/// A few fields of `struct tcp_info` (include/uapi/linux/tcp.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time.
    pub round_trip: Duration,
    /// Segments sent again, over the connection's life.
    pub retransmits: u32,
    /// Congestion window, in segments.
    pub congestion_window: u32,
    /// Maximum segment size of what is sent, in bytes.
    pub segment_size: u32,
    /// Path MTU in use, in bytes.
    pub path_mtu: u32,
}

/// Reads `TCP_INFO`.
pub(crate) fn info(stream: &TcpStream) -> io::Result<TcpInfo> {
    // SAFETY: tcp_info is a C structure of integers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = length_of::<libc::tcp_info>();
    // SAFETY: the kernel writes at most `length` bytes of the structure and may write fewer.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        retransmits: info.tcpi_total_retrans,
        congestion_window: info.tcpi_snd_cwnd,
        segment_size: info.tcpi_snd_mss,
        path_mtu: info.tcpi_pmtu,
    })
}
