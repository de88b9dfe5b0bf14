//! Nanoseconds a packet, by `BPF_PROG_TEST_RUN`.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions, Xdp};
use withy::dataplane::{Attachment, Dataplane, Hook, Tables};
use withy_common::maps::{Ivc, Split, Svc};

use super::{
    LIMITS, frames,
    tunnel::{Ends, Way, arriving, ivc, svc},
    uninterrupted,
};
use crate::{
    bench::{
        report::{Measurement, Reach, Unit},
        stats::median,
    },
    lab::home::Home,
    netns::Netns,
};

/// How often the kernel repeats a program within one call.
const REPEAT: u32 = 10_000;
/// Calls of that kind in a run; the median of them counts, for now and then one is interrupted.
const BATCHES: usize = 15;
/// Lone calls in a run.
const LONE: usize = 501;
/// The verdicts of programs.
const XDP_PASS: u32 = 2;
const NEXT: u32 = u32::MAX;
const REDIRECT: u32 = 7;
/// An interface that does not exist: what is redirected to it ends there, at no more than the price
/// of freeing it.
const NOWHERE: u32 = 0x7fff_ffff;
/// So fast that no link is ever busy, which makes each packet set its clock anew: the longer way.
const IDLE: u64 = 1_000_000_000_000;
/// The rate where pieces must arrive together: the virtual clocks tick in nanoseconds, in which a
/// faster link would send several bytes.
const SHARED: u64 = 1_000_000_000;
/// The most links of a case; the counters of each begin at slot 0.
const LINKS: u32 = 4;
/// Pairs that are rewritten into each other, for in a repeated run the packet stays as the program
/// left it.
const HERE: Ends = (Ipv4Addr::new(10, 255, 0, 1), Ipv4Addr::new(10, 255, 0, 2));
const THERE: Ends = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));
/// Remote endpoints of the SVCs that split.
const TWO_LINKS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 3);
const FOUR_LINKS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 4);

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Again and again on one packet.
    Repeated,
    /// Once for each packet, because the packet's length changes. What such a call costs beyond
    /// repetition is measured on a packet that passes at once, and subtracted.
    Lone,
}

/// A program and a packet.
struct Case {
    name: &'static str,
    about: &'static str,
    program: &'static str,
    frame: Vec<u8>,
    verdict: u32,
    method: Method,
    /// How many pieces leave.
    pieces: u64,
    reach: Option<Reach>,
}

/// The programs on maps of their own, in a namespace of their own.
pub(super) struct Programs {
    netns: Netns,
    dataplane: Dataplane,
    tables: Tables,
    cases: Vec<Case>,
    /// For each case, the figure of each run.
    figures: Vec<Vec<f64>>,
}

impl Programs {
    /// Loads the programs and checks what each does with its packet.
    pub(super) fn new(home: &Home) -> Result<Self> {
        let netns = Netns::new("programs")?;
        let dirs = home.gateway("programs")?;
        let mut dataplane = Dataplane::load(&dirs.bpf(), LIMITS)?;
        let mut tables = dataplane.tables()?;
        tables.set_svcs(&svcs())?;
        tables.set_ivcs(&[arriving(HERE, THERE, 0), arriving(THERE, HERE, 1)])?;
        attach_to_loopback(&netns, &mut dataplane, &dirs.run().join("clsact"))?;
        let cases = cases()?;
        let figures = vec![Vec::new(); cases.len()];
        let programs = Self {
            netns,
            dataplane,
            tables,
            cases,
            figures,
        };
        programs.check()?;
        Ok(programs)
    }

    /// Makes sure that each case leaves in as many pieces as it says.
    fn check(&self) -> Result<()> {
        for case in &self.cases {
            let before = self.pieces()?;
            self.netns.enter(|| call(&self.dataplane, case, 1))?;
            let pieces = self.pieces()? - before;
            ensure!(
                pieces == case.pieces,
                "{}: {pieces} pieces instead of {}",
                case.name,
                case.pieces
            );
        }
        Ok(())
    }

    /// Returns how many pieces have left so far.
    fn pieces(&self) -> Result<u64> {
        (0..LINKS).try_fold(0, |sum, slot| {
            Ok(sum + self.tables.counters(slot)?.tx.pieces)
        })
    }

    /// Measures every case once.
    pub(super) fn measure(&mut self) -> Result<()> {
        let (dataplane, cases) = (&self.dataplane, &self.cases);
        let run = self.netns.enter(|| one_run(dataplane, cases))?;
        for (figures, figure) in self.figures.iter_mut().zip(run) {
            figures.push(figure);
        }
        Ok(())
    }

    /// Sums up, after making sure that no packet was dropped.
    pub(super) fn results(self) -> Result<Vec<Measurement>> {
        for (reason, count) in self.tables.drops()? {
            ensure!(count == 0, "{count} packets were dropped: {reason}");
        }
        self.cases
            .into_iter()
            .zip(self.figures)
            .map(|(case, figures)| {
                let measured =
                    Measurement::new(case.name, case.about, Unit::NanosecondsPerPacket, figures)?;
                Ok(match case.reach {
                    Some(reach) => measured.reach(reach),
                    None => measured,
                })
            })
            .collect()
    }
}

