//! Every `unsafe` block of the lab: system calls for which no crate at hand has a safe function.
//!
//! Each function here is safe to call; what it needs from the kernel stands at its block.
#![allow(unsafe_code)]

pub(crate) mod batch;
pub(crate) mod device;
pub(crate) mod packet;
pub(crate) mod process;
pub(crate) mod tcp;

/// A structure's length as the socket calls want it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "structures of at most a few hundred bytes"
)]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
