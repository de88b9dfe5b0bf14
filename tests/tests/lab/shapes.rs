//! Links are what their shapes say, with real packets. The arithmetic of each is tested in virtual
//! time, where it stands.

use std::{fs, thread, time::Instant};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;
use withy_tests::{
    lab::{Lab, LinkSpec, PlainRouting},
    shape::{QueueLength, Shape, Trace, port::Emulation},
    traffic::{
        stream::{StreamPlan, StreamReport},
        udp::Probe,
    },
};

use crate::{ms, turn};

/// What a machine may add to each frame's delay before a figure says more about it than about the
/// link; and how often it is given another chance.
const TOLERANCE: std::time::Duration = ms(2);
const ATTEMPTS: u32 = 5;

/// A lab of one link, with the lab's own emulator.
struct OneLink {
    lab: Lab,
}

impl OneLink {
    fn new(shape: Shape) -> Result<Self> {
        let back = Shape::new(100_000_000, ms(1));
        let link = LinkSpec::new("wan0", shape).down(back);
        let lab = Lab::paired(&[link])
            .emulation(Emulation::Userspace)
            .seed(7)
            .build()?;
        Ok(Self { lab })
    }

    /// Datagrams from `a` to `b`.
    fn probe(&self) -> Result<(Probe, PlainRouting)> {
        let plain = self.lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
        let (a, b) = (self.lab.site("a")?, self.lab.site("b")?);
        let probe = Probe::new(a.host(), b.host(), b.lan().host);
        // Resolves addresses along the way.
        probe.echo([1], ms(2_000))?;
        Ok((probe, plain))
    }

    /// Dropped and lost on the way from `a` to `b`.
    fn losses(&self) -> Result<(u64, u64)> {
        let losses = self.lab.site("a")?.link("wan0")?.losses();
        let (up, _) = losses.context("no losses are counted")?;
        Ok((up.dropped, up.lost))
    }

    /// Runs `measure` until the emulator was in time meanwhile; the last result counts in any case.
    fn honestly<T>(&self, mut measure: impl FnMut() -> Result<T>) -> Result<T> {
        for attempt in 1.. {
            let before = self.lab.conduct()?.context("not the lab's own emulator")?;
            let measured = measure()?;
            let after = self.lab.conduct()?.context("not the lab's own emulator")?;
            let conduct = after.since(&before);
            println!("{conduct}");
            if conduct.is_honest(TOLERANCE) || attempt == ATTEMPTS {
                return Ok(measured);
            }
        }
        unreachable!("the last attempt returns")
    }
}

fn stream(probe: &Probe, size: usize, per_second: u32) -> Result<StreamReport> {
    let plan = StreamPlan {
        size,
        per_second,
        duration: ms(2_000),
    };
    probe.stream(plan)?.finish()
}

#[test]
fn a_link_that_is_full_carries_its_rate() -> Result<()> {
    const RATE: f64 = 40e6;
    let _turn = turn();
    let link = OneLink::new(Shape::new(40_000_000, ms(10)))?;
    let (probe, _plain) = link.probe()?;
    let gateway = link.lab.site("b")?.link("wan0")?;
    // Half as much again as the link carries.
    let flood = probe.flood(1_472, 5_000)?;
    thread::sleep(ms(500));
    let ratio = link.honestly(|| {
        let (start, first) = (Instant::now(), gateway.counters()?.rx_bytes);
        thread::sleep(ms(2_000));
        let bytes = u32::try_from(gateway.counters()?.rx_bytes - first)?;
        Ok(f64::from(bytes) * 8.0 / start.elapsed().as_secs_f64() / RATE)
    })?;
    flood.finish()?;
    assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
    assert!(link.losses()?.0 > 0);
    Ok(())
}

#[test]
fn an_idle_link_takes_its_latency_and_little_more() -> Result<()> {
    let _turn = turn();
    // A frame of 142 bytes takes 11 µs.
    let link = OneLink::new(Shape::new(100_000_000, ms(20)))?;
    let (probe, _plain) = link.probe()?;
    let report = link.honestly(|| stream(&probe, 100, 200))?;
    let delay = |share| report.delay(share).context("nothing came");
    assert_eq!(report.lost(), 0);
    assert!(delay(0.0)? >= ms(20), "{:?}", delay(0.0)?);
    assert!(delay(0.5)? < ms(21), "{:?}", delay(0.5)?);
    Ok(())
}

