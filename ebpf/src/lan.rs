//! TCP's MSS at the private network, so that bulk packets fit whole into a piece.

use aya_ebpf::{btf_maps::lpm_trie::Key, programs::TcContext};
use withy_common::{
    header::{Ipv4Header, LEN, TCP},
    mss::{MAX_OPTIONS, find},
};

use crate::{
    maps::SUBNETS,
    packet::{ETHERNET, Frame, tc_frame},
};

/// Where a packet is going.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// From a host of the private network: the destination may be a remote subnet's.
    FromHost,
    /// To a host of the private network: the source may be a remote subnet's.
    ToHost,
}

/// The length in bytes of a TCP header without options.
const TCP_LEN: usize = 20;
/// The offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// The SYN bit of a TCP header's flags.
const SYN: u8 = 2;

/// Lowers the MSS option of a SYN to what the tunnel carries whole. What cannot be read is left
/// alone: path MTU discovery covers it.
#[inline(always)]
pub(crate) fn clamp(ctx: &TcContext, side: Side) {
    let Frame::Ipv4(header) = tc_frame(ctx) else {
        return;
    };
    let header = *header;
    if header.protocol() != TCP || header.is_fragment() || header.header_len() < LEN {
        return;
    }
    if let Some(limit) = limit(&header, side) {
        lower(ctx, ETHERNET + header.header_len() as usize, limit);
    }
}

#[inline(always)]
fn limit(header: &Ipv4Header, side: Side) -> Option<u16> {
    let remote = match side {
        Side::FromHost => header.destination(),
        Side::ToHost => header.source(),
    };
    SUBNETS
        .get(&Key::new(32, remote))
        .map(|limit| *limit as u16)
}

/// Lowers the MSS in the TCP header at `tcp` to `limit`, if it is a SYN with a larger one.
#[inline(always)]
fn lower(ctx: &TcContext, tcp: usize, limit: u16) {
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
