//! Departure through the bundle device.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        __sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_NET, bpf_redir_neigh,
        bpf_redir_neigh__bindgen_ty_1,
    },
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_redirect_neigh, bpf_skb_change_tail,
        bpf_skb_set_tstamp,
    },
    programs::TcContext,
};
use withy_common::{
    choose,
    drops::DropReason,
    header::{ESP, Ipv4Header, LEN, UDP_LEN},
    label::{Label, Policy},
    maps::{Ivc, SLOT_MASK, Svc, SvcState},
    outbound::{self, Shim},
    schedule::departure,
    split::{MAX_PIECES, Piece, Plan, plan},
    terms::Terms,
};

use crate::{
    atomics::{self, SharedClocks, count_flow, next_sequence, next_split},
    classify,
    clone::{Awaited, Awaiting, Exit},
    maps::{FLOWS, IVC_COUNTERS, PLAN, SVC_STATES, SVCS},
    packet::{ETHERNET, Frame, tc_frame},
};

/// `BPF_SKB_TSTAMP_DELIVERY_MONO`: a time of the monotonic clock at which a packet is to leave. The bindings' name for it has a number that
/// changes.
const DELIVERY_MONO: u32 = 1;

/// Handles what leaves through the bundle device: a packet, or a clone that [`cut`] sent to itself.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext) -> Result<i32, DropReason> {
    let awaiting = Awaiting::here().ok_or(DropReason::TxHelper)?;
    let copy = match awaiting.take() {
        Some(Awaited::Piece {
            len,
            exit,
            departure,
        }) => return trim(ctx, len, exit, departure),
        Some(Awaited::Copy(slot)) => Some(slot),
        None => None,
    };
    let header = *header(ctx)?;
    let svc = find(&header)?;
    let shim = outbound::examine(&header)?;
    let header = match shim {
        Shim::None => header,
        Shim::Udp => unshim(ctx, header)?,
    };
    if header.source() != svc.local {
        return Err(DropReason::TxNoSvc);
    }
    let run = Run::new(svc, awaiting)?;
    let mut header = header;
    run.terms().any(svc);
    match copy {
        Some(slot) => run.terms().only(svc, slot),
        None => steer(ctx, &run, shim, &mut header)?,
    }
    if !svc.is_steered(run.now) {
        run.terms().at_any_time();
    }
    cut(ctx, &run, header)
}

/// What a run of the program works with.
struct Run {
    svc: &'static Svc,
    state: *mut SvcState,
    scratch: &'static Plan,
    awaiting: Awaiting,
    now: u64,
}

impl Run {
    #[inline(always)]
    fn new(svc: &'static Svc, awaiting: Awaiting) -> Result<Self, DropReason> {
        let state = SVC_STATES
            .get_ptr_mut(svc.index)
            .ok_or(DropReason::TxNoSvc)?;
        let scratch = PLAN.get_ptr(0).ok_or(DropReason::TxHelper)?;
        Ok(Self {
            svc,
            state,
            // SAFETY: the slot is this CPU's own. A clone that re-enters and plans is sent before this run does.
            scratch: unsafe { &*scratch },
            awaiting,
            // SAFETY: the helper has no preconditions.
            now: unsafe { bpf_ktime_get_ns() },
        })
    }

    #[inline(always)]
    fn terms(&self) -> &Terms {
        self.scratch.terms()
    }

    #[inline(always)]
    fn clocks(&self) -> SharedClocks {
        // SAFETY: `state` is a value of `SVC_STATES`.
        unsafe { SharedClocks::new(self.state) }
    }

    /// When a piece of `len` bytes is to leave; 0 for at once. Where nobody vouches for rates, none is held back for them.
    #[inline(always)]
    fn departure(&self, slot: u32, ivc: &Ivc, len: u16) -> u64 {
        if !self.svc.is_steered(self.now) {
            return 0;
        }
        let slot = (slot & SLOT_MASK) as usize;
        departure(&self.clocks(), slot, ivc, self.now, len).unwrap_or(0)
    }

