//! Who may begin a handshake: strangers must take neither the processor nor the memory.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusals::Refusal;

/// What a listener spends on connections that have yet to show a known key.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many handshakes may be under way.
    pub handshakes: usize,
    /// How many of them from one address. A failed one counts until its time is over, so that one address cannot use up
    /// the rate.
    pub per_source: usize,
    /// How long each may take.
    pub time: Duration,
    /// How many may begin per second in the long run.
    pub rate: u32,
    /// How many may begin at once.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            per_source: 8,
            time: Duration::from_secs(5),
            rate: 200,
            burst: 400,
        }
    }
}

/// Lets connections begin their handshakes, or not.
#[derive(Debug)]
pub(super) struct Gate {
    bucket: Bucket,
    permits: Arc<Semaphore>,
    sources: Sources,
}

/// The right to a handshake.
#[derive(Debug)]
pub(super) struct Pass {
    /// That of all.
    pub(super) permit: OwnedSemaphorePermit,
    /// That of the address.
    pub(super) place: Place,
}

impl Gate {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            bucket: Bucket::new(limits.rate, limits.burst, now),
            permits: Arc::new(Semaphore::new(limits.handshakes)),
            sources: Sources::new(limits.per_source),
        }
    }

    /// Asks for a handshake. The rate comes last, for what is refused before must not use it up.
    pub(super) fn admit(&mut self, source: Ipv4Addr, now: Instant) -> Result<Pass, Refusal> {
        let place = self.sources.enter(source).ok_or(Refusal::HalfOpen)?;
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Refusal::HalfOpen)?;
        if self.bucket.take(now) {
            Ok(Pass { permit, place })
        } else {
            Err(Refusal::Rate)
        }
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            rate: f64::from(rate),
            burst: f64::from(burst),
            tokens: f64::from(burst),
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

/// Counts handshakes by address.
#[derive(Clone, Debug)]
struct Sources {
    counts: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
    limit: usize,
}

impl Sources {
    fn new(limit: usize) -> Self {
        Self {
            counts: Arc::default(),
            limit,
        }
    }

    fn enter(&self, source: Ipv4Addr) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place {
            sources: self.clone(),
            source,
        })
    }

    fn leave(&self, source: Ipv4Addr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

/// One handshake of an address; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    sources: Sources,
    source: Ipv4Addr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sources.leave(self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

    fn gate(handshakes: usize, per_source: usize, rate: u32, burst: u32, now: Instant) -> Gate {
        let limits = Limits {
            handshakes,
            per_source,
            rate,
            burst,
            ..Limits::default()
        };
        Gate::new(&limits, now)
    }

    #[test]
    fn one_address_takes_no_more_than_its_part() {
        let now = Instant::now();
        let mut gate = gate(3, 2, 0, 3, now);
        let first = gate.admit(ONE, now).unwrap();
        let _second = gate.admit(ONE, now).unwrap();
        // What is refused uses nothing up, or the other address would get nothing below.
        for _ in 0..10 {
            assert_eq!(gate.admit(ONE, now).unwrap_err(), Refusal::HalfOpen);
        }
        let _third = gate.admit(OTHER, now).unwrap();
        assert_eq!(gate.admit(OTHER, now).unwrap_err(), Refusal::HalfOpen);
        drop(first);
        assert_eq!(gate.admit(OTHER, now).unwrap_err(), Refusal::Rate);
    }

    #[test]
    fn addresses_are_forgotten() {
        let now = Instant::now();
        let mut gate = gate(9, 1, 0, 9, now);
        drop(gate.admit(ONE, now).unwrap());
        drop(gate.admit(ONE, now).unwrap());
        assert!(gate.sources.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn the_rate_holds_in_the_long_run_and_the_burst_at_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, 3, start);
        let taken = |bucket: &mut Bucket, now| (0..9).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_mins(1)), 3);
        // A clock that goes back gives nothing and breaks nothing.
        assert_eq!(taken(&mut bucket, start), 0);
    }
}
