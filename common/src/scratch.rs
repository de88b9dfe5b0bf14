//! Words whose value always goes through memory.
//!
//! The eBPF verifier follows every value that stays in a register, and with it every way through a
//! loop; what it reads back from a map's memory it takes for unknown, and the ways merge again.

use core::{cell::UnsafeCell, fmt};

/// A word of scratch memory, used by one CPU.
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

impl Word {
    /// A word with a value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Reads it.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> u64 {
        // SAFETY: the cell is valid and aligned, and not `Sync`: no other thread writes it.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        // SAFETY: as above; no reference into the cell is ever handed out.
        unsafe { self.0.get().write_volatile(value) }
    }
}

/// Reads a field of a map's value anew, although it has not changed.
///
/// Else the compiler keeps it in a register, and the verifier each outcome of each comparison with it.
#[inline(always)]
#[must_use]
pub fn fresh(field: &u32) -> u32 {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}
