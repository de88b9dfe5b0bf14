//! A report about systems as tables: one for each profile, with a row for each system, or each load of a system, and a
//! column for each metric.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::{
    report::{Measurement, Report},
    stats,
    table::{headline, number, word},
};

/// What has a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Each system.
    Systems,
    /// Each load of each system. What a measurement is about begins with the load then, and a colon.
    Loads,
}

/// The parts of `PROFILE/SYSTEM/METRIC`.
pub(super) fn parts(measured: &Measurement) -> Option<[&str; 3]> {
    let mut parts = measured.name.split('/');
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

/// Renders the machine, the tables, what names stand for, and what was not measured.
pub(super) fn render(report: &Report, by: Rows) -> String {
    let mut text = headline(report);
    for profile in column(report, 0) {
        let title = legend(report, profile);
        let title = title.map_or_else(|| profile.to_owned(), |about| format!("{profile}: {about}"));
        let _ = write!(text, "\n\n{title}\n\n{}", of_profile(report, profile, by));
    }
    text + &epilogue(report)
}

/// What the systems' names stand for, and what was not measured.
pub(super) fn epilogue(report: &Report) -> String {
    let mut text = "\n".to_owned();
    for system in column(report, 1) {
        if let Some(about) = legend(report, system) {
            let _ = write!(text, "\n- {system}: {about}");
        }
    }
    for skipped in &report.skipped {
        let what = if skipped.failed { "FAILED" } else { "skipped" };
        let _ = write!(text, "\n- {} {what}: {}", skipped.name, skipped.reason);
    }
    text
}

/// The different words at one place of the names, in the order in which they come.
pub(super) fn column(report: &Report, at: usize) -> Vec<&str> {
    let rows = report.results.iter();
    different(rows.filter_map(|row| Some(parts(row)?[at])))
}

/// Each word once, in the order in which they first come.
fn different<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<&str> = Vec::new();
    for word in all {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// What a name stands for.
pub(super) fn legend<'a>(report: &'a Report, name: &str) -> Option<&'a str> {
    let legend = report.legend.iter().find(|legend| legend.name == name);
    legend.map(|legend| legend.about.as_str())
}

/// A measurement's place in a table: its row's name and its column's.
struct Place {
    row: String,
    column: String,
}

impl Rows {
    fn place(self, measured: &Measurement) -> Place {
        let system = parts(measured).map_or("", |parts| parts[1]);
        let title = title(measured);
        match (self, title.split_once(": ")) {
            (Self::Loads, Some((load, metric))) => Place {
                row: format!("{system}, {load}"),
                column: metric.to_owned(),
            },
            _ => Place {
                row: system.to_owned(),
                column: title,
            },
        }
    }
}

fn of_profile(report: &Report, profile: &str, by: Rows) -> Table {
    let of_this = |row: &&Measurement| parts(row).is_some_and(|parts| parts[0] == profile);
    let measured: Vec<_> = report.results.iter().filter(of_this).collect();
    let places: Vec<_> = measured.iter().map(|measured| by.place(measured)).collect();
    let columns = different(places.iter().map(|place| &place.column[..]));
    let mut table = Table::new();
    let head = [""].into_iter().chain(columns.iter().copied());
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    for row in different(places.iter().map(|place| &place.row[..])) {
        let cell = |column: &&str| {
            let at = places
                .iter()
                .position(|place| place.row == row && place.column == **column);
            at.map_or_else(String::new, |at| cell(measured[at]))
        };
        let cells = columns.iter().map(cell);
        table.add_row([row.to_owned()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn title(measured: &Measurement) -> String {
    match word(measured.unit) {
        "" => measured.about.clone().into_owned(),
        unit => format!("{}, {unit}", measured.about),
    }
}

/// The median, with the least and the most where there are several runs.
fn cell(measured: &Measurement) -> String {
    let median = number(measured.unit, measured.value);
    match stats::range(&measured.runs) {
        Some((least, most)) if measured.runs.len() > 1 => format!(
            "{median} ({} to {})",
            number(measured.unit, least),
            number(measured.unit, most)
        ),
        _ => median,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Legend, Machine, Skipped, Unit};

    #[test]
    fn systems_are_rows_and_metrics_are_columns() {
        let measured = |name: &'static str, about, unit, runs: &[f64]| {
            Measurement::new(name, about, unit, runs.to_vec()).unwrap()
        };
        let fast = Unit::MegabitsPerSecond;
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let results = vec![
            measured("p/x/goodput", "one", fast, &[1200.0, 1100.0, 1300.0]),
            measured("p/x/cpu", "CPU", Unit::SecondsPerGigabyte, &[3.0]),
            measured("p/y/goodput", "one", fast, &[12.34]),
            measured("q/x/share", "share", Unit::Share, &[0.5]),
        ];
        let report = Report::new(machine, results)
            .legend(vec![
                Legend::new("q", "the second"),
                Legend::new("x", "ours"),
            ])
            .skipped(vec![Skipped::absent("z", "not installed: z".into())]);
        let text = report.matrix(Rows::Systems);
        let cells = |start: &str| {
            let line = text.lines().find(|line| line.contains(start)).unwrap();
            let cells = line.trim_matches('|').split('|').map(str::trim);
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(cells("one, "), ["", "one, Mbit/s", "CPU, s/GB"]);
        assert_eq!(cells("| x "), ["x", "1,200 (1,100 to 1,300)", "3.00"]);
        assert_eq!(cells("| y "), ["y", "12.3", ""]);
        assert!(
            text.contains("q: the second") && text.contains("50.0%"),
            "{text}"
        );
        assert!(
            text.contains("\n- x: ours\n- z skipped: not installed: z"),
            "{text}"
        );
    }

    #[test]
    fn loads_of_systems_are_rows() {
        let share = |name: &'static str, about, value| {
            Measurement::new(name, about, Unit::Share, vec![value]).unwrap()
        };
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let results = vec![
            share("p/x/tcp1.share", "tcp 1: of the links", 0.9),
            share("p/x/udp95.loss", "udp 95%: lost", 0.01),
            share("p/y/tcp1.share", "tcp 1: of the links", 0.8),
        ];
        let text = Report::new(machine, results).matrix(Rows::Loads);
        let rows: Vec<Vec<_>> = text
            .lines()
            .filter(|line| line.starts_with('|') && !line.contains("--"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        let expected = [
            ["", "", "of the links", "lost", ""],
            ["", "x, tcp 1", "90.0%", "", ""],
            ["", "x, udp 95%", "", "1.0%", ""],
            ["", "y, tcp 1", "80.0%", "", ""],
        ];
        assert_eq!(rows, expected);
    }
}
