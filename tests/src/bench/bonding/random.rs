//! Links drawn at random: what part of them is got, however they are.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    Options, Program,
    draw::{self, Drawn},
    outcome::word,
};
use crate::{
    bench::{
        matrix::{column, legend, parts},
        report::{Report, Unit},
        stats,
        table::{self, number},
    },
    profiles::{Load, Profile},
};

/// What is measured where nothing is said.
const USUAL: &str = "withy";

/// How sets are drawn, and what they are measured with.
#[derive(Clone, Debug)]
pub struct Draw {
    /// How many sets.
    pub sets: usize,
    /// The numbers of those among them that are measured; all where none is named.
    pub only: Vec<usize>,
    /// The same seed, the same sets.
    pub seed: u64,
    /// Streams at once.
    pub streams: usize,
}

/// What was found on all sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    #[serde(flatten)]
    report: Report,
    /// What the sets were drawn from.
    seed: u64,
    /// The links of each set, in the order of their names' numbers.
    sets: Vec<Set>,
    /// Of each system's shares.
    distributions: Vec<Distribution>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Set {
    name: String,
    links: Vec<Drawn>,
}

/// The shares that a system got of the sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Distribution {
    system: String,
    /// Sets on which it was measured.
    sets: usize,
    least: f64,
    lower_quartile: f64,
    median: f64,
    upper_quartile: f64,
    most: f64,
}

/// Measures systems, Withy where none is named, on every set.
///
/// # Errors
///
/// No sets are asked for, or one that is not drawn; a system is nobody's, or none could be measured.
pub fn run(options: &Options, draw: &Draw) -> Result<Findings> {
    ensure!(draw.sets > 0, "no sets to draw");
    let mut options = options.clone();
    if options.systems.is_empty() {
        options.systems.push(USUAL.to_owned());
    }
    let sets = sets(draw)?;
    let profiles: Vec<Profile> = sets
        .iter()
        .map(|set| draw::profile(&set.name, &set.links))
        .collect();
    let load = Load::Tcp(draw.streams);
    // Pings would be a load of their own on the slowest links.
    let program = Program {
        profiles: profiles.iter().collect(),
        loads: &[load],
        pings: false,
    };
    let report = program.run(&options)?;
    Ok(Findings {
        distributions: distributions(&report, load),
        report,
        seed: draw.seed,
        sets,
    })
}

/// The sets that are measured, with the names of their profiles.
fn sets(draw: &Draw) -> Result<Vec<Set>> {
    let Draw { sets, only, .. } = draw;
    if let Some(number) = only.iter().find(|number| !(1..=*sets).contains(number)) {
        bail!("there is no set {number} among {sets} that are drawn");
    }
    let drawn = (1..).zip(draw::sets(draw.seed, *sets));
    let wanted = drawn.filter(|(number, _)| only.is_empty() || only.contains(number));
    let named = wanted.map(|(number, links)| Set {
        name: format!("random-{number}"),
        links,
    });
    Ok(named.collect())
}

fn distributions(report: &Report, load: Load) -> Vec<Distribution> {
    let systems = column(report, 1).into_iter();
    systems
        .filter_map(|system| Distribution::of(system, &shares(report, system, load)))
        .collect()
}

/// What a system got of each set on which it was measured.
fn shares(report: &Report, system: &str, load: Load) -> Vec<f64> {
    let metric = format!("{}.share", word(load));
    let rows = report.results.iter();
    rows.filter(|row| parts(row).is_some_and(|parts| parts[1..] == [system, &metric]))
        .map(|row| row.value)
        .collect()
}

impl Distribution {
    fn of(system: &str, shares: &[f64]) -> Option<Self> {
        let quantile = |part| stats::quantile(shares, part);
        Some(Self {
            system: system.to_owned(),
            sets: shares.len(),
            least: quantile(0.0)?,
            lower_quartile: quantile(0.25)?,
            median: quantile(0.5)?,
            upper_quartile: quantile(0.75)?,
            most: quantile(1.0)?,
        })
    }
}