    /// Tells whether there are packets that must not wait; notes it down if this is one.
    #[inline(always)]
    fn is_urgent(&self, policy: Policy) -> bool {
        // SAFETY: `state` is a value of `SVC_STATES`; whichever of several CPUs is the last to note the time, any of their times will do.
        unsafe {
            let urgent = &raw mut (*self.state).urgent;
            if matches!(policy, Policy::LowestLatency) {
                urgent.write_volatile(self.now);
            }
            SvcState::is_urgent(urgent.read_volatile(), self.now)
        }
    }
}

/// Finds out by which IVCs a packet goes, and sends a copy where it goes by two.
#[inline(always)]
fn steer(
    ctx: &TcContext,
    run: &Run,
    shim: Shim,
    header: &mut Ipv4Header,
) -> Result<(), DropReason> {
    let svc = run.svc;
    let mut label = Label::default();
    let mut policy = Policy::Aggregate;
    let (mut urgent, mut hasty) = (false, false);
    if svc.looks_at_labels() {
        hasty = classify::is_hasty(shim, header);
        label = classify::label(ctx, svc, shim, header);
        policy = svc.policies.policy(label);
        urgent = run.is_urgent(policy);
    }
    if hasty && matches!(policy, Policy::Aggregate) {
        run.terms().all();
        run.terms().at_any_time();
        return Ok(());
    }
    if matches!(policy, Policy::Aggregate) && goes_apart(run, label.flow(), header.total_len()) {
        return Ok(());
    }
    if policy.is_bulk() {
        if svc.is_steered(run.now) {
            // SAFETY: the helper has no preconditions.
            let random = unsafe { bpf_get_prandom_u32() };
            outbound::slow_down(svc, &run.clocks(), run.now, header, random)?;
        }
        if urgent || matches!(policy, Policy::Sticky) {
            keep_to(run, policy, urgent, label.flow())?;
        }
    }
    if matches!(policy, Policy::LowestLatency) {
        run.terms().all();
    }
    if matches!(policy, Policy::Redundant) {
        twice(ctx, run, header)?;
    }
    Ok(())
}

/// Lets a packet go by the IVC that its flow has for itself, if it has one. The flow's bytes are counted.
#[inline(always)]
fn goes_apart(run: &Run, flow: u32, len: u16) -> bool {
    let svc = run.svc;
    if svc.tells_flows == 0 {
        return false;
    }
    if let Some(flows) = FLOWS.get_ptr_mut(svc.index) {
        // SAFETY: the verifier-checked result of a lookup, valid while the program runs.
        unsafe { count_flow(flows, flow, len) };
    }
    match svc.way(flow) {
        Some(slot) => {
            run.terms().alone(svc, slot);
            true
        }
        None => false,
    }
}

/// Lets a packet go where its flow goes.
#[inline(always)]
fn keep_to(run: &Run, policy: Policy, urgent: bool, flow: u32) -> Result<(), DropReason> {
    let svc = run.svc;
    let slot = choose::flow(svc, run.scratch.best(), flow)?;
    let near = slot == svc.near;
    if urgent && (near || matches!(policy, Policy::Aggregate)) {
        run.terms().make_way(svc, near);
    } else {
        run.terms().only(svc, slot);
    }
    Ok(())
}

/// Sends a copy of a packet if it can go by two IVCs, and lets the packet go by the one.
#[inline(always)]
fn twice(ctx: &TcContext, run: &Run, header: &Ipv4Header) -> Result<(), DropReason> {
    let (svc, best) = (run.svc, run.scratch.best());
    let (clocks, len) = (run.clocks(), header.total_len());
    let (first, second) = choose::pair(svc, &clocks, best, run.now, len, run.terms())?;
    if let Some(second) = second {
        send_copy(ctx, run, *header, second)?;
        // The copy's terms were in the same place.
        run.terms().any(svc);
    }
    run.terms().only(svc, first);
    Ok(())
}

