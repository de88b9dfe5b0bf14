//! What is said before and after the display.

use std::{fmt::Write as _, time::Duration};

use anstyle::AnsiColor;
use comfy_table::{Cell, CellAlignment, Color, Row, Table, presets};

use super::{
    crossing::Crossed,
    figures::{Figures, LEAST_RATIO, Verdict},
    paint::{Look, link_colour},
    units::{megabits, megabytes, percent, reached},
};
use crate::{lab::LinkSpec, shape::emulator::Conduct};

/// A picture of the two sites.
pub(super) fn picture(links: &[LinkSpec], look: Look) -> String {
    let mut text = String::from("\n");
    let last = links.len() - 1;
    for (index, link) in links.iter().enumerate() {
        let (left, right) = match index {
            0 => ("host A -- gateway A ==+", "+== gateway B -- host B"),
            _ if index == last => ("                      '", "'"),
            _ => ("                      +", "+"),
        };
        let line = format!(
            "== {:<7}{:>3} Mbit/s {:>3} ms ==",
            link.name,
            link.up.rate_bps / 1_000_000,
            link.up.latency.as_millis()
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {left}{}{right}",
            look.coloured(link_colour(index), &line)
        );
    }
    text
}

/// What stands above the table.
pub(super) fn heading(figures: &Figures, look: Look) -> String {
    let Figures { kernel, engine, .. } = figures;
    let mut about = format!("Linux {kernel}, IPsec engine: {engine}");
    if let Some(reason) = &figures.engine_reason {
        // Writing to a string does not fail.
        let _ = write!(about, "\n({reason})");
    }
    format!("{} {}", look.bold("The figures"), look.dim(&about))
}

/// The table of all figures.
pub(super) fn table(figures: &Figures, look: Look) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(vec![
        Cell::new("link"),
        right("line rate"),
        right("latency"),
        right("alone"),
        right("in the tunnel"),
        right("share"),
    ]);
    for (index, figures_of) in figures.links.iter().enumerate() {
        let LinkSpec { name, up, .. } = &figures_of.link;
        table.add_row(vec![
            Cell::new(name).fg(table_colour(index)),
            right(&format!("{} Mbit/s", up.rate_bps / 1_000_000)),
            right(&format!("{} ms", up.latency.as_millis())),
            right(&rate(figures_of.alone_bps)),
            right(&rate(figures.tunnel_bps * figures_of.share)),
            right(&percent(figures_of.share)),
        ]);
    }
    let line_rates: u64 = figures.links.iter().map(|of| of.link.up.rate_bps).sum();
    let mut sum = Row::from(vec![
        Cell::new("all"),
        right(&format!("{} Mbit/s", line_rates / 1_000_000)),
        right(""),
        right(&rate(figures.sum_bps())),
        right(&rate(figures.tunnel_bps)),
        right(&reached(figures.ratio())),
    ]);
    sum.max_height(1);
    table.add_row(sum);
    table.to_string()
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn rate(bps: f64) -> String {
    format!("{:.2} Mbit/s", bps / 1e6)
}

fn table_colour(index: usize) -> Color {
    match link_colour(index) {
        AnsiColor::Cyan => Color::DarkCyan,
        AnsiColor::Green => Color::DarkGreen,
        AnsiColor::Yellow => Color::DarkYellow,
        _ => Color::DarkMagenta,
    }
}

/// How the figures were taken.
pub(super) fn method(look: Look) -> String {
    look.dim(
        "Rates are of the file's contents at the receiving host. \"alone\": one TCP stream through a\n\
         Withy tunnel over that link only. \"in the tunnel\": one TCP stream over all links, while all\n\
         were up and whole; its first seconds, what happens to links and the seconds after are left out.",
    )
}