impl Findings {
    /// Whether something that is there did not work.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.report.has_failures()
    }

    /// One JSON object: that of every bench, with the sets and the distributions.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// The sets, each on a line with what was got of it, the distributions, and what was not measured.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = table::headline(&self.report);
        // Writing to a string does not fail.
        let _ = writeln!(text, ", seed {}\n", self.seed);
        for set in &self.sets {
            let about = legend(&self.report, &set.name).unwrap_or_default();
            let got: Vec<_> = self.got(&set.name).collect();
            let _ = writeln!(text, "{}: {} [{about}]", set.name, got.join(", "));
        }
        let _ = write!(text, "\n{}", self.table());
        text + &self.report.epilogue()
    }

    /// What systems got of a set, as text.
    fn got(&self, set: &str) -> impl Iterator<Item = String> {
        let rows = self.report.results.iter();
        rows.filter_map(move |row| {
            let [profile, system, _] = parts(row)?;
            let wanted = profile == set && row.unit == Unit::Share;
            wanted.then(|| format!("{system} {}", number(row.unit, row.value)))
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "share of the links",
            "sets",
            "least",
            "lower quartile",
            "median",
            "upper quartile",
            "most",
        ]);
        for row in &self.distributions {
            let share = |value| number(Unit::Share, value);
            table.add_row([
                row.system.clone(),
                row.sets.to_string(),
                share(row.least),
                share(row.lower_quartile),
                share(row.median),
                share(row.upper_quartile),
                share(row.most),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Legend, Machine, Measurement};

    fn draw(sets: usize, only: &[usize]) -> Draw {
        Draw {
            sets,
            only: only.to_vec(),
            seed: 7,
            streams: 8,
        }
    }

    #[test]
    fn those_that_are_named_are_as_among_all() {
        let all = sets(&draw(5, &[])).unwrap();
        let two = sets(&draw(5, &[4, 2])).unwrap();
        assert_eq!(two, [all[1].clone(), all[3].clone()]);
        let none = sets(&draw(5, &[2, 6])).unwrap_err().to_string();
        assert!(none.contains("no set 6 among 5"), "{none}");
    }

    fn findings() -> Findings {
        let load = Load::Tcp(8);
        let share = |name, value| {
            Measurement::new(name, "tcp 8: of the links", Unit::Share, vec![value]).unwrap()
        };
        let results = vec![
            share("random-1/withy/tcp8.share", 0.95),
            Measurement::new(
                "random-1/withy/tcp8.late",
                "late",
                Unit::Milliseconds,
                vec![1.0],
            )
            .unwrap(),
            share("random-2/withy/tcp8.share", 0.85),
            share("random-3/withy/tcp8.share", 0.75),
            share("random-3/plain/tcp8.share", 0.5),
        ];
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let legend = vec![Legend::new("random-2", "two links")];
        let report = Report::new(machine, results).legend(legend);
        Findings {
            distributions: distributions(&report, load),
            report,
            seed: 7,
            sets: sets(&draw(3, &[])).unwrap(),
        }
    }

    #[test]
    fn shares_are_told_by_set_and_as_a_distribution() {
        let text = findings().text();
        assert!(
            text.contains("\nrandom-2: withy 85.0% [two links]\n"),
            "{text}"
        );
        assert!(
            text.contains("\nrandom-3: withy 75.0%, plain 50.0% ["),
            "{text}"
        );
        let line = text.lines().find(|line| line.starts_with("| withy"));
        let cells: Vec<_> = line.unwrap().split('|').map(str::trim).collect();
        let expected = ["withy", "3", "75.0%", "80.0%", "85.0%", "90.0%", "95.0%"];
        assert_eq!(cells[1..8], expected);
    }

    #[test]
    fn json_has_the_shape_of_every_bench_the_sets_and_the_distributions() {
        let found: serde_json::Value = serde_json::from_str(&findings().json().unwrap()).unwrap();
        assert_eq!((&found["schema"], &found["seed"]), (&1.into(), &7.into()));
        assert_eq!(found["results"].as_array().unwrap().len(), 5);
        let sets = found["sets"].as_array().unwrap();
        assert_eq!(sets[1]["name"], "random-2");
        assert!(sets[1]["links"][0]["latency_us"].is_u64());
        let withy = &found["distributions"][0];
        assert_eq!(
            (&withy["system"], &withy["sets"]),
            (&"withy".into(), &3.into())
        );
        assert!((withy["lower_quartile"].as_f64().unwrap() - 0.8).abs() < 1e-9);
    }

    #[test]
    fn no_set_is_no_bench() {
        let options = Options {
            runs: 1,
            warm_up: std::time::Duration::ZERO,
            time: std::time::Duration::ZERO,
            systems: Vec::new(),
            peers: "nowhere".into(),
        };
        assert!(run(&options, &draw(0, &[])).is_err());
    }
}
