//! What the eBPF programs cost: each alone, and on the way of a packet through two links.

mod frames;
mod numbers;
mod path;
mod programs;
mod topology;
mod tunnel;

use std::{io, path::Path};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use withy::dataplane::Limits;

use self::{numbers::Numbers, path::Paths, programs::Programs};
use super::report::{Machine, Report};
use crate::lab::home::Home;

/// Sizes of the maps; a small gateway's.
const LIMITS: Limits = Limits {
    svcs: 256,
    ivcs: 256,
};

/// Measures everything `runs` times. `objects` is the object file with the programs of the bench's own.
pub fn run(runs: u32, objects: &Path) -> Result<Report> {
    let machine = Machine::at_hand()?;
    pin().context("cannot stay on one processor")?;
    // Pins are on file systems of our own: whatever happens, nothing of them remains.
    let home = Home::new()?;
    let mut programs = Programs::new(&home)?;
    let mut paths = Paths::new(&home, objects)?;
    let mut numbers = Numbers::new(&home)?;
    for _ in 0..runs {
        programs.measure()?;
        paths.measure()?;
        numbers.measure()?;
    }
    let mut results = programs.results()?;
    results.extend(paths.results()?);
    results.extend(numbers.results()?);
    Ok(Report::new(machine, results))
}

/// Runs `attempt` again for as long as something interrupts it: a test run ends early when the thread
/// is to look at a signal, be it only that the kernel wants it to enter and leave the kernel once.
fn uninterrupted<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(error) if was_interrupted(&error) => {}
            outcome => return outcome,
        }
    }
}

fn was_interrupted(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::Interrupted)
}

/// Keeps this thread, and those that it starts, on the last processor that it may use: the first
/// tends to have the interrupts.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rfind(|cpu| allowed.is_set(*cpu));
    let mut only = CpuSet::new();
    only.set(last.context("no processor is allowed")?);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_interruptions_are_tried_again() {
        let mut outcomes = [
            Err(anyhow!(io::Error::from(io::ErrorKind::Interrupted)).context("a test run")),
            Ok(7),
            Err(anyhow!("never asked for")),
        ]
        .into_iter();
        assert_eq!(uninterrupted(|| outcomes.next().unwrap()).unwrap(), 7);
        assert_eq!(outcomes.len(), 1);
        let refused = || Err::<(), _>(anyhow!(io::Error::from(io::ErrorKind::PermissionDenied)));
        assert!(uninterrupted(refused).is_err());
    }
}
