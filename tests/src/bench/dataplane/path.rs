//! Packets a second, from the stack through two links to a count at the far end.
//!
//! Frames are made in the kernel: a program runs on live frames (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`, kernel 5.18) and hands each to the IP layer, which forwards it to a
//! bundle device. So the sender costs a few hundred nanoseconds where a socket would cost a
//! microsecond and more, and what XFRM would hand over is handed over: whole packets in one buffer,
//! longer than the links' MTU. Each way ends in the same programs at the far ends of the links.
//! All of it happens on one processor: the time a packet is the sum of all work done for it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
    programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp},
};

use super::{
    frames::{self, HEADERS},
    topology::{LOCAL, Topology, Toward, own_map, own_program},
    uninterrupted,
};
use crate::{
    bench::{
        report::{Measurement, Reach, Unit},
        stats::median,
    },
    lab::home::Home,
};

/// Packets of one case in one round.
const PACKETS: u32 = 1 << 13;
/// Rounds through all cases in a run; the median of them counts, for now and then one is disturbed.
const ROUNDS: usize = 10;
/// Packets that the kernel makes before it lets them go on together.
const BATCH: u32 = 64;
/// The lengths of packets: what fits a link whole, and what a LAN's full packet becomes in ESP.
const FITS: u16 = 1480;
const TOO_LONG: u16 = 1520;

/// A stream of packets.
struct Case {
    name: &'static str,
    about: &'static str,
    toward: Toward,
    len: u16,
    /// How many pieces of each packet arrive.
    pieces: u32,
}

const CASES: [Case; 5] = [
    Case {
        name: "path.source",
        about: "source and IP forwarding alone, 1,480 bytes",
        toward: Toward::Void,
        len: FITS,
        pieces: 1,
    },
    Case {
        name: "path.whole_plain",
        about: "whole, 1,480 bytes, plain steering",
        toward: Toward::Plain,
        len: FITS,
        pieces: 1,
    },
    Case {
        name: "path.whole_withy",
        about: "whole, 1,480 bytes, bundle_tx",
        toward: Toward::Withy,
        len: FITS,
        pieces: 1,
    },
    Case {
        name: "path.split_kernel",
        about: "1,520 bytes, the kernel fragments, plain steering",
        toward: Toward::Plain,
        len: TOO_LONG,
        pieces: 2,
    },
    Case {
        name: "path.split_withy",
        about: "1,520 bytes, bundle_tx splits in two",
        toward: Toward::Withy,
        len: TOO_LONG,
        pieces: 2,
    },
];

/// How two cases of one round compare: the first's packets a second over the second's.
struct Ratio {
    name: &'static str,
    about: &'static str,
    /// Places in [`CASES`].
    of: [usize; 2],
    reach: Option<Reach>,
}

const RATIOS: [Ratio; 2] = [
    Ratio {
        name: "path.whole_ratio",
        about: "whole: bundle_tx over plain steering",
        of: [2, 1],
        reach: None,
    },
    Ratio {
        name: "path.split_ratio",
        about: "split: bundle_tx over the kernel's fragmentation",
        of: [4, 3],
        reach: Some(Reach::MoreThan(1.0)),
    },
];

/// The paths, and what was measured on them.
pub(super) struct Paths {
    topology: Topology,
    /// For each case, the packets a second of each run.
    figures: Vec<Vec<f64>>,
    /// The same for each ratio.
    ratios: Vec<Vec<f64>>,
}

impl Paths {
    /// Makes the paths and sends a few packets over each, so that neighbours are known.
    pub(super) fn new(home: &Home, objects: &Path) -> Result<Self> {
        let mut topology = Topology::new(home, objects)?;
        for case in &CASES {
            uninterrupted(|| send(&mut topology, case, BATCH))?;
        }
        Ok(Self {
            topology,
            figures: vec![Vec::new(); CASES.len()],
            ratios: vec![Vec::new(); RATIOS.len()],
        })
    }

