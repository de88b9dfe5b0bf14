//! Departure through the bundle device.

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_NET},
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_redirect_neigh, bpf_skb_change_tail},
    programs::TcContext,
};
use withy_common::{
    drops::DropReason,
    header::{ESP, Ipv4Header, LEN, UDP_LEN},
    maps::{Ivc, SLOT_MASK, Svc},
    outbound::{self, Shim},
    split::{MAX_PIECES, Piece, plan},
};

use crate::{
    atomics::{SharedClocks, next_sequence},
    clone::{Awaited, Awaiting},
    maps::{IVC_COUNTERS, PLAN, SVC_STATES, SVCS},
    packet::{ETHERNET, Frame, tc_frame},
};

/// Handles what leaves through the bundle device: a packet, or a clone that [`cut`] sent to itself.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext) -> Result<i32, DropReason> {
    let awaiting = Awaiting::here().ok_or(DropReason::TxHelper)?;
    if let Some(awaited) = awaiting.take() {
        return trim(ctx, awaited);
    }
    let header = *header(ctx)?;
    let svc = find(&header)?;
    let header = match outbound::examine(&header)? {
        Shim::None => header,
        Shim::Udp => unshim(ctx, header)?,
    };
    if header.source() != svc.local {
        return Err(DropReason::TxNoSvc);
    }
    let mut header = header;
    // SAFETY: the helper has no preconditions.
    outbound::slow_down(svc, &mut header, unsafe { bpf_get_prandom_u32() })?;
    cut(ctx, svc, header, awaiting)
}

#[inline(always)]
fn header(ctx: &TcContext) -> Result<&mut Ipv4Header, DropReason> {
    match tc_frame(ctx) {
        Frame::Ipv4(header) => Ok(header),
        Frame::Other | Frame::Short => Err(DropReason::TxNotEsp),
    }
}

#[inline(always)]
fn find(header: &Ipv4Header) -> Result<&'static Svc, DropReason> {
    match SVCS.get_ptr(header.destination()) {
        // SAFETY: the verifier-checked result of a lookup, valid while the program runs.
        Some(svc) => Ok(unsafe { &*svc }),
        None => Err(DropReason::TxNoSvc),
    }
}

/// Takes out the UDP header that the outbound SA put before ESP.
#[inline(always)]
fn unshim(ctx: &TcContext, mut header: Ipv4Header) -> Result<Ipv4Header, DropReason> {
    let ports = ctx
        .load::<[u16; 2]>(ETHERNET + LEN as usize)
        .map_err(|_| DropReason::TxMalformed)?;
    if !outbound::is_shim(ports) {
        return Err(DropReason::TxNotEsp);
    }
    if header.total_len() <= LEN + UDP_LEN {
        return Err(DropReason::TxMalformed);
    }
    ctx.adjust_room(-i32::from(UDP_LEN), BPF_ADJ_ROOM_NET, 0)
        .map_err(|_| DropReason::TxHelper)?;
    header.set_protocol(header.total_len() - UDP_LEN, ESP);
    Ok(header)
}

/// Sends a whole packet in the pieces that the plan says.
///
/// A piece that is not the last leaves as a clone, which enters the bundle device again and is
/// trimmed there; then its bytes are cut from the front of the original.
#[inline(always)]
fn cut(
    ctx: &TcContext,
    svc: &Svc,
    whole: Ipv4Header,
    awaiting: Awaiting,
) -> Result<i32, DropReason> {
    let state = SVC_STATES
        .get_ptr_mut(svc.index)
        .ok_or(DropReason::TxNoSvc)?;
    let scratch = PLAN.get_ptr(0).ok_or(DropReason::TxHelper)?;
    // SAFETY: the slot is this CPU's own; a clone that re-enters is only trimmed, and plans nothing.
    let scratch = unsafe { &*scratch };
    // SAFETY: `state` is a value of `SVC_STATES`.
    let clocks = unsafe { SharedClocks::new(state) };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    plan(svc, &clocks, now, whole.total_len() - LEN, scratch)?;
    let count = scratch.count();
    // SAFETY: `state` is a value of `SVC_STATES`.
    let identification = unsafe { next_sequence(state) } as u16;

    let mut offset = 0;
    for at in 0..MAX_PIECES {
        let piece = scratch.piece(at);
        let last = at + 1 >= count;
        let ivc = &svc.ivcs[(piece.slot() & SLOT_MASK) as usize];
        let mut made = whole;
        outbound::make_piece(&mut made, identification, offset, piece, last);
        outbound::address(&mut made, ivc);
        *header(ctx)? = made;
        count_piece(ivc, &made);
        if last {
            return Ok(redirect(ivc.ifindex));
        }
        send_clone(ctx, ivc, piece, awaiting)?;
        offset += piece.payload();
    }
    Err(DropReason::TxTooBig)
}

#[inline(always)]
fn count_piece(ivc: &Ivc, made: &Ipv4Header) {
    if let Some(counters) = IVC_COUNTERS.get_ptr_mut(ivc.counters) {
        // SAFETY: the slot is this CPU's own.
        unsafe {
            (*counters)
                .tx
                .add(made.total_len(), withy_common::inbound::is_first(made));
        }
    }
}

/// Sends a clone that has the header of `piece`, then removes the piece's bytes from the original.
#[inline(always)]
fn send_clone(
    ctx: &TcContext,
    ivc: &Ivc,
    piece: Piece,
    awaiting: Awaiting,
) -> Result<(), DropReason> {
    // SAFETY: the context is valid while the program runs.
    let device = unsafe { (*ctx.skb.skb).ifindex };
    awaiting.expect(Awaited {
        len: ETHERNET as u32 + u32::from(LEN + piece.payload()),
        ifindex: ivc.ifindex,
    });
    let sent = ctx.clone_redirect(device, 0);
    // If the clone went astray, the next packet must not be taken for it.
    awaiting.forget();
    sent.map_err(|_| DropReason::TxHelper)?;
    ctx.adjust_room(-i32::from(piece.payload()), BPF_ADJ_ROOM_NET, 0)
        .map_err(|_| DropReason::TxHelper)
}

/// Cuts a clone, whose header is a piece's already, to that piece's length and steers it.
#[inline(always)]
fn trim(ctx: &TcContext, awaited: Awaited) -> Result<i32, DropReason> {
    // SAFETY: the context is valid while the program runs.
    let result = unsafe { bpf_skb_change_tail(ctx.as_ptr().cast::<__sk_buff>(), awaited.len, 0) };
    if result != 0 {
        return Err(DropReason::TxHelper);
    }
    Ok(redirect(awaited.ifindex))
}

/// Sends out of a link, whatever the routing table says: NDR.
///
/// The next hop is left to the kernel's route lookup (by the link's address and interface, so that it finds
/// the link's own table), although naming it here would be quicker: with a next hop given, the kernel keeps the
/// packet's old route (`__bpf_redirect_neigh_v4`), and a packet that waits for the next hop's Ethernet address then
/// takes the bundle device's instead (`neigh_update_process_arp_queue`): the first packet to a next hop would be lost.
#[inline(always)]
fn redirect(ifindex: u32) -> i32 {
    // SAFETY: no parameters are passed.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
}
