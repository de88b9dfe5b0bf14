//! Arrival on a link.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use withy_common::{
    drops::DropReason,
    header::{Ipv4Header, LEN},
    inbound,
    keepalive::{self, Keepalive},
    maps::IvcRx,
};

use crate::{
    maps::{IVC_COUNTERS, IVCS, KEEPALIVES},
    packet::{ETHERNET, Frame, frame, tc_frame},
};

/// Where a frame's payload behind a plain IP header begins.
const PAYLOAD: usize = ETHERNET + LEN as usize;

/// The length of an SPI.
const SPI: usize = size_of::<u32>();

/// What becomes of a frame.
pub(crate) enum Fate {
    /// It goes on to the stack.
    Pass,
    /// It was a keepalive, or filler, and ends here.
    Taken,
}

/// Handles a frame at XDP; an error is a drop.
#[inline(always)]
pub(crate) fn receive_xdp(ctx: &XdpContext) -> Result<Fate, DropReason> {
    // SAFETY: fresh pointers of this context.
    let Frame::Ipv4(header) = (unsafe { frame(ctx.data(), ctx.data_end()) }) else {
        return Ok(Fate::Pass);
    };
    // SAFETY: as above.
    let spi = unsafe { spi(ctx.data(), ctx.data_end()) };
    // SAFETY: the helper only reads the context.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    receive(
        header,
        spi,
        (len as u32).saturating_sub(ETHERNET as u32),
        |bytes| {
            // SAFETY: the destination has the length that is given.
            let result = unsafe {
                bpf_xdp_load_bytes(
                    ctx.ctx,
                    PAYLOAD as u32,
                    bytes.as_mut_ptr().cast(),
                    keepalive::LEN as u32,
                )
            };
            result == 0
        },
    )
}

/// Handles a frame at TC ingress; an error is a drop.
#[inline(always)]
pub(crate) fn receive_tc(ctx: &TcContext) -> Result<Fate, DropReason> {
    let Frame::Ipv4(header) = tc_frame(ctx) else {
        return Ok(Fate::Pass);
    };
    // SAFETY: pointers of this context; `tc_frame` has fetched its own anew, too.
    let spi = unsafe { spi(ctx.data(), ctx.data_end()) };
    let available = ctx.len().saturating_sub(ETHERNET as u32);
    receive(header, spi, available, |bytes| {
        // SAFETY: the destination has the length that is given.
        let result = unsafe {
            aya_ebpf::helpers::generated::bpf_skb_load_bytes(
                ctx.as_ptr(),
                PAYLOAD as u32,
                bytes.as_mut_ptr().cast(),
                keepalive::LEN as u32,
            )
        };
        result == 0
    })
}

/// Reads the SPI (host order) of a frame that lies between `start` and `end`, if it is there. Where the kernel has it in
/// another fragment of the buffer it is told to be a keepalive's, so that whoever can look there does.
///
/// # Safety
///
/// `start` and `end` are the packet pointers of a program's context, and nothing has invalidated them.
#[inline(always)]
unsafe fn spi(start: usize, end: usize) -> u32 {
    if start + PAYLOAD + SPI > end {
        return keepalive::SPI;
    }
    // SAFETY: the comparison above shows the verifier, and us, that the bytes are there.
    u32::from_be(unsafe { ((start + PAYLOAD) as *const u32).read_unaligned() })
}

#[inline(always)]
fn receive(
    header: &mut Ipv4Header,
    spi: u32,
    available: u32,
    load: impl Fn(&mut [u8; keepalive::LEN]) -> bool,
) -> Result<Fate, DropReason> {
    let Some(key) = inbound::key(header) else {
        return Ok(Fate::Pass);
    };
    let Some(ivc) = IVCS.get_ptr(key) else {
        return Err(DropReason::RxNoIvc);
    };
    // SAFETY: the pointer is the verifier-checked result of a lookup; values change only as a whole.
    let ivc = unsafe { &*ivc };
    inbound::examine(header, available)?;
    if keepalive::is(header, spi) && take(header, ivc, load) {
        return Ok(Fate::Taken);
    }
    count(ivc, header);
    if keepalive::is_filler(header, spi) {
        return Ok(Fate::Taken);
    }
    inbound::address(header, ivc);
    Ok(Fate::Pass)
}

/// Hands a keepalive to the controller; tells whether it was one. Where the ring is full it is lost, as
/// it might have been on its way.
#[inline(always)]
fn take(
    header: &Ipv4Header,
    ivc: &IvcRx,
    load: impl Fn(&mut [u8; keepalive::LEN]) -> bool,
) -> bool {
    let mut found = Keepalive {
        // SAFETY: the helper has no arguments.
        time: unsafe { bpf_ktime_get_ns() },
        counters: ivc.counters,
        total: u32::from(header.total_len()),
        bytes: [0; keepalive::LEN],
    };
    let [a, b, c, d] = keepalive::SPI.to_be_bytes();
    if !load(&mut found.bytes) || found.bytes[..SPI] != [a, b, c, d] {
        return false;
    }
    let _ = KEEPALIVES.output(found, 0);
    true
}

#[inline(always)]
fn count(ivc: &IvcRx, header: &Ipv4Header) {
    if let Some(counters) = IVC_COUNTERS.get_ptr_mut(ivc.counters) {
        // SAFETY: the slot is this CPU's own.
        unsafe {
            (*counters)
                .rx
                .add(header.total_len(), inbound::is_first(header))
        };
    }
}
