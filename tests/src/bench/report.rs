//! What a bench found: the shape of every bench's `--json`.

use std::{borrow::Cow, fs, num::NonZero, thread};

use anyhow::{Context, Result};
use serde::Serialize;

pub use super::matrix::Rows;
use super::{matrix, stats, table};

/// The version of the JSON object's shape.
const SCHEMA: u32 = 1;

/// Everything that one call of a bench measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub schema: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// What was measured, in the order of the table.
    pub results: Vec<Measurement>,
    /// What was not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What the names of systems and profiles stand for.
    #[serde(skip)]
    pub legend: Vec<Legend>,
}

/// A system that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The system's name, after the profile's where there is one.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Whether it is there and did not work.
    pub failed: bool,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legend {
    /// The name.
    pub name: String,
    /// What it is, for people.
    pub about: String,
}

impl Skipped {
    /// A system that is not there.
    pub(super) fn absent(name: &str, reason: String) -> Self {
        Self {
            name: name.to_owned(),
            reason,
            failed: false,
        }
    }

    /// A system that did not work.
    pub(super) fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            reason: format!("{error:#}"),
            failed: true,
        }
    }
}

impl Legend {
    pub(super) fn new(name: &str, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
        }
    }
}

/// The machine at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name, as it calls itself.
    pub cpu: String,
    /// How many processors this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// One quantity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// The name by which later benches compare it.
    pub name: Cow<'static, str>,
    /// The median over the runs.
    pub value: f64,
    /// What it is counted in.
    pub unit: Unit,
    /// The figure of each run, in order.
    pub runs: Vec<f64>,
    /// What it is, for people.
    #[serde(skip)]
    pub about: Cow<'static, str>,
    /// What it should be.
    #[serde(skip)]
    pub reach: Option<Reach>,
}

/// What a quantity is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Nanoseconds for each packet.
    #[serde(rename = "ns/packet")]
    NanosecondsPerPacket,
    /// Packets a second.
    #[serde(rename = "packets/s")]
    PacketsPerSecond,
    /// Millions of bits a second.
    #[serde(rename = "Mbit/s")]
    MegabitsPerSecond,
    /// Thousandths of a second.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds of processor time for 10^9 bytes of payload.
    #[serde(rename = "s/GB")]
    SecondsPerGigabyte,
    /// A part of a whole, from 0 to 1.
    #[serde(rename = "share")]
    Share,
    /// One quantity over another of the same run.
    #[serde(rename = "ratio")]
    Ratio,
}

/// What a quantity should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// This or less.
    AtMost(f64),
    /// More than this.
    MoreThan(f64),
}

impl Reach {
    /// Tells whether `value` is as it should be.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::MoreThan(bound) => value > bound,
        }
    }
}

impl Report {
    /// Joins what was measured with where it was.
    #[must_use]
    pub fn new(machine: Machine, results: Vec<Measurement>) -> Self {
        Self {
            schema: SCHEMA,
            machine,
            results,
            skipped: Vec::new(),
            legend: Vec::new(),
        }
    }

    /// Says what names stand for.
    #[must_use]
    pub fn legend(mut self, legend: Vec<Legend>) -> Self {
        self.legend = legend;
        self
    }

    /// Says what was not measured.
    #[must_use]
    pub fn skipped(mut self, skipped: Vec<Skipped>) -> Self {
        self.skipped = skipped;
        self
    }

    /// Whether something that is there did not work.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.skipped.iter().any(|skipped| skipped.failed)
    }

    /// Renders a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// Renders, for measurements with names like `PROFILE/SYSTEM/METRIC`, a table for each profile.
    #[must_use]
    pub fn matrix(&self, rows: Rows) -> String {
        matrix::render(self, rows)
    }

    /// What the systems' names stand for, and what was not measured, as the lines below a table.
    pub(super) fn epilogue(&self) -> String {
        matrix::epilogue(self)
    }

    /// Renders one JSON object.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

impl Machine {
    /// Asks the machine at hand; before the process keeps itself to some of its processors.
    pub fn at_hand() -> Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        Ok(Self {
            cpu: model(&cpus).unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            kernel: kernel.trim().to_owned(),
        })
    }
}

/// Finds the processor's name in `/proc/cpuinfo`; not every architecture's has one.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

impl Measurement {
    /// Sums up the figures of all runs. Fails where there were none.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        about: impl Into<Cow<'static, str>>,
        unit: Unit,
        runs: Vec<f64>,
    ) -> Result<Self> {
        let (name, about) = (name.into(), about.into());
        let value = stats::median(&runs).with_context(|| format!("{name} was never measured"))?;
        Ok(Self {
            name,
            value,
            unit,
            runs,
            about,
            reach: None,
        })
    }

    /// Says what it should be.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = Some(reach);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_shape_that_later_benches_share() {
        let runs = vec![90.0, 95.0, 93.0];
        let measured =
            Measurement::new("link_rx", "link_rx", Unit::NanosecondsPerPacket, runs).unwrap();
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let report = Report::new(machine, vec![measured.reach(Reach::AtMost(100.0))]);
        let found: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let expected = serde_json::json!({
            "schema": 1,
            "machine": { "cpu": "a processor", "cores": 2, "kernel": "6.12" },
            "results": [
                { "name": "link_rx", "value": 93.0, "unit": "ns/packet", "runs": [90.0, 95.0, 93.0] },
            ],
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_never_measured_is_an_error() {
        assert!(Measurement::new("nothing", "nothing", Unit::Ratio, Vec::new()).is_err());
    }

    #[test]
    fn reaches() {
        assert!(Reach::AtMost(100.0).is_met(100.0) && !Reach::AtMost(100.0).is_met(100.5));
        assert!(Reach::MoreThan(1.0).is_met(1.01) && !Reach::MoreThan(1.0).is_met(1.0));
    }

    #[test]
    fn the_processors_name_is_found() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC: 7\ncache size\t: 512 KB\n";
        assert_eq!(model(cpuinfo), Some("AMD EPYC: 7"));
        assert_eq!(model("CPU implementer\t: 0x41\n"), None);
    }
}
