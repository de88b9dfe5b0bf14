//! Arrival on a link.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
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

/// What becomes of a frame.
pub(crate) enum Fate {
    /// It goes on to the stack.
    Pass,
    /// It was a keepalive, and ends here.
    Taken,
}

/// Handles a frame at XDP; an error is a drop.
#[inline(always)]
pub(crate) fn receive_xdp(ctx: &XdpContext) -> Result<Fate, DropReason> {
    // SAFETY: fresh pointers of this context.
    let Frame::Ipv4(header) = (unsafe { frame(ctx.data(), ctx.data_end()) }) else {
        return Ok(Fate::Pass);
    };
    // SAFETY: the helper only reads the context.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    receive(
        header,
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
    receive(header, ctx.len().saturating_sub(ETHERNET as u32), |bytes| {
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

#[inline(always)]
fn receive(
    header: &mut Ipv4Header,
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
    if keepalive::may_be(header) && take(ivc, load) {
        return Ok(Fate::Taken);
    }
    count(ivc, header);
    inbound::address(header, ivc);
    Ok(Fate::Pass)
}

/// Hands a keepalive to the controller; tells whether it was one. Where the ring is full it is lost, as
/// it might have been on its way.
#[inline(always)]
fn take(ivc: &IvcRx, load: impl Fn(&mut [u8; keepalive::LEN]) -> bool) -> bool {
    let mut found = Keepalive {
        counters: ivc.counters,
        bytes: [0; keepalive::LEN],
    };
    if !load(&mut found.bytes) || !keepalive::is(&found.bytes) {
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
