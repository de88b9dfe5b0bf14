//! The clone that `bundle_tx` sends to its own device, to meet it there.
//!
//! `bpf_clone_redirect` runs the device's programs before it returns, on the same CPU and with
//! nothing in between. So what a clone needs lies in memory of the CPU, and the packet itself
//! carries nothing, such as a mark, that another packet could carry as well.

use crate::maps::CLONE;

/// What is yet to be done to a clone.
#[derive(Clone, Copy)]
pub(crate) enum Awaited {
    /// It becomes a piece.
    Piece {
        /// Its length in bytes when it is trimmed, Ethernet header included; never 0.
        len: u32,
        /// Where it leaves.
        exit: Exit,
        /// When it leaves (`bpf_ktime_get_ns`); 0 for at once.
        departure: u64,
    },
    /// It is a copy of a packet, which goes by the IVC in a slot.
    Copy(u32),
}

/// Where a piece leaves.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Exit {
    /// The index of the link's interface.
    pub(crate) ifindex: u32,
    /// The next hop's address, in wire order.
    pub(crate) next_hop: u32,
}

/// A clone in memory.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Noted {
    /// The length of a piece, or [`COPY`]; 0 while none is awaited.
    len: u32,
    /// The slot of a copy.
    slot: u32,
    /// Where a piece leaves.
    exit: Exit,
    departure: u64,
}

/// The length of no piece.
const COPY: u32 = u32::MAX;

/// The memory in which a CPU's clone is awaited.
///
/// A pointer, not a reference: while a clone is sent, another run of the program uses the memory.
#[derive(Clone, Copy)]
pub(crate) struct Awaiting(*mut Noted);

impl Awaiting {
    /// Finds this CPU's; `None` only for the verifier.
    #[inline(always)]
    pub(crate) fn here() -> Option<Self> {
        CLONE.get_ptr_mut(0).map(Self)
    }

    /// Notes down that the next packet is a clone.
    #[inline(always)]
    pub(crate) fn expect(self, awaited: Awaited) {
        let noted = match awaited {
            Awaited::Piece {
                len,
                exit,
                departure,
            } => Noted {
                len,
                slot: 0,
                exit,
                departure,
            },
            Awaited::Copy(slot) => Noted {
                len: COPY,
                slot,
                exit: Exit {
                    ifindex: 0,
                    next_hop: 0,
                },
                departure: 0,
            },
        };
        // SAFETY: a value of the map `CLONE`, this CPU's own.
        unsafe { *self.0 = noted }
    }

    /// Returns what is to be done if this packet is the clone; the next one is none.
    #[inline(always)]
    pub(crate) fn take(self) -> Option<Awaited> {
        // SAFETY: as above.
        let Noted {
            len,
            slot,
            exit,
            departure,
        } = unsafe { *self.0 };
        if len == 0 {
            return None;
        }
        self.forget();
        Some(match len {
            COPY => Awaited::Copy(slot),
            _ => Awaited::Piece {
                len,
                exit,
                departure,
            },
        })
    }

    /// Awaits no clone any more.
    #[inline(always)]
    pub(crate) fn forget(self) {
        // SAFETY: as above.
        unsafe { (*self.0).len = 0 }
    }
}
