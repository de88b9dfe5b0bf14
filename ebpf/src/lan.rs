//! The private network: TCP's MSS, so that bulk packets fit whole into a piece, and the classes of packets.

use aya_ebpf::{btf_maps::lpm_trie::Key, programs::TcContext};
use withy_common::{
    header::{Ipv4Header, LEN, TCP},
    maps::Subnet,
    mss::{MAX_OPTIONS, find},
};

use crate::{
    classify,
    maps::{CLASSIFIED, SUBNETS},
    packet::{ETHERNET, Frame, tc_frame},
};

/// The length in bytes of a TCP header without options.
const TCP_LEN: usize = 20;
/// The offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// The SYN bit of a TCP header's flags.
const SYN: u8 = 2;

/// Handles what comes from a host of the private network: the destination may be a remote subnet's.
#[inline(always)]
pub(crate) fn enter(ctx: &TcContext) {
    let Some(header) = header(ctx) else { return };
    let classified = CLASSIFIED.get(0).is_some_and(|count| *count > 0);
    let clamped = is_clamped(&header);
    if !clamped && !classified {
        return;
    }
    let Some(subnet) = subnet(header.destination()) else {
        return;
    };
    if classified && subnet.classes != Subnet::NO_CLASSES {
        classify::mark(ctx, &header, subnet.classes);
    }
    // Last, for the verifier follows each way through the options to the end.
    if clamped {
        lower(ctx, &header, subnet);
    }
}

/// Handles what goes to a host of the private network: the source may be a remote subnet's.
#[inline(always)]
pub(crate) fn leave(ctx: &TcContext) {
    let Some(header) = header(ctx) else { return };
    if is_clamped(&header)
        && let Some(subnet) = subnet(header.source())
    {
        lower(ctx, &header, subnet);
    }
}

/// Returns a packet's header. What cannot be read is left alone: path MTU discovery covers it.
#[inline(always)]
fn header(ctx: &TcContext) -> Option<Ipv4Header> {
    let Frame::Ipv4(header) = tc_frame(ctx) else {
        return None;
    };
    let header = *header;
    (header.header_len() >= LEN).then_some(header)
}

#[inline(always)]
fn is_clamped(header: &Ipv4Header) -> bool {
    header.protocol() == TCP && !header.is_fragment()
}

#[inline(always)]
fn subnet(remote: u32) -> Option<Subnet> {
    SUBNETS.get(&Key::new(32, remote)).copied()
}

/// Lowers the MSS option of a SYN to what the tunnel carries whole.
#[inline(always)]
fn lower(ctx: &TcContext, header: &Ipv4Header, subnet: Subnet) {
    let tcp = ETHERNET + header.header_len() as usize;
    let limit = subnet.mss as u16;
    let Ok(lengths) = ctx.load::<[u8; 2]>(tcp + 12) else {
        return;
    };
    if lengths[1] & SYN == 0 {
        return;
    }
    let len = (usize::from(lengths[0] >> 4) * 4)
        .saturating_sub(TCP_LEN)
        .min(MAX_OPTIONS);
    let Some((at, mss)) = find(len, |at| ctx.load(tcp + TCP_LEN + at).ok()) else {
        return;
    };
    if mss <= limit {
        return;
    }
    let (old, new) = (mss.to_be(), limit.to_be());
    // The helper leaves a checksum alone that the hardware has yet to complete.
    if ctx
        .l4_csum_replace(tcp + TCP_CHECKSUM, old.into(), new.into(), 2)
        .is_ok()
    {
        let _ = ctx.store(tcp + TCP_LEN + at, &new, 0);
    }
}
