//! Where the display goes: a terminal, redrawn in place, or lines.

use std::{
    fmt::Write as _,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    board::Board,
    paint::{self, Look},
};

/// Time between two pictures on a terminal, and between two lines elsewhere.
const REDRAW: Duration = Duration::from_millis(250);
const NEXT_LINE: Duration = Duration::from_secs(1);

/// The display.
pub(super) struct Screen {
    out: Box<dyn Write>,
    look: Look,
    /// Whether it is a terminal.
    live: bool,
    /// Lines of the picture that the next one replaces.
    drawn: usize,
    last: Option<Instant>,
    /// Notes of the board that have been printed as lines.
    told: usize,
}

impl Screen {
    pub(super) fn new(out: Box<dyn Write>, look: Look, live: bool) -> Self {
        Self {
            out,
            look,
            live,
            drawn: 0,
            last: None,
            told: 0,
        }
    }

    pub(super) fn look(&self) -> Look {
        self.look
    }

    /// Prints something that stays, below the last picture.
    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        self.drawn = 0;
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Shows something for as long as it takes.
    pub(super) fn wait(&mut self, text: &str) -> Result<()> {
        if self.live {
            self.replace(&[text.to_owned()])
        } else {
            self.say(text)
        }
    }

    /// Shows the board if it is time.
    pub(super) fn show(&mut self, board: &Board) -> Result<()> {
        let period = if self.live { REDRAW } else { NEXT_LINE };
        if self.last.is_some_and(|last| last.elapsed() < period) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        if self.live {
            self.replace(&paint::board(board, self.look))
        } else {
            self.tell(board)?;
            self.say(&paint::one_line(board))
        }
    }

    /// Shows the board for the last time; what comes after goes below.
    pub(super) fn leave(&mut self, board: &Board) -> Result<()> {
        if self.live {
            self.replace(&paint::board(board, self.look))?;
        } else {
            self.tell(board)?;
        }
        (self.drawn, self.last, self.told) = (0, None, 0);
        Ok(())
    }

    /// Prints notes that are new.
    fn tell(&mut self, board: &Board) -> Result<()> {
        while let Some(note) = board.notes.get(self.told) {
            self.told += 1;
            self.say(note)?;
        }
        Ok(())
    }

    /// Draws over the last picture, in one write: a terminal shows no half of it.
    fn replace(&mut self, lines: &[String]) -> Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            write!(text, "\x1b[{}A", self.drawn)?;
        }
        for line in lines {
            // Erase what is left of the line before.
            writeln!(text, "\r{line}\x1b[K")?;
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }
}
