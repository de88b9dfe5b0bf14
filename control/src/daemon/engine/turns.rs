//! Whose turn it is to number packets of an SA and send them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many SAs have turns of their own; others share them.
const PLACES: usize = 64;

/// The turns of all SAs.
pub(super) struct Turns([Mutex<()>; PLACES]);

/// A turn: until it is dropped nobody else numbers packets of the SA.
pub(super) struct Turn<'t> {
    place: usize,
    _held: MutexGuard<'t, ()>,
}

impl Default for Turns {
    fn default() -> Self {
        Self([const { Mutex::new(()) }; PLACES])
    }
}

impl Turns {
    /// The place of an SA.
    pub(super) fn place(&self, spi: u32) -> usize {
        spi as usize % self.0.len()
    }

    /// Waits for a turn. Whoever does has none, so nobody waits for ever.
    pub(super) fn take(&self, place: usize) -> Turn<'_> {
        let held = self.0[place].lock().unwrap_or_else(PoisonError::into_inner);
        Turn { place, _held: held }
    }
}

impl Turn<'_> {
    /// Whether it is that of a place.
    pub(super) const fn is(&self, place: usize) -> bool {
        self.place == place
    }
}
