//! Which class a packet is of.
//!
//! What classes ask for is turned into tables that tell for each value of a trait which classes take it, one bit a class. What all
//! traits agree on are the classes that a packet is of, and the first one counts. So a packet costs the same however many classes there
//! are, and the eBPF verifier has no loop over them to follow.

use crate::{
    label::{Label, MAX_CLASSES, NO_PORTS, Traits},
    scratch::Word,
};

/// The most ranges of ports in all classes of a tunnel together: each begins a step, and the one behind it another.
pub const MAX_RANGES: usize = PORT_STEPS / 2 - 1;
const PORT_STEPS: usize = 128;
const SIZE_STEPS: usize = 32;
/// The bit that stands for no class at all.
const NONE: u16 = 1 << MAX_CLASSES;

/// What a class takes. A packet is of the class if all that is asked for holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg(any(test, feature = "user"))]
pub struct Match {
    /// Code points of DSCP; any if there are none.
    pub dscp: Vec<u8>,
    /// Protocols; any if there are none.
    pub protocols: Vec<u8>,
    /// Ranges of ports, with their ends, one of which one of the packet's two ports is in; any, and packets without ports, if there are
    /// none.
    pub ports: Vec<(u16, u16)>,
    /// The least and the most bytes that the packet has.
    pub sizes: Option<(u16, u16)>,
}

/// From a value on, these classes take it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from: u16,
    classes: u16,
}

/// The classes of a tunnel. Map `CLASSES`, by [`crate::maps::Svc::index`]: the controller writes, `lan_in` and `bundle_tx` read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    dscp: [u16; 64],
    protocols: [u16; 256],
    ports: [Step; PORT_STEPS],
    sizes: [Step; SIZE_STEPS],
    /// The classes that take packets without ports.
    portless: u32,
}

/// Where a search among steps is; in eBPF, in a map.
#[derive(Debug)]
#[repr(transparent)]
pub struct Search(Word);

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

impl Search {
    /// A search that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self(Word::new(0))
    }

    /// Finds the classes that take a value.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of steps")]
    fn find<const N: usize>(&self, steps: &[Step; N], value: u16) -> u16 {
        self.0.store(0);
        let mut half = N / 2;
        while half > 0 {
            let at = self.0.load() as usize + half;
            if steps[at & (N - 1)].from <= value {
                self.0.store(at as u64);
            }
            half /= 2;
        }
        steps[self.0.load() as usize & (N - 1)].classes
    }
}

impl Classes {
    /// Finds the label of a packet.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "16 bits each")]
    pub fn label(&self, traits: &Traits, search: &Search) -> Label {
        let mut classes = self.dscp[usize::from(traits.dscp & 63)];
        classes &= self.protocols[usize::from(traits.protocol)];
        classes &= search.find(&self.sizes, traits.length);
        classes &= if traits.ports == NO_PORTS {
            self.portless as u16
        } else {
            search.find(&self.ports, (traits.ports >> 16) as u16)
                | search.find(&self.ports, traits.ports as u16)
        };
        Label::new(first(classes), traits.flow())
    }
}

/// The number of the first class among some, from 1 on; 0 if there is none.
#[inline(always)]
const fn first(classes: u16) -> u32 {
    let classes = classes | NONE;
    // The bits below the lowest, counted: no way to it but arithmetic.
    (((classes & classes.wrapping_neg()) - 1).count_ones() + 1) & 0xf
}

#[cfg(any(test, feature = "user"))]
mod make {
    use super::{Classes, MAX_CLASSES, MAX_RANGES, Match, NONE, PORT_STEPS, SIZE_STEPS, Step};

    impl Classes {
        /// Makes the tables of some classes; nothing if there are more than [`MAX_CLASSES`], or more than [`MAX_RANGES`] ranges of ports.
        #[must_use]
        pub fn new(matches: &[Match]) -> Option<Self> {
            let ranges: usize = matches.iter().map(|wanted| wanted.ports.len()).sum();
            if matches.len() > MAX_CLASSES || ranges > MAX_RANGES {
                return None;
            }
            let mut made = Self {
                dscp: [NONE; 64],
                protocols: [NONE; 256],
                ports: steps(matches, |wanted| &wanted.ports),
                sizes: steps::<SIZE_STEPS>(matches, |wanted| wanted.sizes.as_slice()),
                portless: NONE.into(),
            };
            for (at, wanted) in matches.iter().enumerate() {
                let bit = 1 << at;
                set(&mut made.dscp, &wanted.dscp, bit);
                set(&mut made.protocols, &wanted.protocols, bit);
                if wanted.ports.is_empty() {
                    made.portless |= u32::from(bit);
                }
            }
            Some(made)
        }
    }

    /// Sets a bit for some values, or for all if there are none.
    fn set(table: &mut [u16], values: &[u8], bit: u16) {
        for (value, classes) in (0..=u8::MAX).zip(table) {
            if values.is_empty() || values.contains(&value) {
                *classes |= bit;
            }
        }
    }