/// Puts `bundle_tx` where clones of a test run leave, so that they enter it again as they do in a
/// bundle device.
fn attach_to_loopback(netns: &Netns, dataplane: &mut Dataplane, notes: &Path) -> Result<()> {
    let loopback = Attachment {
        hook: Hook::BundleTx,
        interface: "lo".into(),
        ifindex: netns.link_index("lo")?,
    };
    let attached = netns.enter(|| Ok(dataplane.attach(&[loopback], notes)))?;
    for result in attached {
        result?;
    }
    Ok(())
}

fn svcs() -> [(Ipv4Addr, Svc); 4] {
    let links = |ends: Ends, rate: u64| -> Vec<Ivc> {
        let way = Way {
            ifindex: NOWHERE,
            next_hop: ends.1,
            rate,
        };
        (0..LINKS).map(|at| ivc(ends, way, at)).collect()
    };
    let (there, here, shared) = (links(THERE, IDLE), links(HERE, IDLE), links(THERE, SHARED));
    [
        (HERE.1, svc(HERE.0, 0, Split::Mtu, &there)),
        (THERE.1, svc(THERE.0, 1, Split::Mtu, &here)),
        (TWO_LINKS, svc(HERE.0, 2, Split::Mtu, &there[..2])),
        (FOUR_LINKS, svc(HERE.0, 3, Split::Always, &shared)),
    ]
}

fn cases() -> Result<Vec<Case>> {
    let case = |name, about, program, frame, verdict| Case {
        name,
        about,
        program,
        frame,
        verdict,
        method: Method::Repeated,
        pieces: 0,
        reach: None,
    };
    let lone = |name, about, pieces, frame| Case {
        method: Method::Lone,
        pieces,
        ..case(name, about, "bundle_tx", frame, REDIRECT)
    };
    let whole = || frames::esp(HERE.0, HERE.1, 1480);
    Ok(vec![
        case(
            "program.pass_xdp",
            "a packet that passes at once, XDP",
            "link_rx_xdp",
            frames::arp(),
            XDP_PASS,
        ),
        case(
            "program.pass_tc",
            "a packet that passes at once, TC",
            "link_rx_tc",
            frames::arp(),
            NEXT,
        ),
        Case {
            reach: Some(Reach::AtMost(100.0)),
            ..case(
                "program.link_rx_xdp",
                "link_rx, XDP",
                "link_rx_xdp",
                whole()?,
                XDP_PASS,
            )
        },
        Case {
            reach: Some(Reach::AtMost(100.0)),
            ..case(
                "program.link_rx_tc",
                "link_rx, TC",
                "link_rx_tc",
                whole()?,
                NEXT,
            )
        },
        Case {
            pieces: 1,
            reach: Some(Reach::AtMost(200.0)),
            ..case(
                "program.bundle_tx_whole",
                "bundle_tx, whole, four links",
                "bundle_tx",
                whole()?,
                REDIRECT,
            )
        },
        lone(
            "program.bundle_tx_whole_shim",
            "bundle_tx, whole, UDP shim stripped",
            1,
            frames::shimmed(HERE.0, HERE.1, 1488)?,
        ),
        lone(
            "program.bundle_tx_two_pieces",
            "bundle_tx, two pieces, two links",
            2,
            frames::esp(HERE.0, TWO_LINKS, 1520)?,
        ),
        lone(
            "program.bundle_tx_four_pieces",
            "bundle_tx, always, four pieces on four links",
            4,
            frames::esp(HERE.0, FOUR_LINKS, 1480)?,
        ),
    ])
}

/// Returns a figure for each case.
fn one_run(dataplane: &Dataplane, cases: &[Case]) -> Result<Vec<f64>> {
    let pass = cases
        .iter()
        .find(|case| case.name == "program.pass_tc")
        .context("no case passes at once")?;
    let overhead = batches(dataplane, pass, 1, LONE)? - batches(dataplane, pass, REPEAT, BATCHES)?;
    cases
        .iter()
        .map(|case| match case.method {
            Method::Repeated => batches(dataplane, case, REPEAT, BATCHES),
            Method::Lone => Ok(batches(dataplane, case, 1, LONE)? - overhead),
        })
        .collect()
}

/// Returns the median time a packet, in nanoseconds, over `calls` calls.
fn batches(dataplane: &Dataplane, case: &Case, repeat: u32, calls: usize) -> Result<f64> {
    let times = (0..calls)
        .map(|_| uninterrupted(|| call(dataplane, case, repeat)))
        .collect::<Result<Vec<_>>>()?;
    median(&times).context("nothing was run")
}

fn call(dataplane: &Dataplane, case: &Case, repeat: u32) -> Result<f64> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(&case.frame);
    options.repeat = repeat;
    let result = match dataplane.program(case.program)? {
        Program::Xdp(program) => <Xdp as TestRun>::test_run(program, options),
        Program::SchedClassifier(program) => {
            <SchedClassifier as TestRun>::test_run(program, options)
        }
        other => bail!("{other:?} cannot be run on a packet"),
    }?;
    ensure!(
        result.return_value == case.verdict,
        "{}: verdict {} instead of {}",
        case.name,
        result.return_value,
        case.verdict
    );
    Ok(result.duration.as_secs_f64() * 1e9)
}
