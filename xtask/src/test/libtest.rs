//! Reading the results of test programs that speak like Rust's own.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::report::{Outcome, Tally};

/// What the `test result:` lines of a suite add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    tally: Tally,
    /// How many such lines there were: one for each test program.
    programs: u64,
}

impl Counts {
    /// Judges a suite that has ended, well or not (`success`): one that died without saying which test failed is a
    /// failure of its own.
    pub(super) fn judge(mut self, success: bool) -> Outcome {
        let note = if self.programs == 0 {
            "ended without a result"
        } else if !success && self.tally.failed == 0 {
            "a test program died"
        } else {
            return self.tally.into();
        };
        self.tally.failed += 1;
        Outcome {
            tally: self.tally,
            note: note.to_owned(),
        }
    }

    fn add_line(&mut self, line: &[u8]) {
        let line = without_colours(&String::from_utf8_lossy(line));
        if let Some(tally) = parse(&line) {
            self.tally += tally;
            self.programs += 1;
        }
    }
}

/// Counts shared with whoever waits for the suite's end.
pub(super) type SharedCounts = Arc<Mutex<Counts>>;

/// Reads shared counts, whatever became of the thread that wrote them.
pub(super) fn lock(counts: &SharedCounts) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes output on as it comes and counts the results in it.
pub(super) struct CountingWriter<W> {
    to: W,
    line: Vec<u8>,
    counts: SharedCounts,
}

impl<W> CountingWriter<W> {
    /// Counts into `counts` what passes on its way to `to`.
    pub(super) fn new(to: W, counts: SharedCounts) -> Self {
        Self {
            to,
            line: Vec::new(),
            counts,
        }
    }
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lock(&self.counts).add_line(&self.line);
                self.line.clear();
            }
        }
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A line such as `test result: ok. 14 passed; 0 failed; 1 ignored; 0 measured; …`.
fn parse(line: &str) -> Option<Tally> {
    let (verdict, rest) = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    if !matches!(verdict, "ok" | "FAILED") {
        return None;
    }
    let number = |what: &str| {
        let part = rest
            .split(';')
            .find_map(|part| part.trim().strip_suffix(what));
        part.and_then(|number| number.trim().parse().ok())
    };
    Some(Tally {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored").unwrap_or(0),
    })
}

/// The text without escape sequences that set colours.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(chunks: &[&str]) -> Counts {
        let counts = SharedCounts::default();
        let mut to = Vec::new();
        let mut writer = CountingWriter::new(&mut to, Arc::clone(&counts));
        for chunk in chunks {
            writer.write_all(chunk.as_bytes()).unwrap();
        }
        assert_eq!(to, chunks.concat().as_bytes());
        *lock(&counts)
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let counts = count(&[
            "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s\n",
            "test result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n",
        ]);
        let tally = Tally {
            passed: 7,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(counts, Counts { tally, programs: 2 });
        assert_eq!(counts.judge(false), tally.into());
    }

    #[test]
    fn lines_may_come_in_parts_and_in_colour() {
        let counts = count(&[
            "test res",
            "ult: \x1b[32mok\x1b[0m. 3 pas",
            "sed; 0 failed; 0 ignored\n",
        ]);
        assert_eq!(
            counts.judge(true),
            Tally {
                passed: 3,
                failed: 0,
                skipped: 0
            }
            .into()
        );
    }

    #[test]
    fn what_a_test_prints_is_no_result() {
        for line in [
            "test result: perhaps. 1 passed; 0 failed",
            "the test result: ok. 1 passed; 0 failed",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_suite_that_died_is_one_failure() {
        let silent = count(&["error: could not compile\n"]);
        assert_eq!(silent.judge(false).tally, Tally::FAILED);
        assert_eq!(silent.judge(true).tally, Tally::FAILED);
        let crashed = count(&[
            "test result: ok. 3 passed; 0 failed; 0 ignored\n",
            "signal: 11\n",
        ]);
        assert_eq!(
            crashed.judge(false).tally,
            Tally {
                passed: 3,
                failed: 1,
                skipped: 0
            }
        );
        assert_eq!(
            crashed.judge(true).tally,
            Tally {
                passed: 3,
                failed: 0,
                skipped: 0
            }
        );
    }
}
