//! What wakes the thread of keepalives when others have something for it.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{Errno, read, write},
};

use crate::dataplane::Keepalives;

/// A descriptor that is readable from when it is rung until somebody has listened.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// One that has not been rung.
    ///
    /// # Errors
    ///
    /// The machine has no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Rings it.
    pub(super) fn ring(&self) {
        // It is refused only where it has been rung more often than can be counted, and nobody has listened.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until it is rung, keepalives have come, or so much time has passed.
    ///
    /// # Errors
    ///
    /// The kernel has no memory.
    pub(super) fn listen(&self, keepalives: &Keepalives, most: Option<Duration>) -> io::Result<()> {
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        let mut waits = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::new(keepalives, PollFlags::IN),
        ];
        match poll(&mut waits, most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !waits[0].revents().is_empty() {
            // Nobody else listens, so there is something to read.
            let _ = read(&self.0, &mut [0; 8]);
        }
        Ok(())
    }
}
