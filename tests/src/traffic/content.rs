//! What transfers carry: pseudo-random bytes that a seed decides, with a marker strewn in.

/// A marker is repeated at this distance, in bytes, so that nearly every packet holds a whole one.
const MARKER_DISTANCE: usize = 512;

/// An endless stream of bytes.
pub(super) struct Content {
    random: fastrand::Rng,
    marker: Vec<u8>,
}

impl Content {
    pub(super) fn new(seed: u64, marker: &[u8]) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            marker: marker.to_vec(),
        }
    }

    /// Fills the next block of the stream. The marker stands at the start of each
    /// [`MARKER_DISTANCE`] of it; random bytes do not compress and do not look like anything.
    pub(super) fn fill(&mut self, block: &mut [u8]) {
        self.random.fill(block);
        if self.marker.is_empty() {
            return;
        }
        for stretch in block.chunks_mut(MARKER_DISTANCE) {
            if let Some(place) = stretch.get_mut(..self.marker.len()) {
                place.copy_from_slice(&self.marker);
            }
        }
    }
}
