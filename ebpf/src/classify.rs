//! Of which class a packet is: found where it can be read, and looked up where it cannot be any more.

use aya_ebpf::{helpers::bpf_sk_fullsock, programs::TcContext};
use withy_common::{
    header::{Ipv4Header, TCP, UDP, UDP_LEN},
    label::{HASTE, Label, MARK_MASK, NO_PORTS, Traits},
    maps::Svc,
    outbound::Shim,
};

use crate::{
    maps::{CLASSES, SEARCH},
    packet::ETHERNET,
};

/// Address families of sockets from which IPv4 packets come.
const FAMILIES: [u32; 2] = [2, 10];

/// Says in a packet's mark of which class it is; `classes` is the place of the classes.
#[inline(always)]
pub(crate) fn mark(ctx: &TcContext, header: &Ipv4Header, classes: u32) {
    let traits = Traits {
        source: header.source(),
        destination: header.destination(),
        protocol: header.protocol(),
        dscp: header.dscp(),
        length: length(ctx, header),
        ports: ports(ctx, header),
    };
    // SAFETY: the context is valid while the program runs.
    let mark = unsafe { (*ctx.skb.skb).mark };
    ctx.set_mark(find(classes, &traits).mark(mark));
}

/// Tells whether a packet is one of Withy's own engine that must not be late.
#[inline(always)]
pub(crate) fn is_hasty(shim: Shim, header: &Ipv4Header) -> bool {
    matches!(shim, Shim::None) && header.identification() & HASTE != 0
}

/// Finds what a packet at the bundle device is taken for, which `mark` or Withy's own engine has left there.
#[inline(always)]
pub(crate) fn label(ctx: &TcContext, svc: &Svc, shim: Shim, header: &Ipv4Header) -> Label {
    if matches!(shim, Shim::None) {
        return Label::identified(header.identification());
    }
    // SAFETY: the context is valid while the program runs.
    let mark = unsafe { (*ctx.skb.skb).mark };
    if mark & MARK_MASK == 0 {
        return own(ctx, svc, header);
    }
    // The mark has served its purpose, and is nobody else's business.
    ctx.set_mark(mark & !MARK_MASK);
    Label::marked(mark)
}

/// What a packet of the gateway itself is taken for, which has not come by the private network: it still has its socket.
#[inline(always)]
fn own(ctx: &TcContext, svc: &Svc, header: &Ipv4Header) -> Label {
    if svc.expansion == 0 {
        return Label::default();
    }
    // SAFETY: the context is valid while the program runs; the kernel checks the rest, as each pointer may be null.
    let traits = unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return Label::default();
        }
        let socket = bpf_sk_fullsock(socket);
        if socket.is_null() || !FAMILIES.contains(&(*socket).family) {
            return Label::default();
        }
        let protocol = (*socket).protocol as u8;
        Traits {
            source: (*socket).src_ip4,
            destination: (*socket).dst_ip4,
            protocol,
            dscp: header.dscp(),
            length: header.total_len().saturating_sub(svc.expansion as u16),
            ports: match protocol {
                TCP | UDP => {
                    Traits::ports([((*socket).src_port as u16).to_be(), (*socket).dst_port])
                }
                _ => NO_PORTS,
            },
        }
    };
    find(svc.index, &traits)
}

#[inline(always)]
fn find(classes: u32, traits: &Traits) -> Label {
    match (CLASSES.get_ptr(classes), SEARCH.get_ptr(0)) {
        // SAFETY: the verifier-checked results of lookups; the second is this CPU's own.
        (Some(classes), Some(search)) => unsafe { (*classes).label(traits, &*search) },
        _ => Label::default(),
    }
}

#[inline(always)]
fn ports(ctx: &TcContext, header: &Ipv4Header) -> u64 {
    if header.is_fragment() || !matches!(header.protocol(), TCP | UDP) {
        return NO_PORTS;
    }
    let at = ETHERNET + header.header_len() as usize;
    ctx.load::<[u16; 2]>(at).map_or(NO_PORTS, Traits::ports)
}

/// How long a packet is; of one that stands for several, how long these are.
#[inline(always)]
fn length(ctx: &TcContext, header: &Ipv4Header) -> u16 {
    // SAFETY: the context is valid while the program runs.
    let segment = unsafe { (*ctx.skb.skb).gso_size } as u16;
    if segment == 0 {
        return header.total_len();
    }
    let network = header.header_len();
    let transport = match header.protocol() {
        TCP => ctx
            .load::<u8>(ETHERNET + network as usize + 12)
            .map_or(0, |offset| u16::from(offset >> 4) * 4),
        _ => UDP_LEN,
    };
    header.total_len().min(network + transport + segment)
}
