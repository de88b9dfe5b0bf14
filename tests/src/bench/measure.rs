//! Measuring one system that is up.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use super::cpu::Spent;
use crate::{
    lab::{Lab, LabBuilder},
    peers::{Running, System},
    traffic::{
        bulk::{Bulk, Flow},
        stream::{StreamPlan, StreamReport},
        udp::Probe,
    },
};

/// Payload of a datagram of the UDP load, in bytes: as large as gets through every tunnel whole.
pub(super) const DATAGRAM: u16 = 1200;

/// Processors that others may take of a machine that is to be measured as a whole.
pub(super) const MOST_OTHERS: f64 = 0.1;

/// How long the idle machine is watched.
const IDLE: Duration = Duration::from_secs(1);

/// A stretch of time that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// What TCP got, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tcp {
    /// Bits a second that the receivers read.
    pub(super) goodput_bps: f64,
    /// Seconds of processor time of the system's processes for each gigabyte (10^9 bytes) read; none where only the
    /// kernel works.
    pub(super) processes_per_gb: Option<f64>,
    /// Seconds of processor time of the whole machine for each gigabyte, less what it takes idle; none where others take
    /// so much of it that the difference would say nothing.
    pub(super) machine_per_gb: Option<f64>,
}

/// A stretch of TCP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) tcp: Tcp,
    pub(super) span: Span,
    /// The segments' size in bytes of payload, if the kernel tells.
    pub(super) segment: Option<u32>,
}

/// Makes a lab, starts a system in it and hands both over, on a thread of their own; then everything is taken down.
pub(super) fn with_system<T: Send>(
    lab: impl FnOnce() -> LabBuilder + Send,
    system: &(dyn System + Sync),
    work: impl FnOnce(&Lab, &dyn Running) -> Result<T> + Send,
) -> Result<T> {
    // A lab changes the mount namespace of its thread, so that thread must not be used again.
    thread::scope(|scope| {
        let stage = || {
            let lab = lab().build()?;
            for site in lab.sites() {
                site.offload_lan()?;
            }
            let running = system.start(&lab)?;
            work(&lab, running.as_ref())
        };
        let thread = thread::Builder::new()
            .name(system.name().to_owned())
            .spawn_scoped(scope, stage)?;
        thread
            .join()
            .unwrap_or_else(|_panic| Err(anyhow!("the bench of {} panicked", system.name())))
    })
}

/// Processor time that the machine takes each second with a system up and nothing to carry.
pub(super) fn idle(running: &dyn Running) -> Result<f64> {
    let processes = running.processes();
    let (before, start) = (Spent::now(&processes)?, Instant::now());
    thread::sleep(IDLE);
    let spent = Spent::now(&processes)?.since(before);
    Ok(spent.machine.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// Runs streams for `time`, after they have had `warm` to find their rates. `idle` is what the machine takes each second
/// by itself.
pub(super) fn tcp(
    running: &dyn Running,
    streams: u16,
    (warm, time): (Duration, Duration),
    idle: f64,
) -> Result<Stretch> {
    let processes = running.processes();
    let bulk = Bulk::start(&running.flow()?, streams)?;
    thread::sleep(warm);
    let (before, bytes, from) = (Spent::now(&processes)?, bulk.received(), Instant::now());
    thread::sleep(time);
    let (after, bytes, to) = (
        Spent::now(&processes)?,
        bulk.received() - bytes,
        Instant::now(),
    );
    let segment = bulk.finish()?;
    ensure!(
        bytes > 0,
        "{streams} stream(s): nothing arrived in {time:?}"
    );
    let with_processes = !processes.is_empty();
    let spent = after.since(before);
    Ok(Stretch {
        tcp: costs(spent, (bytes, to - from), idle, with_processes),
        span: Span { from, to },
        segment,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement; 2^52 bytes are exact"
)]
fn costs(spent: Spent, (bytes, time): (u64, Duration), idle: f64, with_processes: bool) -> Tcp {
    let (bytes, seconds) = (bytes as f64, time.as_secs_f64());
    let gigabytes = bytes / 1e9;
    let machine = (spent.machine.as_secs_f64() - idle * seconds).max(0.0);
    Tcp {
        goodput_bps: bytes * 8.0 / seconds,
        processes_per_gb: with_processes.then(|| spent.processes.as_secs_f64() / gigabytes),
        machine_per_gb: (idle <= MOST_OTHERS).then_some(machine / gigabytes),
    }
}

/// Sends datagrams of [`DATAGRAM`] bytes at a rate in bits a second of payload, for `time` after `warm`, of which nothing
/// counts. Says also when that was.
pub(super) fn udp(
    flow: &Flow,
    payload_bps: f64,
    (warm, time): (Duration, Duration),
) -> Result<(StreamReport, Span)> {
    let bits = f64::from(DATAGRAM) * 8.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "datagrams a second of links in a lab"
    )]
    let per_second = (payload_bps / bits).round().max(1.0) as u32;
    let probe = Probe::new(&flow.from, &flow.to, flow.address);
    let plan = StreamPlan {
        size: usize::from(DATAGRAM),
        per_second,
        duration: warm + time,
    };
    let from = Instant::now() + warm;
    let report = probe.stream_after(plan, warm)?.finish()?;
    let to = from + time;
    Ok((report, Span { from, to }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_what_is_spent_less_what_idling_takes() {
        let spent = Spent {
            processes: Duration::from_secs(1),
            machine: Duration::from_secs(3),
        };
        let two_seconds = Duration::from_secs(2);
        let tcp = costs(spent, (500_000_000, two_seconds), 0.05, true);
        assert!((tcp.goodput_bps - 2e9).abs() < 1.0);
        assert!((tcp.processes_per_gb.unwrap() - 2.0).abs() < 1e-9);
        assert!((tcp.machine_per_gb.unwrap() - 5.8).abs() < 1e-9);
        let busy = costs(spent, (500_000_000, two_seconds), 1.5, false);
        assert_eq!((busy.processes_per_gb, busy.machine_per_gb), (None, None));
    }
}
