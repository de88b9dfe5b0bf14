//! What each link carried over time, and what the stream got of it, as SVG.

use std::{path::Path, time::Duration};

use anyhow::Result;
use plotters::{coord::types::RangedCoordf64, prelude::*};

use super::{
    crossing::Sample,
    plan::{Act, Blow, Script},
    units::bits_per_second,
};
use crate::{
    lab::LinkSpec,
    svg::{self, drawing},
};

/// Pixels.
const SIZE: (u32, u32) = (960, 480);

/// The legend has its place above the highest line.
const HEADROOM: f64 = 1.55;

const FONT: (&str, i32) = ("sans-serif", 16);

/// Time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// Colours of the links, told apart by everybody (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(150, 140, 40),
];

/// What the stream got.
const GOODPUT: RGBColor = BLACK;

/// The time of an act.
const SHADE: RGBColor = RGBColor(236, 236, 236);

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A line: when, in seconds, and Mbit/s.
type Line = Vec<(f64, f64)>;

/// Draws a transfer into a file, whose folder must be there.
pub(super) fn draw(
    links: &[LinkSpec],
    script: &Script,
    samples: &[Sample],
    file: &Path,
) -> Result<()> {
    let curves: Vec<Line> = (0..links.len())
        .map(|link| line(samples, |sample| sample.links[link]))
        .collect();
    let goodput = line(samples, |sample| sample.contents);
    let all = curves.iter().chain([&goodput]).flatten();
    let most = all.map(|(_, rate)| *rate).fold(1.0, f64::max) * HEADROOM;
    let area = svg::begin(file, SIZE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("One TCP stream over all links", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..script.duration.as_secs_f64(), 0.0..most)
        .map_err(drawing)?;
    for act in &script.acts {
        shade(&mut chart, act, &links[act.link].name, most)?;
    }
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc("seconds")
        .y_desc("Mbit/s: links with headers, the stream without")
        .draw()
        .map_err(drawing)?;
    let names = links.iter().map(|link| link.name.as_str());
    for ((name, points), colour) in names.zip(curves).zip(COLOURS.into_iter().cycle()) {
        plot(&mut chart, name, points, colour.stroke_width(2))?;
    }
    plot(&mut chart, "the stream", goodput, GOODPUT.stroke_width(3))?;
    chart
        .configure_series_labels()
        .label_font(FONT)
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(drawing)?;
    drop(chart);
    svg::finish(&area, file)
}

/// Rates of what has been counted, each over the second before.
fn line(samples: &[Sample], count: impl Fn(&Sample) -> u64) -> Line {
    let mut line = vec![(0.0, 0.0)];
    for (number, sample) in samples.iter().enumerate() {
        let begin = samples[..number]
            .iter()
            .rfind(|earlier| earlier.at + WINDOW <= sample.at);
        let (since, before) = begin.map_or((Duration::ZERO, 0), |begin| (begin.at, count(begin)));
        let bps = bits_per_second(count(sample) - before, sample.at.saturating_sub(since));
        line.push((sample.at.as_secs_f64(), bps / 1e6));
    }
    line
}

/// Marks when something has befallen a link, and says what.
fn shade(chart: &mut Chart<'_, '_>, act: &Act, link: &str, most: f64) -> Result<()> {
    let [from, to] = [act.during.from, act.during.to].map(|time| time.as_secs_f64());
    let what = match act.blow {
        Blow::Cut => format!("{link} cut"),
        Blow::Halved => format!("{link} at half its rate"),
    };
    let band = Rectangle::new([(from, 0.0), (to, most)], SHADE.filled());
    let style = FONT.into_font().color(&BLACK);
    let words = Text::new(what, (from + 0.1, most * 0.99), style);
    chart.draw_series([band]).map_err(drawing)?;
    chart.draw_series([words]).map_err(drawing)?;
    Ok(())
}

fn plot(chart: &mut Chart<'_, '_>, name: &str, points: Line, style: ShapeStyle) -> Result<()> {
    chart
        .draw_series([PathElement::new(points, style)])
        .map_err(drawing)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::demo::figures::tests::links;

    /// A transfer in which each link brings a constant rate but for the second, which brings half from 20 s to 28 s.
    fn samples() -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut sample = Sample {
            links: vec![0; 4],
            ..Sample::default()
        };
        for quarter in 1..=144 {
            sample.at = Duration::from_millis(250) * quarter;
            let halved = (81..=112).contains(&quarter);
            let brought = [
                100_000,
                if halved { 100_000 } else { 200_000 },
                50_000,
                25_000,
            ];
            for (total, bytes) in sample.links.iter_mut().zip(brought) {
                *total += bytes;
            }
            sample.contents += brought.iter().sum::<u64>() * 9 / 10;
            samples.push(sample.clone());
        }
        samples
    }

    #[test]
    fn rates_follow_a_link_within_a_second() {
        let line = line(&samples(), |sample| sample.links[1]);
        let at = |seconds: f64| {
            let point = line.iter().find(|(time, _)| (time - seconds).abs() < 1e-9);
            point.unwrap().1
        };
        assert!((at(20.0) - 6.4).abs() < 1e-9);
        assert!((at(21.0) - 3.2).abs() < 1e-9);
        assert!((at(28.0) - 3.2).abs() < 1e-9);
        assert!((at(29.0) - 6.4).abs() < 1e-9);
    }

    #[test]
    fn the_picture_has_a_line_for_each_link_and_says_what_happened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.svg");
        let script = Script::bonded(Duration::from_secs(36), &links());
        draw(&links(), &script, &samples(), &file).unwrap();
        let svg = fs::read_to_string(&file).unwrap();
        for words in ["dsl cut", "cable at half its rate", "the stream", "leased"] {
            assert!(svg.contains(words), "{words} is not in {svg}");
        }
        // Each of five lines, and its sample in the legend.
        let strokes = |width| svg.matches(&format!("stroke-width=\"{width}\"")).count();
        assert_eq!((strokes(2), strokes(3)), (8, 2), "{svg}");
    }
}
