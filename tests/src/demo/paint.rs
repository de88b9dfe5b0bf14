//! The display as text.

use anstyle::{AnsiColor, Color, Style};

use super::{
    board::{Board, Row},
    units::{megabits, megabytes, percent, share_of},
};

/// How text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns.
    pub(super) width: usize,
    /// Whether longer lines would be broken there.
    pub(super) limited: bool,
    pub(super) colour: bool,
}

/// Colours of the links, in order.
const LINKS: [AnsiColor; 4] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
];

/// Columns around the bar: indentation and name, rate, share.
const NAME: usize = 9;
const RATE: usize = 12;
const SHARE: usize = 6;
/// Columns of the history, with the space before it.
const HISTORY: usize = 14;

/// The widest that the display gets; longer lines are tiring to read.
const WIDEST: usize = 96;
/// Narrower terminals get no history.
const NARROW: usize = 72;

/// Bars of the history, from nothing to everything.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Parts of a bar's last column, in eighths.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

impl Look {
    /// Text in a style, if there may be any.
    pub(super) fn styled(self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    pub(super) fn coloured(self, colour: AnsiColor, text: &str) -> String {
        self.styled(Style::new().fg_color(Some(Color::Ansi(colour))), text)
    }

    /// As much of a plain line as fits.
    pub(super) fn fitted(self, line: &str) -> String {
        if !self.limited || line.chars().count() <= self.width {
            return line.to_owned();
        }
        let kept: String = line.chars().take(self.width.saturating_sub(1)).collect();
        format!("{kept}…")
    }

    fn line_width(self) -> usize {
        self.width.clamp(50, WIDEST)
    }

    fn history_width(self) -> usize {
        if self.width < NARROW { 0 } else { HISTORY }
    }

    fn bar_width(self) -> usize {
        self.line_width() - NAME - RATE - SHARE - self.history_width()
    }
}

/// The colour of a link.
pub(super) fn link_colour(index: usize) -> AnsiColor {
    LINKS[index % LINKS.len()]
}

/// The board as lines of the same number every time, except for notes that come in.
pub(super) fn board(board: &Board, look: Look) -> Vec<String> {
    let full: f64 = board.rows.iter().map(capacity).sum();
    let mut lines = vec![headline(board, look), String::new()];
    for (index, row) in board.rows.iter().enumerate() {
        lines.push(link_line(
            row,
            link_colour(index),
            full,
            board.sum_bps(),
            look,
        ));
    }
    lines.push(sum_line(board, full, look));
    if !board.notes.is_empty() {
        lines.push(String::new());
    }
    lines.extend(
        board
            .notes
            .iter()
            .map(|note| look.fitted(&format!("  {note}"))),
    );
    lines
}

/// The board on one line, without colours.
pub(super) fn one_line(board: &Board) -> String {
    let links: Vec<String> = board
        .rows
        .iter()
        .map(|row| {
            let rate = if row.is_cut() {
                "cut".to_owned()
            } else {
                megabits(row.rate_bps)
            };
            format!("{} {rate}", row.link.name)
        })
        .collect();
    format!(
        "{:>3} s  {} = {} {} Mbit/s, {}",
        board.elapsed.as_secs(),
        links.join(" + "),
        board.sum_name,
        megabits(board.sum_bps()),
        megabytes(board.contents)
    )
}

/// What a link can carry when nothing has befallen it, in bits a second.
#[expect(clippy::cast_precision_loss, reason = "a rate of a few Mbit/s")]
fn capacity(row: &Row) -> f64 {
    row.link.up.rate_bps as f64
}

fn headline(board: &Board, look: Look) -> String {
    let time = format!(
        "{} of {} s",
        board.elapsed.as_secs(),
        board.duration.as_secs()
    );
    let room = look.line_width().saturating_sub(time.len() + 2);
    let title: String = board.title.chars().take(room).collect();
    format!(
        "{}{}{time}",
        look.bold(&title),
        " ".repeat(room + 2 - title.chars().count())
    )
}

fn link_line(row: &Row, colour: AnsiColor, full: f64, sum: f64, look: Look) -> String {
    let name = look.coloured(
        colour,
        &format!("  {:<width$}", row.link.name, width = NAME - 2),
    );
    let columns = look.bar_width();
    let bar = if row.is_cut() {
        // On a narrow terminal the words are cut short, not the figures behind them.
        let text = format!("{:<columns$.columns$}", "cut: the interface is down");
        look.coloured(AnsiColor::Red, &text)
    } else {
        let (done, rest) = bar(row.rate_bps / full, row.capacity_bps() / full, columns);
        let blank = " ".repeat(columns - done.chars().count() - rest.chars().count());
        format!("{}{}{blank}", look.coloured(colour, &done), look.dim(&rest))
    };
    let share = percent(share_of(row.rate_bps, sum));
    format!(
        "{name}{bar}{:>RATE$}{share:>SHARE$}{}",
        rate(row.rate_bps),
        { history(&row.history, capacity(row), look) }
    )
}

fn sum_line(board: &Board, full: f64, look: Look) -> String {
    let columns = look.bar_width();
    let mut bar = String::new();
    let mut used = 0;
    let mut reached = 0.0;
    // One bar from the links' bars, in their colours.
    for (index, row) in board.rows.iter().enumerate() {
        reached += row.rate_bps / full;
        let end = whole_columns(reached, columns);
        bar.push_str(&look.coloured(link_colour(index), &"█".repeat(end.saturating_sub(used))));
        used = used.max(end);
    }
    bar.push_str(&" ".repeat(columns - used));
    let name = look.bold(&format!("  {:<width$}", board.sum_name, width = NAME - 2));
    let rate = look.bold(&format!("{:>RATE$}", rate(board.sum_bps())));
    format!(
        "{name}{bar}{rate}{:>SHARE$}{}",
        "",
        history(&board.sum_history(), full, look)
    )
}

fn rate(bps: f64) -> String {
    format!("{} Mbit/s", megabits(bps))
}

/// A bar of `part` of `columns`, and what is left of `of` of them. Both ratios are from 0 to 1.
fn bar(part: f64, of: f64, columns: usize) -> (String, String) {
    let eighths = whole_columns(part, columns * 8);
    let mut done = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        done.push(EIGHTHS[eighths % 8]);
    }
    let rest = whole_columns(of, columns).saturating_sub(done.chars().count());
    (done, "·".repeat(rest))
}