    /// Measures every case once.
    pub(super) fn measure(&mut self) -> Result<()> {
        let rounds = (0..ROUNDS)
            .map(|number| self.round(number % 2 == 1))
            .collect::<Result<Vec<_>>>()?;
        let over_rounds = |figure: &dyn Fn(&[f64]) -> f64| {
            let figures: Vec<_> = rounds.iter().map(|times| figure(times)).collect();
            median(&figures).context("nothing was sent")
        };
        for (case, figures) in self.figures.iter_mut().enumerate() {
            figures.push(over_rounds(&|times| 1e9 / times[case])?);
        }
        for (ratio, figures) in RATIOS.iter().zip(&mut self.ratios) {
            let [above, below] = ratio.of;
            // Of times, the other way round than of packets a second.
            figures.push(over_rounds(&|times| times[below] / times[above])?);
        }
        Ok(())
    }

    /// Sends packets of every case, in the order of the table or backwards; returns the time a packet
    /// of each, in nanoseconds.
    fn round(&mut self, backwards: bool) -> Result<[f64; CASES.len()]> {
        let mut times = [0.0; CASES.len()];
        for at in 0..CASES.len() {
            let at = if backwards { CASES.len() - 1 - at } else { at };
            times[at] = uninterrupted(|| self.measure_one(&CASES[at]))?;
        }
        Ok(times)
    }

    /// Returns the time a packet, in nanoseconds, after making sure that all have arrived.
    fn measure_one(&mut self, case: &Case) -> Result<f64> {
        let before = arrived(&mut self.topology.programs)?;
        let time = send(&mut self.topology, case, PACKETS)?;
        let count = arrived(&mut self.topology.programs)? - before;
        ensure!(
            count == u64::from(PACKETS * case.pieces),
            "{}: {count} pieces of {PACKETS} packets arrived",
            case.name
        );
        Ok(time)
    }

    /// Sums up.
    pub(super) fn results(self) -> Result<Vec<Measurement>> {
        let mut results = CASES
            .iter()
            .zip(self.figures)
            .map(|(case, figures)| {
                Measurement::new(case.name, case.about, Unit::PacketsPerSecond, figures)
            })
            .collect::<Result<Vec<_>>>()?;
        for (ratio, figures) in RATIOS.iter().zip(self.ratios) {
            let measured = Measurement::new(ratio.name, ratio.about, Unit::Ratio, figures)?;
            results.push(match ratio.reach {
                Some(reach) => measured.reach(reach),
                None => measured,
            });
        }
        Ok(results)
    }
}

/// Sends packets of a case; returns the time that each took, in nanoseconds.
fn send(topology: &mut Topology, case: &Case, packets: u32) -> Result<f64> {
    let frame = frames::esp(LOCAL, case.toward.address(), case.len)?;
    let headers: [u8; HEADERS] = *frame.first_chunk().context("a frame without headers")?;
    let mut map: Array<&mut MapData, [u8; HEADERS]> = own_map(&mut topology.programs, "HEADERS")?;
    map.set(0, headers, 0)?;
    let source: &mut Xdp = own_program(&mut topology.programs, "source")?;
    let result = topology.gateway.enter(|| {
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.repeat = packets;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        Ok(source.test_run(options)?)
    })?;
    Ok(result.duration.as_secs_f64() * 1e9)
}

/// Returns how many packets have reached the sink.
fn arrived(programs: &mut Ebpf) -> Result<u64> {
    let map: PerCpuArray<&mut MapData, [u64; 2]> = own_map(programs, "ARRIVED")?;
    Ok(map.get(&0, 0)?.iter().map(|[packets, _]| packets).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_compare_the_product_with_what_it_stands_beside() {
        for ratio in &RATIOS {
            let [above, below] = ratio.of.map(|at| &CASES[at]);
            assert_eq!((above.toward, below.toward), (Toward::Withy, Toward::Plain));
            assert_eq!((above.len, above.pieces), (below.len, below.pieces));
        }
    }
}
