//! What the processors have been doing, from `/proc`.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use crate::procfs::fields_after_name;

/// Processor time at one moment, as counted since the machine or the processes started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// Of some processes with all their threads, the kernel's work for them included.
    pub(super) processes: Duration,
    /// Of all processors together, idle time, time that waits for a disk and time taken by a hypervisor not included.
    pub(super) machine: Duration,
}

impl Spent {
    /// Reads both at once.
    pub(super) fn now(processes: &[u32]) -> Result<Self> {
        let mut sum = Duration::ZERO;
        for pid in processes {
            sum += of_process(*pid)?;
        }
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Ok(Self {
            processes: sum,
            machine: machine(&stat).context("/proc/stat is not as expected")?,
        })
    }

    /// What has been spent since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            processes: self.processes.saturating_sub(earlier.processes),
            machine: self.machine.saturating_sub(earlier.machine),
        }
    }
}

fn of_process(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    process(&stat).with_context(|| format!("{path} is not as expected"))
}

/// `utime` and `stime` of `/proc/PID/stat` (`proc_pid_stat(5)`): those of all threads, past and present.
fn process(stat: &str) -> Option<Duration> {
    let mut fields = fields_after_name(stat)?.skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(duration(ticks))
}

/// `user nice system idle iowait irq softirq steal` of the first line of `/proc/stat` (`proc_stat(5)`).
fn machine(stat: &str) -> Option<Duration> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields = line
        .split_ascii_whitespace()
        .map(|field| field.parse::<u64>().ok())
        .collect::<Option<Vec<_>>>()?;
    let busy = [0, 1, 2, 5, 6].map(|field| fields.get(field).copied());
    let ticks = busy.into_iter().sum::<Option<u64>>()?;
    Some(duration(ticks))
}

fn duration(ticks: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second();
    Duration::from_micros(ticks * 1_000_000 / a_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process() {
        let stat = "12 (a) S 1 12 12 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 4 0 100 1 1";
        let a_second = rustix::param::clock_ticks_per_second();
        assert_eq!(process(stat), Some(duration(200)));
        assert_eq!(duration(a_second), Duration::from_secs(1));
        assert_eq!(process("12 (a) S 1"), None);
    }

    #[test]
    fn waiting_and_stolen_time_is_not_busy() {
        let stat = "cpu  100 10 200 5000 300 7 3 900 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(machine(stat), Some(duration(100 + 10 + 200 + 7 + 3)));
        assert_eq!(machine("cpu0 1 2 3"), None);
        assert_eq!(machine("cpu  1 2 3"), None);
    }

    #[test]
    fn working_takes_time() {
        let own = [std::process::id()];
        let before = Spent::now(&own).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(start);
        }
        let spent = Spent::now(&own).unwrap().since(before);
        assert!(spent.processes >= Duration::from_millis(20), "{spent:?}");
        assert!(spent.machine >= Duration::from_millis(20), "{spent:?}");
        assert!(Spent::now(&[u32::MAX]).is_err());
    }
}
