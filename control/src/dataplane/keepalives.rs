//! The keepalives that the programs take out of what arrives.

use std::{
    fmt, io,
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use withy_common::keepalive::{Keepalive, LEN};

/// The ring in which the programs put keepalives. Its descriptor is readable while there are any.
pub struct Keepalives(pub(super) RingBuf<MapData>);

impl fmt::Debug for Keepalives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keepalives")
    }
}

impl AsRawFd for Keepalives {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Keepalives {
    /// Lets the runtime wait for keepalives.
    ///
    /// # Errors
    ///
    /// The machine has no descriptors left.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the ring owns its file descriptor: it closes it when it is dropped and at no other time, and neither lends
        // it out nor changes it. `AsyncFd` drops it after its registration.
        let registered = unsafe { AsyncFd::register(self) };
        registered.map_err(Into::into)
    }

    /// Takes the keepalives that have come since the last call.
    pub fn take(&mut self) -> Vec<Keepalive> {
        let mut came = Vec::new();
        while let Some(item) = self.0.next() {
            came.extend(read(&item));
        }
        came
    }
}

/// Reads what the programs wrote as a [`Keepalive`].
fn read(bytes: &[u8]) -> Option<Keepalive> {
    let (time, rest) = bytes.split_first_chunk()?;
    let (counters, rest) = rest.split_first_chunk()?;
    let (total, rest) = rest.split_first_chunk()?;
    Some(Keepalive {
        time: u64::from_ne_bytes(*time),
        counters: u32::from_ne_bytes(*counters),
        total: u32::from_ne_bytes(*total),
        bytes: *rest.first_chunk::<LEN>()?,
    })
}
