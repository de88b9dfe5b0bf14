//! Several messages with one system call: `sendmmsg` and `recvmmsg`.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
    ptr,
    time::Duration,
};

use super::length_of;

/// Messages of one call, at most.
pub(crate) const BATCH: usize = 64;

/// A control message with a `timespec`: `struct cmsghdr`, and what it holds.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Control {
    length: usize,
    level: libc::c_int,
    kind: libc::c_int,
    seconds: u64,
    nanoseconds: u64,
}

/// A message as it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamped {
    /// Its length in bytes, cut off where the buffer ends.
    pub(crate) length: usize,
    /// When the kernel received it, in the time of day; none before [`stamp`].
    pub(crate) at: Option<Duration>,
}

/// Sends messages, each as one, without waiting for room. Returns how many the kernel took; an
/// error is that of the first.
pub(crate) fn send<'a>(
    socket: impl AsFd,
    messages: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    // SAFETY: mmsghdr is a C structure of integers and pointers, for which zero is valid.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((vector, header), message) in vectors.iter_mut().zip(&mut headers).zip(messages) {
        // The kernel only reads what it sends.
        vector.iov_base = message.as_ptr().cast_mut().cast();
        vector.iov_len = message.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers have one vector each, and each vector a message; all live
    // until the call returns.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// Receives messages that have come, one into each buffer, without waiting for any. Returns how
/// many there were, which `received` tells of.
pub(crate) fn receive(
    socket: impl AsFd,
    buffers: &mut [Box<[u8]>],
    received: &mut [Stamped; BATCH],
) -> io::Result<usize> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut controls = [Control::default(); BATCH];
    // SAFETY: mmsghdr is a C structure of integers and pointers, for which zero is valid.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    let parts = vectors.iter_mut().zip(&mut controls).zip(&mut headers);
    for (((vector, control), header), buffer) in parts.zip(buffers) {
        vector.iov_base = buffer.as_mut_ptr().cast();
        vector.iov_len = buffer.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = ptr::from_mut(control).cast();
        header.msg_hdr.msg_controllen = size_of::<Control>();
        count += 1;
    }
    // SAFETY: the first `count` headers have one vector each, and each vector a buffer of its own
    // of the length that it says, and a control buffer likewise; all live until the call returns.
    let came = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let came = usize::try_from(came).map_err(|_negative| io::Error::last_os_error())?;
    for ((message, header), control) in received.iter_mut().zip(&headers).zip(&controls).take(came)
    {
        *message = Stamped {
            length: header.msg_len as usize,
            at: control.time(),
        };
    }
    Ok(came)
}

impl Control {
    /// The time, if it is one of [`stamp`]'s.
    fn time(&self) -> Option<Duration> {
        let stamped = self.length == size_of::<Self>()
            && (self.level, self.kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
        let nanoseconds = u32::try_from(self.nanoseconds).ok()?;
        stamped.then(|| Duration::new(self.seconds, nanoseconds))
    }
}

/// Has the kernel note when it receives a message (`SO_TIMESTAMPNS`).
pub(crate) fn stamp(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an integer, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            length_of::<libc::c_int>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn messages_arrive_whole_in_order_and_with_their_times() {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        stamp(&to).unwrap();
        let now = || {
            let now = std::time::SystemTime::now();
            now.duration_since(std::time::UNIX_EPOCH).unwrap()
        };
        let before = now();
        let messages: Vec<Vec<u8>> = (1..=100_u8).map(|n| vec![n; n.into()]).collect();
        let sent = send(&from, messages.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(sent, BATCH);
        let mut buffers: Vec<Box<[u8]>> = (0..BATCH).map(|_| vec![0; 50].into()).collect();
        let mut received = [Stamped::default(); BATCH];
        assert_eq!(receive(&to, &mut buffers, &mut received).unwrap(), BATCH);
        let mut last = before;
        for ((message, buffer), stamped) in messages.iter().zip(&buffers).zip(&received) {
            let expected = &message[..message.len().min(50)];
            assert_eq!(&buffer[..stamped.length], expected);
            let at = stamped.at.unwrap();
            assert!(at >= last && at <= now(), "{at:?}");
            last = at;
        }
        let nothing = receive(&to, &mut buffers, &mut received).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_what_the_kernel_has_stamped_has_a_time() {
        let stamped = Control {
            length: 32,
            level: libc::SOL_SOCKET,
            kind: libc::SCM_TIMESTAMPNS,
            seconds: 5,
            nanoseconds: 7,
        };
        assert_eq!(stamped.time(), Some(Duration::new(5, 7)));
        assert_eq!(Control::default().time(), None);
        let other = Control { kind: 1, ..stamped };
        assert_eq!(other.time(), None);
    }
}
