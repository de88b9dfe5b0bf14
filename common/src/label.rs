//! What a packet of the private network is taken for, and how that is handed on behind ESP.
//!
//! A *label* is 12 bits: 4 for the class of the packet, 8 for its flow. Behind the kernel's ESP it is in the packet's mark, at
//! [`MARK_SHIFT`]; of Withy's own engine it is in the IPv4 identification, which `bundle_tx` replaces anyway, and where there is room for [`HASTE`].

/// The most classes of a tunnel.
pub const MAX_CLASSES: usize = 15;
/// How many flows are told apart.
pub const FLOWS: u32 = 256;
/// Where in a packet's mark the label is.
pub const MARK_SHIFT: u32 = 20;
/// The bits of a packet's mark that are the label's. All others are left alone.
pub const MARK_MASK: u32 = 0xfff << MARK_SHIFT;

/// The bit of such an identification that is set where a packet must not be late: what one engine tells the other. It goes by whatever IVC it arrives by first,
/// bonded or not.
pub const HASTE: u16 = 1 << 12;

/// Which IVC carries a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// That by which it arrives first.
    #[default]
    Aggregate = 0,
    /// The same, and bulk keeps out of its way.
    LowestLatency = 1,
    /// The two by which it arrives first, of different links where possible.
    Redundant = 2,
    /// That of its flow.
    Sticky = 3,
}

impl Policy {
    /// The policy with a number, of which two bits count.
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number & 3 {
            0 => Self::Aggregate,
            1 => Self::LowestLatency,
            2 => Self::Redundant,
            _ => Self::Sticky,
        }
    }

    /// Whether its packets make way for those that must not wait, and are dropped early.
    #[inline(always)]
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::Aggregate | Self::Sticky)
    }
}

/// The policies of a tunnel's classes, two bits each: of those that are of no class, then of the classes in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Policies(pub u32);

impl Policies {
    /// States the tunnel's own policy, and those of its classes, of which no more than [`MAX_CLASSES`] count. Classes that there are
    /// not have the tunnel's.
    #[must_use]
    pub fn new(own: Policy, classes: &[Policy]) -> Self {
        let all = core::iter::once(own)
            .chain(classes.iter().copied().take(MAX_CLASSES))
            .chain(core::iter::repeat(own));
        let pairs = all.take(MAX_CLASSES + 1).zip((0..).step_by(2));
        Self(pairs.fold(0, |bits, (policy, at)| bits | (policy as u32) << at))
    }

    /// Whether any class, or what is of none, has a policy.
    #[must_use]
    pub fn any(self, policy: Policy) -> bool {
        (0..16).any(|class| self.policy(Label::new(class, 0)) == policy)
    }

    /// The policy of what has a label.
    #[inline(always)]
    #[must_use]
    pub const fn policy(self, label: Label) -> Policy {
        Policy::of(self.0 >> (2 * label.class()))
    }
}

/// What a packet is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Label(u32);

impl Label {
    /// The label of a packet of a class, or of none for 0, and of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(class: u32, flow: u32) -> Self {
        Self((class & 0xf) << 8 | flow & (FLOWS - 1))
    }

    /// The class; 0 for none.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> u32 {
        self.0 >> 8
    }

    /// The flow, below [`FLOWS`].
    #[inline(always)]
    #[must_use]
    pub const fn flow(self) -> u32 {
        self.0 & (FLOWS - 1)
    }

    /// Puts the label into a mark.
    #[inline(always)]
    #[must_use]
    pub const fn mark(self, mark: u32) -> u32 {
        mark & !MARK_MASK | self.0 << MARK_SHIFT
    }

    /// Reads the label in a mark.
    #[inline(always)]
    #[must_use]
    pub const fn marked(mark: u32) -> Self {
        Self((mark & MARK_MASK) >> MARK_SHIFT)
    }

    /// The IPv4 identification that tells the label.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    pub const fn identification(self) -> u16 {
        self.0 as u16
    }

    /// The label that such an identification tells.
    #[inline(always)]
    #[must_use]
    pub const fn identified(identification: u16) -> Self {
        Self(identification as u32 & 0xfff)
    }
}

