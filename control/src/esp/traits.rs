//! What the classes of a tunnel go by, read from the packets inside.

use std::net::Ipv4Addr;

use withy_common::{
    classes::{Classes, Search},
    header::{MORE_FRAGMENTS, OFFSET_MASK, TCP, UDP},
    label::{Label, NO_PORTS, Policies, Policy, Traits},
};

use crate::vpn::Running;

/// By what a tunnel's packets are told apart, and how they are treated.
#[derive(Debug)]
pub(super) struct Telling {
    /// Nothing where they need not be told apart.
    classes: Option<Classes>,
    policies: Policies,
}

impl Telling {
    /// That of a tunnel.
    pub(super) fn of(tunnel: &Running) -> Self {
        Self {
            // It costs little, and is needed as soon as some IVC turns out to be far away.
            classes: tunnel.telling(tunnel.ivcs.len() > 1),
            policies: tunnel.policies(),
        }
    }

    /// The label of an IPv4 packet, or of a super-packet that stands for packets of `longest` bytes.
    pub(super) fn label(&self, packet: &[u8], longest: usize) -> Label {
        let known = self.classes.as_ref().zip(traits(packet, longest));
        known.map_or(Label::default(), |(classes, traits)| {
            classes.label(&traits, &Search::new())
        })
    }

    /// Whether packets come twice on purpose.
    pub(super) fn expects_copies(&self) -> bool {
        self.policies.any(Policy::Redundant)
    }

    /// Whether a packet that has come waits for those before it. What goes by one IVC keeps its order anyway, and what must not wait must
    /// not wait here either. That is what this gateway's own classes say: the other's are the same, or packets wait a little.
    pub(super) fn waits(&self, packet: &[u8]) -> bool {
        if self.policies == Policies::default() {
            return true;
        }
        let label = self.label(packet, packet.len());
        self.policies.policy(label) == Policy::Aggregate
    }
}

fn traits(packet: &[u8], longest: usize) -> Option<Traits> {
    let header: &[u8; 20] = packet.first_chunk()?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let address = |at: usize| {
        let [a, b, c, d] = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_ne_bytes(Ipv4Addr::new(a, b, c, d).octets())
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]) & (MORE_FRAGMENTS | OFFSET_MASK);
    let protocol = header[9];
    let ports = match protocol {
        TCP | UDP if fragment == 0 => packet.get(usize::from(header[0] & 0xf) * 4..),
        _ => None,
    };
    let ports = ports.and_then(|transport| transport.first_chunk());
    Some(Traits {
        source: address(12),
        destination: address(16),
        protocol,
        dscp: header[1] >> 2,
        length: u16::try_from(longest).unwrap_or(u16::MAX),
        ports: ports.map_or(NO_PORTS, |[a, b, c, d]: &[u8; 4]| {
            Traits::ports([u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d])])
        }),
    })
}