/// Sends a copy by the IVC in `slot`: a clone, which enters the bundle device again. If it is lost there is the original.
#[inline(always)]
fn send_copy(ctx: &TcContext, run: &Run, whole: Ipv4Header, slot: u32) -> Result<(), DropReason> {
    *header(ctx)? = whole;
    // SAFETY: the context is valid while the program runs.
    let device = unsafe { (*ctx.skb.skb).ifindex };
    run.awaiting.expect(Awaited::Copy(slot));
    let _ = ctx.clone_redirect(device, 0);
    run.awaiting.forget();
    Ok(())
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
fn cut(ctx: &TcContext, run: &Run, whole: Ipv4Header) -> Result<i32, DropReason> {
    let Run { svc, scratch, .. } = *run;
    let payload = whole.total_len() - LEN;
    // SAFETY: `state` is a value of `SVC_STATES`.
    scratch.vary(unsafe { atomics::split(run.state) });
    plan(svc, &run.clocks(), run.now, payload, scratch)?;
    let count = scratch.count();
    let identification = number(run, count > 1);

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
        let departure = run.departure(piece.slot(), ivc, made.total_len());
        if last {
            leave_at(ctx, departure);
            return Ok(redirect(exit(ivc)));
        }
        send_clone(ctx, ivc, piece, departure, run.awaiting)?;
        offset += piece.payload();
    }
    Err(DropReason::TxTooBig)
}

/// The identification of a packet. Copies of a packet have numbers of their own: their pieces must not be taken for each other's.
#[inline(always)]
fn number(run: &Run, is_split: bool) -> u16 {
    // SAFETY: `state` is a value of `SVC_STATES`.
    unsafe {
        let sequence = next_sequence(run.state);
        if is_split {
            next_split(run.state) as u16
        } else {
            sequence as u16
        }
    }
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
    departure: u64,
    awaiting: Awaiting,
) -> Result<(), DropReason> {
    // SAFETY: the context is valid while the program runs.
    let device = unsafe { (*ctx.skb.skb).ifindex };
    awaiting.expect(Awaited::Piece {
        len: ETHERNET as u32 + u32::from(LEN + piece.payload()),
        exit: exit(ivc),
        departure,
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
fn trim(ctx: &TcContext, len: u32, exit: Exit, departure: u64) -> Result<i32, DropReason> {
    // SAFETY: the context is valid while the program runs.
    let result = unsafe { bpf_skb_change_tail(ctx.as_ptr().cast::<__sk_buff>(), len, 0) };
    if result != 0 {
        return Err(DropReason::TxHelper);
    }
    leave_at(ctx, departure);
    Ok(redirect(exit))
}

/// Has the queue of the link hold a packet until `departure`, unless that is 0.
///
/// A time that is set in this way survives the redirect (`skb_clear_tstamp`), and a time in the field of the context would not. A queue
/// that knows nothing of departure times ignores it.
#[inline(always)]
fn leave_at(ctx: &TcContext, departure: u64) {
    if departure != 0 {
        let skb = ctx.as_ptr().cast::<__sk_buff>();
        // SAFETY: the context is valid while the program runs.
        let _ = unsafe { bpf_skb_set_tstamp(skb, departure, DELIVERY_MONO) };
    }
}

/// Where the pieces of an IVC leave.
#[inline(always)]
const fn exit(ivc: &Ivc) -> Exit {
    Exit {
        ifindex: ivc.ifindex,
        next_hop: ivc.next_hop,
    }
}

/// `AF_INET`.
const IPV4: u32 = 2;

/// Sends out of a link, whatever the routing table says: NDR.
///
/// The next hop is named, which spares the kernel a walk over all rules and a lookup. It keeps the packet's old route then
/// (`__bpf_redirect_neigh_v4`), and a packet that waits for the next hop's Ethernet address takes that (`neigh_update_process_arp_queue`): it is
/// lost. But keepalives go by the same next hop before any data does, and all the time after that, so the address is known.
#[inline(always)]
fn redirect(exit: Exit) -> i32 {
    let mut next_hop = bpf_redir_neigh {
        nh_family: IPV4,
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: [exit.next_hop, 0, 0, 0],
        },
    };
    let len = size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: the parameters are as long as is said; the kernel copies them.
    unsafe { bpf_redirect_neigh(exit.ifindex, &raw mut next_hop, len, 0) as i32 }
}