/// The last seconds as bars of different height.
fn history(rates: &[f64], full: f64, look: Look) -> String {
    let width = look.history_width();
    if width == 0 {
        return String::new();
    }
    let recent = &rates[rates.len().saturating_sub(width - 2)..];
    let bars: String = recent
        .iter()
        .map(|rate| LEVELS[whole_columns(rate / full, LEVELS.len() - 1)])
        .collect();
    format!(
        "  {}",
        look.dim(&format!("{bars:<rest$}", rest = width - 2))
    )
}

/// How many columns a ratio from 0 to 1 fills, to the nearest.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of columns"
)]
fn whole_columns(ratio: f64, columns: usize) -> usize {
    (ratio.clamp(0.0, 1.0) * columns as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{board::tests::example, plan::Blow, stage::Change};

    const CUT: Change = Change {
        link: 0,
        blow: Some(Blow::Cut),
    };

    fn plain(width: usize) -> Look {
        Look {
            width,
            limited: true,
            colour: false,
        }
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        let mut shown = example(20);
        shown.changed(0, CUT);
        for width in [50, 71, 72, 80, 96, 200] {
            for line in board(&shown, plain(width)) {
                let length = line.chars().count();
                assert!(length <= width, "{length} of {width} columns: {line}");
            }
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let shown = example(5);
        let coloured = board(
            &shown,
            Look {
                width: 80,
                limited: true,
                colour: true,
            },
        )
        .join("\n");
        assert!(coloured.contains('\u{1b}'));
        let stripped = anstyle_stripped(&coloured);
        assert_eq!(stripped, board(&shown, plain(80)).join("\n"));
    }

    /// The text without its escape sequences.
    fn anstyle_stripped(text: &str) -> String {
        let mut parts = text.split('\u{1b}');
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            plain.push_str(part.split_once('m').unwrap().1);
        }
        plain
    }

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        let columns = |(done, rest): (String, String)| (done, rest.chars().count());
        assert_eq!(columns(bar(0.5, 1.0, 8)), ("████".into(), 4));
        assert_eq!(columns(bar(0.3125, 0.5, 8)), ("██▌".into(), 1));
        assert_eq!(columns(bar(0.0, 0.25, 8)), (String::new(), 2));
        assert_eq!(columns(bar(1.5, 1.0, 8)), ("████████".into(), 0));
    }

    #[test]
    fn a_board_on_one_line_has_every_rate() {
        let mut shown = example(3);
        assert_eq!(
            one_line(&shown),
            "  3 s  dsl 2.5 + cable 5.0 + lte 1.7 + leased 0.8 = tunnel 10.0 Mbit/s, 3.8 MB"
        );
        shown.changed(0, CUT);
        assert!(one_line(&shown).contains("dsl cut + cable 5.0"));
    }
}