#[test]
fn a_link_without_latency_is_prompt() -> Result<()> {
    let _turn = turn();
    let link = OneLink::new(Shape::new(100_000_000, ms(0)))?;
    let (probe, _plain) = link.probe()?;
    let report = link.honestly(|| stream(&probe, 100, 200))?;
    let median = report.delay(0.5).context("nothing came")?;
    assert!(median < ms(1), "{median:?}");
    Ok(())
}

#[test]
fn jitter_spreads_delays_evenly() -> Result<()> {
    let _turn = turn();
    let link = OneLink::new(Shape::new(100_000_000, ms(12)).jitter(ms(4)))?;
    let (probe, _plain) = link.probe()?;
    // So far apart that hardly any waits for the one before.
    let report = link.honestly(|| stream(&probe, 100, 125))?;
    let delay = |share| report.delay(share).context("nothing came");
    assert!(delay(0.0)? >= ms(8), "{:?}", delay(0.0)?);
    // 250 samples: a quantile's standard deviation is a thirtieth of the spread at most. A receiver
    // that has to wait for its processor adds to that.
    for (share, expected) in [
        (0.1, 8.8),
        (0.25, 10.0),
        (0.5, 12.0),
        (0.75, 14.0),
        (0.9, 15.2),
    ] {
        let off = delay(share)?.as_secs_f64() * 1e3 - expected;
        assert!((-1.0..2.0).contains(&off), "{off} ms at {share}");
    }
    Ok(())
}

#[test]
fn losses_are_the_ones_that_are_counted() -> Result<()> {
    let _turn = turn();
    let link = OneLink::new(Shape::new(100_000_000, ms(2)).bursts(0.1, 5.0))?;
    let (probe, _plain) = link.probe()?;
    let before = link.losses()?;
    let report = stream(&probe, 100, 2_000)?;
    let after = link.losses()?;
    assert_eq!(after.0, 0, "nothing is dropped");
    assert_eq!(report.lost(), after.1 - before.1);
    // About 80 bursts, of which the number and the length deviate by a ninth each: four deviations.
    let ratio = report.loss_ratio();
    assert!((0.04..0.16).contains(&ratio), "{ratio}");
    Ok(())
}

#[test]
fn a_recorded_link_carries_what_was_recorded_when_it_was() -> Result<()> {
    let _turn = turn();
    // Eleven packets within 50 ms, and then none for 150 ms, over and over.
    let times = (0..=10).map(|n| n * 5).chain([200]);
    let lines: Vec<String> = times.map(|time: u32| format!("{time}\n")).collect();
    let file = NamedTempFile::new()?;
    fs::write(file.path(), lines.concat())?;
    let shape = Shape::recorded(Trace::read(file.path())?, ms(10));
    let link = OneLink::new(shape.queue(QueueLength::Packets(100)))?;
    let (probe, _plain) = link.probe()?;
    let report = link.honestly(|| stream(&probe, 1_472, 200))?;
    // Some two seconds, in each of which the link carries 60 packets, and what its queue holds then.
    assert!(
        (200..=260).contains(&report.received),
        "{}",
        report.received
    );
    // A receiver that has to wait for its processor sees longer ones.
    assert!(report.longest_gap > ms(145), "{:?}", report.longest_gap);
    Ok(())
}

#[test]
fn a_queue_holds_as_much_as_it_says() -> Result<()> {
    const QUEUE: u32 = 20;
    let _turn = turn();
    // A frame takes 12 ms, and the burst no time.
    let shape = Shape::new(1_000_000, ms(5)).queue(QueueLength::Packets(QUEUE));
    let link = OneLink::new(shape)?;
    let (probe, _plain) = link.probe()?;
    let plan = StreamPlan {
        size: 1_472,
        per_second: 1_000_000,
        duration: std::time::Duration::from_micros(99),
    };
    for _ in 0..ATTEMPTS {
        let before = link.losses()?;
        let start = Instant::now();
        let stream = probe.stream(plan)?;
        let report = stream.finish()?;
        let dropped = link.losses()?.0 - before.0;
        ensure!(report.lost() == dropped, "{report:?}, {dropped} dropped");
        println!(
            "{} of {} in {:?}",
            report.received,
            report.sent,
            start.elapsed()
        );
        // A sender that is interrupted for as long as a frame takes leaves room for one more.
        if report.received == u64::from(QUEUE) {
            return Ok(());
        }
    }
    panic!("the queue never held {QUEUE}");
}
