//! Bars, as SVG.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::{
    matrix::{column, parts, title},
    report::{Report, Unit},
    table,
};
use crate::svg::{self, Area, drawing};

/// Pixels: of the names beside the bars, of the bars, of one bar, between systems, of the title, and around everything.
const NAMES: i32 = 190;
const WIDTH: i32 = 520;
const BAR: i32 = 16;
const GAP: i32 = 14;
const TITLE: i32 = 34;
const LEGEND: i32 = 22;
const MARGIN: i32 = 12;

/// Room for the number beside the longest bar.
const NUMBER: i32 = 90;

/// Colours of the bars of one system, told apart by everybody (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// A chart of some metrics of one profile.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// Which profile.
    pub profile: &'a str,
    /// The metrics, all in one unit; one bar each.
    pub metrics: &'a [&'a str],
}

/// What belongs to one system.
struct Group<'a> {
    system: &'a str,
    bars: Vec<Option<f64>>,
}

/// Draws a chart of what a report has about it; nothing is written where it has nothing.
pub fn draw(report: &Report, chart: Chart<'_>, file: &Path) -> Result<()> {
    let groups = groups(report, chart);
    let all = groups.iter().flat_map(|group| group.bars.iter().flatten());
    let largest = all.copied().fold(0.0_f64, f64::max);
    if largest <= 0.0 {
        return Ok(());
    }
    let bars = i32::try_from(chart.metrics.len())?;
    let height = TITLE + LEGEND + i32::try_from(groups.len())? * (bars * BAR + GAP) + MARGIN;
    let width = 2 * MARGIN + NAMES + WIDTH + NUMBER;
    let size = (width.unsigned_abs(), height.unsigned_abs());
    let area = svg::begin(file, size)?;
    let text = |words: &str, place, size: i32| {
        let style = ("sans-serif", size).into_font().color(&BLACK);
        area.draw_text(words, &style, place).map_err(drawing)
    };
    text(chart.title, (MARGIN, MARGIN), 16)?;
    legend(&area, report, chart)?;
    let mut top = TITLE + LEGEND;
    for group in groups {
        text(group.system, (MARGIN, top + (bars * BAR - 12) / 2), 12)?;
        for (bar, colour) in group.bars.iter().zip(COLOURS.iter().cycle()) {
            if let Some(value) = bar {
                let left = MARGIN + NAMES;
                let right = left + length(*value, largest);
                let corners = [(left, top), (right, top + BAR - 2)];
                area.draw(&Rectangle::new(corners, colour.filled()))
                    .map_err(drawing)?;
                let number = table::number(unit(report, chart), *value);
                text(&number, (right + 4, top + 1), 11)?;
            }
            top += BAR;
        }
        top += GAP;
    }
    svg::finish(&area, file)
}

/// The metrics' names, each with its colour.
fn legend(area: &Area<'_>, report: &Report, chart: Chart<'_>) -> Result<()> {
    let (mut left, top) = (MARGIN + NAMES, TITLE);
    for (metric, colour) in chart.metrics.iter().zip(COLOURS.iter().cycle()) {
        let row = report
            .results
            .iter()
            .find(|row| parts(row).is_some_and(|parts| parts[2] == *metric));
        let Some(row) = row else { continue };
        let words = title(row);
        let square = [(left, top), (left + 10, top + 10)];
        area.draw(&Rectangle::new(square, colour.filled()))
            .map_err(drawing)?;
        let style = ("sans-serif", 12).into_font().color(&BLACK);
        area.draw_text(&words, &style, (left + 14, top))
            .map_err(drawing)?;
        left += 40 + 7 * i32::try_from(words.chars().count())?;
    }
    Ok(())
}

fn groups<'a>(report: &'a Report, chart: Chart<'_>) -> Vec<Group<'a>> {
    let value = |system: &str, metric: &str| {
        let wanted = [chart.profile, system, metric];
        let mut rows = report.results.iter();
        let row = rows.find(|row| parts(row) == Some(wanted))?;
        Some(row.value)
    };
    column(report, 1)
        .into_iter()
        .map(|system| Group {
            system,
            bars: chart
                .metrics
                .iter()
                .map(|metric| value(system, metric))
                .collect(),
        })
        .filter(|group| group.bars.iter().any(Option::is_some))
        .collect()
}

fn unit(report: &Report, chart: Chart<'_>) -> Unit {
    let of_chart = |metric| chart.metrics.contains(&metric);
    let mut rows = report.results.iter();
    let row = rows.find(|row| parts(row).is_some_and(|parts| of_chart(parts[2])));
    row.map_or(Unit::Ratio, |row| row.unit)
}

#[expect(clippy::cast_possible_truncation, reason = "0 to the width in pixels")]
fn length(value: f64, largest: f64) -> i32 {
    (value / largest * f64::from(WIDTH)).round() as i32
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bench::report::{Machine, Measurement};

    #[test]
    fn bars_are_as_long_as_figures_are_large() {
        let measured = |name: &'static str, value| {
            Measurement::new(name, "one", Unit::MegabitsPerSecond, vec![value]).unwrap()
        };
        let machine = Machine {
            cpu: "a processor".into(),
            cores: 2,
            kernel: "6.12".into(),
        };
        let results = vec![measured("p/x<&>/tcp1", 200.0), measured("p/y/tcp1", 50.0)];
        let report = Report::new(machine, results);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bars.svg");
        let chart = Chart {
            title: "a chart",
            profile: "p",
            metrics: &["tcp1"],
        };
        draw(&report, chart, &file).unwrap();
        let svg = fs::read_to_string(&file).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("a chart"), "{svg}");
        assert!(svg.contains("x&lt;&amp;&gt;"), "{svg}");
        for width in [WIDTH, WIDTH / 4] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{svg}");
        }
        let nothing = folder.path().join("nothing.svg");
        let other = Chart {
            profile: "q",
            ..chart
        };
        draw(&report, other, &nothing).unwrap();
        assert!(!nothing.exists());
    }
}