/// What the figures mean.
pub(super) fn verdict(figures: &Figures, crossed: &Crossed, look: Look) -> String {
    let ratio = reached(figures.ratio());
    let (sum, tunnel) = (megabits(figures.sum_bps()), megabits(figures.tunnel_bps));
    let fine = |text: String| format!("{} {text}", look.coloured(AnsiColor::Green, "ok  "));
    let bad = |text: String| format!("{} {text}", look.coloured(AnsiColor::Red, "FAIL"));
    let mut lines = Vec::new();
    let speed =
        format!("one stream got {tunnel} Mbit/s of the {sum} that the links give alone: {ratio}");
    lines.push(if figures.ratio() < LEAST_RATIO {
        bad(format!("{speed}, less than {}", percent(LEAST_RATIO)))
    } else {
        fine(speed)
    });
    lines.push(if figures.contents_equal {
        let bytes = megabytes(crossed.report.timeline.bytes());
        fine(format!(
            "{bytes} arrived as they were sent (equal BLAKE3 hashes)"
        ))
    } else {
        bad("what arrived is not what was sent".to_owned())
    });
    lines.push(fine(format!(
        "the longest pause of the transfer, with a link cut on the way, was {} ms",
        figures.longest_gap.as_millis()
    )));
    lines.extend(halved(figures));
    if figures.verdict() == Verdict::TooSlow {
        lines.push(causes(crossed));
    }
    lines.join("\n")
}

/// How the tunnel followed a link that had half of its rate.
fn halved(figures: &Figures) -> Option<String> {
    let (halved, (sum, ratio)) = figures.halved.zip(figures.halved_ratio())?;
    let link = figures.links.get(halved.link)?;
    Some(format!(
        "     while {} had half of its rate, its share was {} instead of {}, and the stream got\n     \
         {} Mbit/s of the {} that were left: {}",
        link.link.name,
        percent(halved.share),
        percent(link.share),
        megabits(halved.tunnel_bps),
        megabits(sum),
        reached(ratio),
    ))
}

/// Where the speed may have gone.
fn causes(crossed: &Crossed) -> String {
    let drops: Vec<String> = crossed
        .drops
        .iter()
        .map(|drop| format!("{} {}", drop.packets, drop.reason))
        .collect();
    let drops = if drops.is_empty() {
        "none".to_owned()
    } else {
        drops.join(", ")
    };
    format!(
        "     TCP segments sent again: {}; packets dropped by the gateways: {drops}",
        crossed.report.retransmits()
    )
}

/// That the machine had no time.
pub(super) fn busy(lateness: Duration, look: Look) -> String {
    format!(
        "{} this machine is busy with something else: timers came {} ms late on average, which\n\
         \x20    links and TCP feel. Please try again on a quieter one before you trust the figures.",
        look.coloured(AnsiColor::Yellow, "note"),
        lateness.as_millis()
    )
}

/// How the lab's own links kept their times.
pub(super) fn links_kept_time(conduct: &Conduct, look: Look) -> String {
    look.dim(&format!("The lab's links: {conduct}."))
}

/// What `withy status` shows of the tunnel.
pub(super) fn status(shown: &str, look: Look) -> String {
    // The tunnel with its IVCs stands between the first and the second empty line.
    let part = shown.split("\n\n").take(2).collect::<Vec<_>>().join("\n");
    let mut text = look.bold("$ withy status");
    for line in part.lines() {
        text.push('\n');
        text.push_str(&look.fitted(line.trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::figures::tests::{example, links};

    const PLAIN: Look = Look {
        width: 80,
        limited: false,
        colour: false,
    };

    #[test]
    fn the_table_has_each_link_the_sum_the_tunnel_and_the_ratio() {
        let text = table(&example(9.43e6), PLAIN);
        let row = |name: &str| -> Vec<&str> {
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            line.unwrap().split_whitespace().collect()
        };
        assert_eq!(
            row("dsl").join(" "),
            "dsl 3 Mbit/s 40 ms 2.50 Mbit/s 2.36 Mbit/s 25%"
        );
        assert_eq!(
            row("all").join(" "),
            "all 12 Mbit/s 10.00 Mbit/s 9.43 Mbit/s 94.3%"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn what_became_of_the_share_of_a_halved_link_is_told() {
        let text = halved(&example(9.43e6)).unwrap();
        assert_eq!(
            text,
            "     while cable had half of its rate, its share was 33% instead of 50%, and the stream got\n     \
             7.2 Mbit/s of the 7.5 that were left: 96.0%"
        );
    }

    #[test]
    fn the_picture_names_every_link_and_fits() {
        let text = picture(&links(), PLAIN);
        for link in links() {
            assert!(text.contains(&link.name));
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn the_status_is_cut_to_the_tunnel() {
        let shown =
            "gateway a, engine kernel\n\ntunnel bond is up\n dsl  1 \n\n link  x\n\ndropped\n";
        assert_eq!(
            status(shown, PLAIN),
            "$ withy status\ngateway a, engine kernel\ntunnel bond is up\n dsl  1"
        );
    }
}
