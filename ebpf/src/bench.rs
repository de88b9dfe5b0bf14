//! The eBPF programs of the benches: a source and a sink at the ends of the path that is measured,
//! and the plainest steering there can be, to compare with. No part of the product.
//!
//! * `source`: XDP, run on live frames. Makes each frame anew and hands it to the stack.
//! * `steer`: TC egress. Sends packets over two links in turn, and does nothing else.
//! * `sink`: TC ingress. Counts IPv4 packets and drops them.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS},
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_redirect_neigh,
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// TC verdict: go on with the next program, or with the stack (`TC_ACT_UNSPEC`, `TCX_NEXT`).
const NEXT: i32 = -1;
/// TC verdict: drop (`TC_ACT_SHOT`).
const SHOT: i32 = 2;
/// The EtherType of IPv4.
const IPV4: u16 = 0x0800;

/// The Ethernet and IPv4 headers of a frame, in wire order.
type Headers = [u16; 17];

/// What arrived.
#[repr(C)]
struct Arrived {
    packets: u64,
    bytes: u64,
}

/// The headers that every frame begins with. The bench writes, `source` reads.
#[btf_map]
static HEADERS: Array<Headers, 1> = Array::new();

/// The interface indexes of the two links. The bench writes, `steer` reads.
#[btf_map]
static LINKS: Array<u32, 2> = Array::new();

/// How many packets were steered, by CPU. `steer` reads and writes.
#[btf_map]
static TURN: PerCpuArray<u32, 1> = PerCpuArray::new();

/// What arrived, by CPU. `sink` writes, the bench reads.
#[btf_map]
static ARRIVED: PerCpuArray<Arrived, 1> = PerCpuArray::new();

/// Writes the headers anew, for the way through the stack changed those of a frame's last round.
#[xdp]
pub fn source(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + size_of::<Headers>() > ctx.data_end() {
        return XDP_ABORTED;
    }
    let Some(headers) = HEADERS.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the comparison above shows that the bytes are there; the kernel aligns frames to two bytes;
    // a map's value is no packet.
    unsafe { core::ptr::copy_nonoverlapping(headers, start as *mut Headers, 1) };
    XDP_PASS
}

/// Redirects to the links in turn.
#[classifier]
pub fn steer(_ctx: TcContext) -> i32 {
    let Some(turn) = TURN.get_ptr_mut(0) else {
        return SHOT;
    };
    // SAFETY: the slot is this CPU's own.
    let at = unsafe {
        *turn = (*turn).wrapping_add(1);
        *turn & 1
    };
    let Some(link) = LINKS.get(at) else {
        return SHOT;
    };
    // SAFETY: no parameters are passed.
    unsafe { bpf_redirect_neigh(*link, core::ptr::null_mut(), 0, 0) as i32 }
}

/// Counts IPv4 packets and drops them; others, such as ARP, pass.
#[classifier]
pub fn sink(ctx: TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    if unsafe { (*ctx.skb.skb).protocol } != u32::from(IPV4.to_be()) {
        return NEXT;
    }
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's own.
        unsafe {
            (*arrived).packets += 1;
            (*arrived).bytes += u64::from(ctx.len());
        }
    }
    SHOT
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could reach an endless loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
