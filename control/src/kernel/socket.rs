//! Netlink sockets in the hands of the runtime.

use std::io;

use netlink_sys::Socket;
use tokio::io::unix::AsyncFd;

/// Opens a non-blocking netlink socket in the network namespace of the calling thread.
pub(super) fn open(protocol: isize) -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(protocol)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    // SAFETY: `Socket` owns its file descriptor: it closes it when it is dropped and at no other
    // time, and neither lends it out nor changes it. `AsyncFd` drops it after its registration.
    let registered = unsafe { AsyncFd::register(socket) };
    registered.map_err(Into::into)
}