    /// Makes steps of ranges; a class without any takes all values.
    fn steps<const N: usize>(
        matches: &[Match],
        ranges: impl for<'m> Fn(&'m Match) -> &'m [(u16, u16)],
    ) -> [Step; N] {
        let ends = matches.iter().flat_map(&ranges);
        let mut from: Vec<u16> = ends
            .flat_map(|(low, high)| [Some(*low), high.checked_add(1)])
            .flatten()
            .chain([0])
            .collect();
        from.sort_unstable();
        from.dedup();
        let classes = |value| {
            let takes = |wanted: &Match| {
                let ranges = ranges(wanted);
                ranges.is_empty()
                    || ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&value))
            };
            let bits = matches.iter().zip(0..).filter(|(wanted, _)| takes(wanted));
            bits.fold(NONE, |classes, (_, at)| classes | 1 << at)
        };
        // What is behind the last step is found by the largest value alone, for which the same classes are.
        let mut steps = [Step {
            from: u16::MAX,
            classes: classes(u16::MAX),
        }; N];
        for (step, from) in steps.iter_mut().zip(from) {
            *step = Step {
                from,
                classes: classes(from),
            };
        }
        steps
    }

    const _: () = assert!(SIZE_STEPS > 2 * MAX_CLASSES && PORT_STEPS > 2 * MAX_RANGES);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`Classes::label`] should find, asked one class after another.
    #[expect(clippy::cast_possible_truncation, reason = "16 bits each")]
    fn first_of(matches: &[Match], traits: &Traits) -> u32 {
        let takes = |wanted: &Match| {
            let ports = [(traits.ports >> 16) as u16, traits.ports as u16];
            let within = |port: u16| {
                let mut ranges = wanted.ports.iter();
                ranges.any(|(low, high)| (*low..=*high).contains(&port))
            };
            (wanted.dscp.is_empty() || wanted.dscp.contains(&traits.dscp))
                && (wanted.protocols.is_empty() || wanted.protocols.contains(&traits.protocol))
                && (wanted.ports.is_empty()
                    || traits.ports != NO_PORTS && ports.map(within) != [false; 2])
                && wanted
                    .sizes
                    .is_none_or(|(low, high)| (low..=high).contains(&traits.length))
        };
        matches
            .iter()
            .zip(1..)
            .find(|(wanted, _)| takes(wanted))
            .map_or(0, |(_, class)| class)
    }

    fn range(most: u16) -> impl Strategy<Value = (u16, u16)> {
        let any = prop_oneof![0..most, Just(0), Just(u16::MAX), any::<u16>()];
        (any.clone(), any).prop_map(|(a, b)| (a.min(b), a.max(b)))
    }

    fn wanted() -> impl Strategy<Value = Match> {
        (
            prop::collection::vec(0_u8..8, 0..3),
            prop::collection::vec(0_u8..4, 0..3),
            prop::collection::vec(range(20), 0..=4),
            prop::option::of(range(40)),
        )
            .prop_map(|(dscp, protocols, ports, sizes)| Match {
                dscp,
                protocols,
                ports,
                sizes,
            })
    }

    fn traits() -> impl Strategy<Value = Traits> {
        let port = || prop_oneof![0_u16..22, Just(u16::MAX), any::<u16>()];
        let ports = prop_oneof![
            Just(NO_PORTS),
            (port(), port()).prop_map(|(from, to)| Traits::ports([from.to_be(), to.to_be()]))
        ];
        (
            0_u8..9,
            0_u8..5,
            prop_oneof![0_u16..42, Just(u16::MAX)],
            ports,
        )
            .prop_map(|(dscp, protocol, length, ports)| Traits {
                source: 1,
                destination: 2,
                protocol,
                dscp,
                length,
                ports,
            })
    }

    proptest! {
        #[test]
        fn tables_find_the_first_class_that_takes_a_packet(
            matches in prop::collection::vec(wanted(), 0..=MAX_CLASSES),
            packets in prop::collection::vec(traits(), 50),
        ) {
            let classes = Classes::new(&matches).unwrap();
            for traits in packets {
                let label = classes.label(&traits, &Search::new());
                prop_assert_eq!(label.class(), first_of(&matches, &traits));
                prop_assert_eq!(label.flow(), traits.flow());
            }
        }
    }

    #[test]
    fn too_many_are_refused() {
        let one = |ranges| Match {
            ports: (0..ranges).map(|at| (at * 3, at * 3 + 1)).collect(),
            ..Match::default()
        };
        assert!(Classes::new(&[one(63)]).is_some());
        assert!(Classes::new(&[one(32), one(32)]).is_none());
        assert!(Classes::new(&vec![one(1); 15]).is_some());
        assert!(Classes::new(&vec![one(1); 16]).is_none());
    }

    #[test]
    fn the_layout_has_no_hidden_padding() {
        assert_eq!(size_of::<Classes>(), 2 * (64 + 256) + 4 * (128 + 32) + 4);
    }
}
