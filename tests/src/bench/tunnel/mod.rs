//! One tunnel as fast as the machine can: goodput, and what it costs, of Withy and of what one would otherwise pick.

mod aead;
mod systems;

use std::{borrow::Cow, path::PathBuf, time::Duration};

use anyhow::Result;

pub use self::systems::Engine;
use self::systems::Entry;
use super::{
    choose::choose,
    figures::{Figures, Metric},
    measure::{self, Tcp},
    report::{Legend, Machine, Report, Skipped, Unit},
};
use crate::{
    lab::{Lab, LabBuilder, LinkSpec},
    peers::{System, described},
    shape::{Shape, port::Emulation},
};

/// The first part of all names.
const PROFILE: &str = "unlimited";

/// What the AEAD alone is called.
const AEAD: &str = "aead";

/// What Withy takes the links for: far more than the machine can do.
const RATE_BPS: u64 = 10_000_000_000;
const LATENCY: Duration = Duration::from_micros(100);

/// What streams have to find their rates, at least.
const WARM: Duration = Duration::from_millis(500);

/// How long the AEAD alone is measured.
const AEAD_TIME: Duration = Duration::from_millis(500);

static ONE: [Metric; 3] = metrics(
    ["tcp1.goodput", "tcp1.cpu", "tcp1.busy"],
    [
        "1 stream",
        "1 stream: gateways' CPU",
        "1 stream: machine's CPU",
    ],
);
static EIGHT: [Metric; 3] = metrics(
    ["tcp8.goodput", "tcp8.cpu", "tcp8.busy"],
    [
        "8 streams",
        "8 streams: gateways' CPU",
        "8 streams: machine's CPU",
    ],
);
static OVER: [Metric; 2] = [
    Metric {
        name: Cow::Borrowed("tcp1.withy_over_this"),
        title: Cow::Borrowed("Withy over this, 1 stream"),
        unit: Unit::Ratio,
    },
    Metric {
        name: Cow::Borrowed("tcp8.withy_over_this"),
        title: Cow::Borrowed("Withy over this, 8 streams"),
        unit: Unit::Ratio,
    },
];

const fn metrics(names: [&'static str; 3], titles: [&'static str; 3]) -> [Metric; 3] {
    const fn metric(name: &'static str, title: &'static str, unit: Unit) -> Metric {
        Metric {
            name: Cow::Borrowed(name),
            title: Cow::Borrowed(title),
            unit,
        }
    }
    [
        metric(names[0], titles[0], Unit::MegabitsPerSecond),
        metric(names[1], titles[1], Unit::SecondsPerGigabyte),
        metric(names[2], titles[2], Unit::SecondsPerGigabyte),
    ]
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose ESP Withy takes, and what it is compared with.
    pub engine: Engine,
    /// How often.
    pub runs: u32,
    /// How long each load lasts.
    pub time: Duration,
    /// Only these systems; all where nothing is said.
    pub systems: Vec<String>,
    /// Where systems are described that are measured, too, beside Withy's own engine.
    pub peers: PathBuf,
}

/// Measures all systems in turn, `runs` times. What each goes through is told on standard error.
pub fn run(options: &Options) -> Result<Report> {
    let machine = Machine::at_hand()?;
    let mut skipped = Vec::new();
    let entries = chosen(options, &mut skipped)?;
    let (mut figures, mut busy) = (Figures::default(), 0);
    for number in 1..=options.runs {
        eprintln!("bench: run {number} of {}", options.runs);
        let aside = (&mut skipped, &mut busy);
        once(&entries, options.time, &mut figures, aside);
        if options.systems.is_empty() {
            limit(&mut figures)?;
        }
    }
    if busy > 0 {
        let most = measure::MOST_OTHERS;
        let reason = format!("others took more than {most} processors, {busy} times");
        skipped.push(Skipped::absent("machine's CPU", reason));
    }
    Ok(Report::new(machine, figures.measurements()?)
        .legend(legend(&entries))
        .skipped(skipped))
}

