//! Flows that go by an IVC of their own: the other side is told which packets are theirs, so that no others wait for these.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use withy_common::label::{FLOWS, Label, Policies, Policy};

use super::{
    ByRemote,
    repair::{Headers, Words},
};
use crate::{kernel::esp::BATCH, resend::Kind};

/// Flows of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct FlowSet {
    policies: Policies,
    flows: [u64; FLOWS as usize / 64],
}

impl FlowSet {
    /// Flows of a tunnel whose classes have these policies.
    pub(in crate::daemon) fn new(policies: Policies, flows: impl Iterator<Item = u8>) -> Self {
        let mut set = Self {
            policies,
            ..Self::default()
        };
        for flow in flows {
            set.flows[usize::from(flow) / 64] |= 1 << (flow % 64);
        }
        set
    }

    fn is_empty(&self) -> bool {
        self.flows == [0; _]
    }

    /// Whether a packet with a label goes with one of them.
    fn has(&self, label: Label) -> bool {
        let flow = label.flow();
        let of_one = self.flows[(flow / 64) as usize] >> (flow % 64) & 1 != 0;
        of_one && self.policies.policy(label) == Policy::Aggregate
    }
}

/// The flows of all tunnels that go apart, by remote endpoint.
#[derive(Default)]
pub(in crate::daemon) struct ApartFlows {
    any: AtomicBool,
    of: ByRemote<FlowSet>,
}

impl ApartFlows {
    /// Learns which flows of a tunnel do.
    pub(in crate::daemon) fn set(&self, remote: Ipv4Addr, flows: FlowSet) {
        if self.of.put(remote, flows) {
            self.look();
        }
    }

    /// Forgets tunnels.
    pub(in crate::daemon) fn retain(&self, stays: impl Fn(Ipv4Addr) -> bool) {
        if self.of.retain(stays) {
            self.look();
        }
    }

    fn look(&self) {
        let any = self.of.get().values().any(|flows| !flows.is_empty());
        self.any.store(any, Relaxed);
    }

    /// Has the other sides told which of no more than [`BATCH`] sealed packets, of which the identification still says what they were taken for, go apart.
    /// Returns which do.
    pub(super) fn tell<'p>(
        &self,
        packets: impl Iterator<Item = &'p [u8]>,
        words: &mut Words,
    ) -> [bool; BATCH] {
        let mut apart = [false; BATCH];
        if !self.any.load(Relaxed) {
            return apart;
        }
        let known = self.of.get();
        for (packet, apart) in packets.zip(&mut apart) {
            let Some(headers) = Headers::read(packet) else {
                continue;
            };
            let flows = known.get(&headers.remote);
            *apart = flows.is_some_and(|flows| flows.has(headers.label));
            if *apart {
                words.add(headers.remote, Kind::Apart, headers.spi, headers.number);
            }
        }
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);

    fn packet(label: Label, number: u32) -> Vec<u8> {
        let mut packet = vec![0; 80];
        packet[4..6].copy_from_slice(&label.identification().to_be_bytes());
        packet[16..20].copy_from_slice(&REMOTE.octets());
        packet[20..24].copy_from_slice(&0x1000_u32.to_be_bytes());
        packet[24..28].copy_from_slice(&number.to_be_bytes());
        packet
    }

    #[test]
    fn the_other_side_is_told_of_packets_of_these_flows_alone() {
        let apart = ApartFlows::default();
        let policies = Policies::new(Policy::Aggregate, &[Policy::Sticky]);
        let told = |label| {
            let mut words = Words::default();
            let [told, ..] = apart.tell([&*packet(label, 77)].into_iter(), &mut words);
            let runs: Vec<_> = words
                .iter()
                .flat_map(|(_, word)| word.runs())
                .map(|run| run.first)
                .collect();
            assert_eq!(runs, if told { vec![77] } else { vec![] });
            told
        };
        assert!(!told(Label::new(0, 200)));
        apart.set(REMOTE, FlowSet::new(policies, [3, 200].into_iter()));
        assert!(told(Label::new(0, 200)) && told(Label::new(0, 3)));
        assert!(!told(Label::new(0, 4)));
        assert!(!told(Label::new(1, 200)), "it goes where its class does");
        apart.set(REMOTE, FlowSet::new(policies, std::iter::empty()));
        assert!(!told(Label::new(0, 200)));
        apart.set(REMOTE, FlowSet::new(policies, [3].into_iter()));
        apart.retain(|_| false);
        assert!(!told(Label::new(0, 3)));
    }
}