/// What classes go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// The source address, in wire order.
    pub source: u32,
    /// The destination address, in wire order.
    pub destination: u32,
    /// The protocol of the payload.
    pub protocol: u8,
    /// The code point of DSCP (RFC 2474).
    pub dscp: u8,
    /// The length of the IP packet in bytes.
    pub length: u16,
    /// Source and destination port, above each other, or [`NO_PORTS`].
    pub ports: u64,
}

/// A packet without ports: of another protocol than TCP and UDP, or a fragment. All fragments of a packet are of one class, and only the
/// first has ports.
pub const NO_PORTS: u64 = u64::MAX;

impl Traits {
    /// The ports as [`Self::ports`] has them, from both in wire order as they follow each other.
    #[inline(always)]
    #[must_use]
    pub const fn ports([source, destination]: [u16; 2]) -> u64 {
        (u16::from_be(source) as u64) << 16 | u16::from_be(destination) as u64
    }

    /// Which of [`FLOWS`] the packet is of.
    #[inline(always)]
    #[must_use]
    pub const fn flow(&self) -> u32 {
        let ends = (self.source as u64) << 32 | self.destination as u64;
        let rest = (self.protocol as u64) << 32 | self.ports & 0xffff_ffff;
        (mix(mix(ends).wrapping_add(rest)) >> 56) as u32
    }
}

/// Spreads the bits of a number over all of it: every change of one bit changes half of them.
#[inline(always)]
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICIES: [Policy; 4] = [
        Policy::Aggregate,
        Policy::LowestLatency,
        Policy::Redundant,
        Policy::Sticky,
    ];

    #[test]
    fn policies_have_numbers() {
        for (number, policy) in (0..).zip(POLICIES) {
            assert_eq!(policy as u32, number);
            assert_eq!(Policy::of(number), policy);
        }
    }

    #[test]
    fn classes_that_there_are_not_have_the_policy_of_the_tunnel() {
        let policies = Policies::new(Policy::Sticky, &[Policy::Redundant, Policy::Aggregate]);
        let of = |class| policies.policy(Label::new(class, 9));
        assert_eq!(
            [of(0), of(1), of(2)],
            [Policy::Sticky, Policy::Redundant, Policy::Aggregate]
        );
        assert!((3..16).all(|class| of(class) == Policy::Sticky));
        let any = POLICIES.map(|policy| policies.any(policy));
        assert_eq!(any, [true, false, true, true]);
        assert_eq!(Policies::new(Policy::Aggregate, &[]), Policies::default());
    }

    #[test]
    fn flows_are_spread_evenly_over_their_numbers() {
        let mut counts = [0_u32; FLOWS as usize];
        for port in 0..25_600 {
            let traits = Traits {
                source: 0x0501_a8c0,
                destination: 0x0902_a8c0,
                protocol: 17,
                dscp: 0,
                length: 0,
                ports: Traits::ports([(40_000 + port % 100_u16).to_be(), (port / 100).to_be()]),
            };
            counts[traits.flow() as usize] += 1;
        }
        // A hundred each, with a deviation of ten.
        assert!(
            counts.iter().all(|count| (50..150).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn labels_travel_in_marks_and_identifications(class in 0_u32..16, flow in 0_u32..256, mark: u32) {
            let label = Label::new(class, flow);
            prop_assert_eq!((label.class(), label.flow()), (class, flow));
            let marked = label.mark(mark);
            prop_assert_eq!(Label::marked(marked), label);
            prop_assert_eq!(marked & !MARK_MASK, mark & !MARK_MASK);
            prop_assert_eq!(Label::identified(label.identification()), label);
        }
    }
}
