//! Withy's eBPF programs: each is a hook, one call into `withy_common`, and one verdict.
//!
//! * `bundle_tx`: TC egress of the bundle device. Splits, schedules, re-addresses and steers.
//! * `link_rx_xdp`, `link_rx_tc`: arrival on a link. Checks and re-addresses.
//! * `lan_in`, `lan_out`: TC ingress and egress of the private network. Clamp TCP's MSS; `lan_in` says of which class packets are.
#![no_std]
#![no_main]
#![allow(
    internal_features,
    reason = "atomics that return a value are intrinsics on this target"
)]
#![feature(core_intrinsics)]

mod atomics;
mod classify;
mod clone;
mod lan;
mod maps;
mod packet;
mod rx;
mod tx;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use withy_common::drops::DropReason;

use crate::rx::Fate;

/// TC verdict: go on with the next program, or with the stack (`TC_ACT_UNSPEC`, `TCX_NEXT`).
const NEXT: i32 = -1;
/// TC verdict: drop (`TC_ACT_SHOT`).
const SHOT: i32 = 2;

/// Splits, schedules, re-addresses and steers what leaves through the bundle device.
#[classifier]
pub fn bundle_tx(ctx: TcContext) -> i32 {
    match tx::send(&ctx) {
        Ok(verdict) => verdict,
        Err(reason) => {
            drop_counted(&ctx, reason);
            SHOT
        }
    }
}

/// Checks and re-addresses what arrives on a link, where its driver has XDP.
#[xdp(frags)]
pub fn link_rx_xdp(ctx: XdpContext) -> u32 {
    match rx::receive_xdp(&ctx) {
        Ok(Fate::Pass) => XDP_PASS,
        Ok(Fate::Taken) => XDP_DROP,
        Err(reason) => {
            drop_counted(&ctx, reason);
            XDP_DROP
        }
    }
}

/// Checks and re-addresses what arrives on a link, elsewhere.
#[classifier]
pub fn link_rx_tc(ctx: TcContext) -> i32 {
    match rx::receive_tc(&ctx) {
        Ok(Fate::Pass) => NEXT,
        Ok(Fate::Taken) => SHOT,
        Err(reason) => {
            drop_counted(&ctx, reason);
            SHOT
        }
    }
}

/// Clamps the MSS of connections that a host of the private network opens through a tunnel, and tells by a mark of which class packets
/// are.
#[classifier]
pub fn lan_in(ctx: TcContext) -> i32 {
    lan::enter(&ctx);
    NEXT
}

/// Clamps the MSS of connections that come out of a tunnel.
#[classifier]
pub fn lan_out(ctx: TcContext) -> i32 {
    lan::leave(&ctx);
    NEXT
}

/// Counts a drop, and logs it where this CPU's count reaches a power of two: a flood of them is
/// worth a handful of lines.
#[inline(always)]
fn drop_counted<C: aya_ebpf::EbpfContext>(ctx: &C, reason: DropReason) {
    if let Some(count) = maps::DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: the slot is this CPU's own, and nothing on this CPU interrupts a program of this hook.
        let count = unsafe {
            *count += 1;
            *count
        };
        if count & (count - 1) == 0 {
            aya_log_ebpf::debug!(
                ctx,
                "drop reason {} count {} on this CPU",
                reason as u32,
                count
            );
        }
    }
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
