//! A bench's report as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use super::{
    report::{Measurement, Reach, Report, Unit},
    stats,
};

/// The columns whose cells are numbers.
const NUMBERS: [usize; 3] = [1, 2, 3];

/// Renders the machine, then a row for each quantity.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["", "median", "least", "most", "unit", "to reach"]);
    for measured in &report.results {
        table.add_row(row(measured));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        if NUMBERS.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n\n{table}", headline(report))
}

/// Where, and how often.
pub(super) fn headline(report: &Report) -> String {
    let machine = &report.machine;
    let runs = report.results.iter().map(|row| row.runs.len()).max();
    format!(
        "{}, {} cores, Linux {}, {} runs",
        machine.cpu,
        machine.cores,
        machine.kernel,
        runs.unwrap_or(0),
    )
}

fn row(measured: &Measurement) -> [String; 6] {
    let unit = measured.unit;
    let (least, most) = stats::range(&measured.runs).unwrap_or((measured.value, measured.value));
    [
        measured.about.clone().into_owned(),
        number(unit, measured.value),
        number(unit, least),
        number(unit, most),
        word(unit).to_owned(),
        measured
            .reach
            .map_or_else(String::new, |reach| verdict(unit, reach, measured.value)),
    ]
}

fn verdict(unit: Unit, reach: Reach, value: f64) -> String {
    let (sign, bound) = match reach {
        Reach::AtMost(bound) => ("≤", bound),
        Reach::MoreThan(bound) => (">", bound),
    };
    let outcome = if reach.is_met(value) {
        "reached"
    } else {
        "NOT reached"
    };
    format!("{sign} {}: {outcome}", number(unit, bound))
}

pub(super) fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::NanosecondsPerPacket => "ns/packet",
        Unit::PacketsPerSecond => "packets/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::SecondsPerGigabyte => "s/GB",
        Unit::Milliseconds => "ms",
        Unit::Share | Unit::Ratio => "",
    }
}

pub(super) fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::NanosecondsPerPacket => format!("{value:.0}"),
        // Four digits are more than a measurement is good for; what is small keeps some.
        Unit::MegabitsPerSecond if value < 100.0 => format!("{value:.1}"),
        Unit::PacketsPerSecond | Unit::MegabitsPerSecond => grouped(&format!("{value:.0}")),
        Unit::Share => format!("{:.1}%", value * 100.0),
        Unit::SecondsPerGigabyte | Unit::Milliseconds | Unit::Ratio => format!("{value:.2}"),
    }
}

/// Sets a comma before every three digits from the end.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Machine;

    #[test]
    fn digits_in_groups_of_three() {
        assert_eq!(grouped("7"), "7");
        assert_eq!(grouped("712"), "712");
        assert_eq!(grouped("7123"), "7,123");
        assert_eq!(grouped("1234567"), "1,234,567");
    }

    #[test]
    fn a_row_says_what_was_found_and_whether_it_is_enough() {
        let unit = Unit::NanosecondsPerPacket;
        let slow = Measurement::new("slow", "the slow one", unit, vec![240.0, 250.0, 300.0]);
        let ratio = Measurement::new("ratio", "the ratio", Unit::Ratio, vec![1.25]);
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let results = vec![
            slow.unwrap().reach(Reach::AtMost(200.0)),
            ratio.unwrap().reach(Reach::MoreThan(1.0)),
        ];
        let report = Report::new(machine, results);
        let text = report.table();
        let row = |word| text.lines().find(|line| line.contains(word)).unwrap();
        let cells = |word| {
            let cells = row(word).split('|').map(str::trim);
            cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
        };
        assert!(row("a processor").contains("6.12, 3 runs"), "{text}");
        assert_eq!(
            cells("slow"),
            [
                "the slow one",
                "250",
                "240",
                "300",
                "ns/packet",
                "≤ 200: NOT reached"
            ]
        );
        assert_eq!(
            cells("ratio"),
            ["the ratio", "1.25", "1.25", "1.25", "> 1.00: reached"]
        );
    }
}
