//! Access to the bytes of a packet.

use aya_ebpf::programs::TcContext;
use withy_common::header::Ipv4Header;

/// The length in bytes of an Ethernet header without tags.
pub(crate) const ETHERNET: usize = 14;
/// The EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// The bytes that the programs need to see at once.
const HEADERS: usize = ETHERNET + size_of::<Ipv4Header>();

/// What a frame is.
pub(crate) enum Frame<'a> {
    /// IPv4: the header, in place.
    Ipv4(&'a mut Ipv4Header),
    /// Another protocol.
    Other,
    /// Too short to tell.
    Short,
}

/// Looks at a frame that lies between `start` and `end`.
///
/// # Safety
///
/// `start` and `end` are the packet pointers of a program's context, and nothing has invalidated
/// them; the returned reference is used only until something does.
#[inline(always)]
pub(crate) unsafe fn frame<'a>(start: usize, end: usize) -> Frame<'a> {
    if start + HEADERS > end {
        return Frame::Short;
    }
    // SAFETY: the comparison above shows the verifier, and us, that the bytes are there; two-byte
    // alignment is what the kernel gives an Ethernet frame.
    unsafe {
        if *((start + 12) as *const u16) != IPV4.to_be() {
            return Frame::Other;
        }
        Frame::Ipv4(&mut *((start + ETHERNET) as *mut Ipv4Header))
    }
}

/// Looks at the frame of a TC program, after making its headers contiguous if they are not.
#[inline(always)]
pub(crate) fn tc_frame(ctx: &TcContext) -> Frame<'_> {
    // SAFETY: fresh pointers of this context.
    match unsafe { frame(ctx.data(), ctx.data_end()) } {
        Frame::Short => {}
        found => return found,
    }
    if (ctx.len() as usize) < HEADERS || ctx.pull_data(HEADERS as u32).is_err() {
        return Frame::Short;
    }
    // SAFETY: fetched anew after the pull.
    unsafe { frame(ctx.data(), ctx.data_end()) }
}