/// One run. Counts in `busy` how often others took too much of the machine.
fn once(
    entries: &[Entry],
    time: Duration,
    figures: &mut Figures,
    (skipped, busy): (&mut Vec<Skipped>, &mut u32),
) {
    let mut base = None;
    for entry in entries {
        let name = entry.system.name();
        eprintln!("bench: {name}");
        match measure(entry, time) {
            Ok(figure) => {
                *busy += u32::from(figure.iter().any(|tcp| tcp.machine_per_gb.is_none()));
                // Withy comes first.
                base = base.or_else(|| entry.is_base.then_some(figure));
                note(figures, name, &figure, base);
            }
            Err(error) => skipped.push(Skipped::failed(name, &error)),
        }
    }
}

/// The AEAD alone.
fn limit(figures: &mut Figures) -> Result<()> {
    let sealed = aead::goodput_bps(AEAD_TIME)?;
    figures.add((PROFILE, AEAD), &ONE[0], sealed / 1e6);
    // One thread that does nothing else.
    figures.add((PROFILE, AEAD), &ONE[1], 8e9 / sealed);
    Ok(())
}

fn legend(entries: &[Entry]) -> Vec<Legend> {
    let systems = entries.iter().map(|entry| entry.system.as_ref());
    let of_systems = systems.map(|system| Legend::new(system.name(), system.about()));
    let others = [
        Legend::new(
            AEAD,
            "AES-256-GCM alone on packets of 1,400 bytes, one thread",
        ),
        Legend::new(
            PROFILE,
            "links without limits, hosts whose cards segment and join",
        ),
    ];
    of_systems.chain(others).collect()
}

fn chosen(options: &Options, skipped: &mut Vec<Skipped>) -> Result<Vec<Entry>> {
    let mut all = systems::all(options.engine);
    if options.engine == Engine::Userspace {
        all.extend(
            described::read_all(&options.peers)?
                .into_iter()
                .map(Entry::described),
        );
    }
    choose(
        all,
        |entry| entry.system.as_ref(),
        &options.systems,
        skipped,
    )
}

/// What one system got in one run: with one stream, and with eight.
type Figure = [Tcp; 2];

fn measure(entry: &Entry, time: Duration) -> Result<Figure> {
    measure::with_system(
        || lab(entry.links),
        entry.system.as_ref(),
        |_, running| {
            let idle = measure::idle(running)?;
            let times = (WARM.max(time / 4), time);
            Ok([
                measure::tcp(running, 1, times, idle)?.tcp,
                measure::tcp(running, 8, times, idle)?.tcp,
            ])
        },
    )
}

/// Links without limits.
fn lab(links: usize) -> LabBuilder {
    let links: Vec<_> = (0..links)
        .map(|number| LinkSpec::new(&format!("wan{number}"), Shape::new(RATE_BPS, LATENCY)))
        .collect();
    Lab::paired(&links).emulation(Emulation::Unlimited)
}

fn note(figures: &mut Figures, system: &str, figure: &Figure, base: Option<Figure>) {
    for (tcp, metrics) in figure.iter().zip([&ONE, &EIGHT]) {
        let place = (PROFILE, system);
        figures.add(place, &metrics[0], tcp.goodput_bps / 1e6);
        if let Some(seconds) = tcp.processes_per_gb {
            figures.add(place, &metrics[1], seconds);
        }
        if let Some(seconds) = tcp.machine_per_gb {
            figures.add(place, &metrics[2], seconds);
        }
    }
    let Some(base) = base else { return };
    for ((tcp, base), metric) in figure.iter().zip(base).zip(&OVER) {
        figures.add(
            (PROFILE, system),
            metric,
            base.goodput_bps / tcp.goodput_bps,
        );
    }
}

/// Measures one system briefly over one link, and returns the bits a second that one stream got.
pub fn brief(system: &(dyn System + Sync)) -> Result<f64> {
    let time = (WARM, WARM);
    measure::with_system(
        || lab(1),
        system,
        |_, running| {
            measure::tcp(running, 8, time, 0.0)?;
            Ok(measure::tcp(running, 1, time, 0.0)?.tcp.goodput_bps)
        },
    )
}
