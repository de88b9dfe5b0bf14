//! The clone that `bundle_tx` sends to its own device, to meet it there and trim it.
//!
//! `bpf_clone_redirect` runs the device's programs before it returns, on the same CPU and with
//! nothing in between. So what a clone needs lies in memory of the CPU, and the packet itself
//! carries nothing, such as a mark, that another packet could carry as well.

use crate::maps::CLONE;

/// What is yet to be done to a clone.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Awaited {
    /// Its length in bytes when it is trimmed, Ethernet header included; never 0.
    pub(crate) len: u32,
    /// The interface that it leaves through.
    pub(crate) ifindex: u32,
}

/// The memory in which a CPU's clone is awaited; the length is 0 while none is.
///
/// A pointer, not a reference: while a clone is sent, another run of the program uses the memory.
#[derive(Clone, Copy)]
pub(crate) struct Awaiting(*mut Awaited);

impl Awaiting {
    /// Finds this CPU's; `None` only for the verifier.
    #[inline(always)]
    pub(crate) fn here() -> Option<Self> {
        CLONE.get_ptr_mut(0).map(Self)
    }

    /// Notes down that the next packet is a clone.
    #[inline(always)]
    pub(crate) fn expect(self, awaited: Awaited) {
        // SAFETY: a value of the map `CLONE`, this CPU's own.
        unsafe { *self.0 = awaited }
    }

    /// Returns what is to be done if this packet is the clone; the next one is none.
    #[inline(always)]
    pub(crate) fn take(self) -> Option<Awaited> {
        // SAFETY: as above.
        let awaited = unsafe { *self.0 };
        if awaited.len == 0 {
            return None;
        }
        self.forget();
        Some(awaited)
    }

    /// Awaits no clone any more.
    #[inline(always)]
    pub(crate) fn forget(self) {
        // SAFETY: as above.
        unsafe { (*self.0).len = 0 }
    }
}
