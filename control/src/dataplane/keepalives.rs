//! The keepalives that the programs take out of what arrives.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{MapData, RingBuf};
use withy_common::keepalive::{Keepalive, LEN};

/// The ring in which the programs put keepalives. Its descriptor is readable while there are any.
pub struct Keepalives(pub(super) RingBuf<MapData>);

impl fmt::Debug for Keepalives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keepalives")
    }
}

impl AsFd for Keepalives {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Keepalives {
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
