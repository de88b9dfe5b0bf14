//! What suites and checks came to: a table and one last line.

use std::{
    fmt::{self, Write as _},
    ops::AddAssign,
    time::Duration,
};

use crate::progress::seconds;

/// Numbers of tests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that did what they should.
    pub(crate) passed: u64,
    /// Tests that did not, and suites that died.
    pub(crate) failed: u64,
    /// Tests that did not run.
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// How one suite or check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The numbers.
    pub(crate) tally: Tally,
    /// Why something did not run or did not end well; empty otherwise.
    pub(crate) note: String,
}

impl From<Tally> for Outcome {
    fn from(tally: Tally) -> Self {
        Self {
            tally,
            note: String::new(),
        }
    }
}

impl Outcome {
    /// Something that cannot run here.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self {
            tally: Tally::SKIPPED,
            note: reason.into(),
        }
    }

    /// Something that did not come to a result.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self {
            tally: Tally::FAILED,
            note: reason.into(),
        }
    }
}

struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// The outcomes of everything that ran, in order.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Notes down an outcome.
    pub(crate) fn add(&mut self, name: impl Into<String>, outcome: Outcome, took: Duration) {
        self.rows.push(Row {
            name: name.into(),
            outcome,
            took,
        });
    }

    /// The sum over everything.
    pub(crate) fn total(&self) -> Tally {
        self.rows.iter().fold(Tally::default(), |mut sum, row| {
            sum += row.outcome.tally;
            sum
        })
    }

    /// Prints the table and, as the last line, the sum. Returns the exit status that goes with it.
    pub(crate) fn finish(&self) -> u8 {
        println!("\n{self}{}", self.total());
        u8::from(self.total().failed > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        writeln!(f, "{:width$}  passed  failed  skipped      time", "")?;
        for Row {
            name,
            outcome: Outcome { tally, note },
            took,
        } in &self.rows
        {
            let Tally {
                passed,
                failed,
                skipped,
            } = tally;
            let mut line = String::new();
            write!(
                line,
                "{name:width$}  {passed:6}  {failed:6}  {skipped:7}  {:>8}",
                seconds(*took)
            )?;
            if !note.is_empty() {
                write!(line, "  {note}")?;
            }
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_skips_only_if_there_are_any() {
        let mut report = Report::default();
        report.add(
            "a",
            Tally {
                passed: 3,
                failed: 1,
                skipped: 0,
            }
            .into(),
            Duration::ZERO,
        );
        assert_eq!(report.total().to_string(), "3 passed, 1 failed");
        report.add("b", Outcome::skipped("no root"), Duration::ZERO);
        assert_eq!(report.total().to_string(), "3 passed, 1 failed, 1 skipped");
        assert!(
            report
                .to_string()
                .lines()
                .any(|line| line.ends_with("no root"))
        );
    }
}
