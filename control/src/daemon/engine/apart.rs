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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct FlowSet {
    policies: Policies,
    /// The lane by which each goes, if it does.
    lanes: [Option<u8>; FLOWS as usize],
    /// One that does not.
    other: u8,
}

impl Default for FlowSet {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            lanes: [None; FLOWS as usize],
            other: 0,
        }
    }
}

impl FlowSet {
    /// Flows of a tunnel whose classes have these policies, each with the lane by which it goes: what goes by one stays in order.
    pub(in crate::daemon) fn new(
        policies: Policies,
        flows: impl Iterator<Item = (u8, u8)>,
    ) -> Self {
        let mut set = Self {
            policies,
            ..Self::default()
        };
        for (flow, lane) in flows {
            set.lanes[usize::from(flow)] = Some(lane);
        }
        let others = (0..=u8::MAX).zip(&set.lanes);
        let other = others.rev().find(|(_, lane)| lane.is_none());
        set.other = other.map_or(0, |(flow, _)| flow);
        set
    }

    fn is_empty(&self) -> bool {
        self.lanes == [None; _]
    }

    /// By which lane a packet with a label goes, if it goes with one of them.
    fn lane(&self, label: Label) -> Option<u8> {
        let lane = self.lanes[label.flow() as usize]?;
        (self.policies.policy(label) == Policy::Aggregate).then_some(lane)
    }

    /// The label of the same class with which a packet does not.
    fn beside(&self, label: Label) -> Label {
        Label::new(label.class(), self.other.into())
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
    pub(in crate::daemon) fn set(&self, remote: Ipv4Addr, flows: &FlowSet) {
        if self.of.put(remote, *flows) {
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

    /// Has the other sides told which of no more than [`BATCH`] sealed packets go apart. The identification still says what packets were taken for. Of those
    /// that do, returns the label with which they would not.
    pub(super) fn tell<'p>(
        &self,
        packets: impl Iterator<Item = &'p [u8]>,
        words: &mut Words,
    ) -> [Option<Label>; BATCH] {
        let mut apart = [None; BATCH];
        if !self.any.load(Relaxed) {
            return apart;
        }
        let known = self.of.get();
        for (packet, apart) in packets.zip(&mut apart) {
            let Some(headers) = Headers::read(packet) else {
                continue;
            };
            let Some(flows) = known.get(&headers.remote) else {
                continue;
            };
            if let Some(lane) = flows.lane(headers.label) {
                *apart = Some(flows.beside(headers.label));
                let kind = Kind::Apart(lane);
                words.add(headers.remote, kind, headers.spi, headers.number);
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
            let [beside, ..] = apart.tell([&*packet(label, 77)].into_iter(), &mut words);
            let said = words
                .iter()
                .map(|(_, word)| (word.kind(), word.runs()[0].first));
            let said: Vec<_> = said.collect();
            if let Some(beside) = beside {
                assert_eq!(said, [(Kind::Apart(6), 77)]);
                assert_eq!((beside.class(), beside.flow()), (label.class(), 255));
            } else {
                assert_eq!(said, []);
            }
            beside.is_some()
        };
        assert!(!told(Label::new(0, 200)));
        apart.set(
            REMOTE,
            &FlowSet::new(policies, [(3, 6), (200, 6)].into_iter()),
        );
        assert!(told(Label::new(0, 200)) && told(Label::new(0, 3)));
        assert!(!told(Label::new(0, 4)));
        assert!(!told(Label::new(1, 200)), "it goes where its class does");
        apart.set(REMOTE, &FlowSet::new(policies, std::iter::empty()));
        assert!(!told(Label::new(0, 200)));
        apart.set(REMOTE, &FlowSet::new(policies, [(3, 6)].into_iter()));
        apart.retain(|_| false);
        assert!(!told(Label::new(0, 3)));
    }
}
