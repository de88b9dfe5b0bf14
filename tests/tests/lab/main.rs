//! The lab itself, on the kernel at hand. Needs root.

mod links;
mod processes;
mod shapes;
mod traffic;

use std::{
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use withy_tests::{
    netns::Netns,
    traffic::icmp::{Ping, ping},
};

/// Measurements share the machine's few cores, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The fastest of a few pings: what a busy machine adds to some says nothing about the link. The
/// first ones also resolve addresses along the way.
fn fastest(from: &Netns, to: Ipv4Addr) -> Result<Duration> {
    let mut fastest = None;
    for _ in 0..5 {
        if let Ping::Reply { rtt } = ping(from, to, 56, true, ms(2_000))? {
            fastest = Some(fastest.unwrap_or(rtt).min(rtt));
        }
    }
    fastest.with_context(|| format!("{to} does not answer"))
}
