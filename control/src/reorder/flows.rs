//! What TCP connections want next.

use super::Kin;

/// How many connections are remembered; a power of two. One that takes another's place costs no more than a wait.
const PLACES: usize = 1_024;

/// What was handed on last of each connection.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Option<(u32, u32)>>);

impl Flows {
    /// Whether a packet is what its connection wants next, or is sent again: what fills a gap must not wait.
    pub(super) fn follows(&self, kin: &Kin) -> bool {
        let Some((first, _)) = kin.bytes else {
            return false;
        };
        let known = self.0.get(place(kin.flow)).copied().flatten();
        known.is_some_and(|(flow, next)| flow == kin.flow && !is_ahead(first, next))
    }

    /// Remembers what is handed on.
    pub(super) fn pass(&mut self, kin: &Kin) {
        let Some((_, next)) = kin.bytes else { return };
        // Most tunnels of a hub are idle: memory is for those that are not.
        if self.0.is_empty() {
            self.0 = vec![None; PLACES];
        }
        let place = &mut self.0[place(kin.flow)];
        match place {
            Some((flow, old)) if *flow == kin.flow && !is_ahead(next, *old) => {}
            _ => *place = Some((kin.flow, next)),
        }
    }
}

/// Whether a TCP number comes after another (RFC 9293 section 3.4).
fn is_ahead(number: u32, other: u32) -> bool {
    number != other && number.wrapping_sub(other) < 1 << 31
}

fn place(flow: u32) -> usize {
    flow as usize % PLACES
}
