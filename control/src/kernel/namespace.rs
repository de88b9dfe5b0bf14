//! A network of one's own, to try things out in.
// Leaving a namespace has no safe function: what else is unshared could have memory of other threads.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new, empty network namespace, which is gone with the thread and what it opens there.
///
/// # Errors
///
/// `CAP_SYS_ADMIN` is missing, or there are too many namespaces.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: a network namespace is no part of the memory or the file descriptors that threads share.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
