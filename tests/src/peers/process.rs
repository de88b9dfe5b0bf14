//! A program that runs in a gateway for as long as its system does.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::{
    lab::{Lab, Site},
    procfs::fields_after_name,
    wait::wait_until,
};

/// How much of a program's output is shown when it fails, in bytes.
const TAIL: usize = 4_000;

/// How long a program may take to end when asked to.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A running program with all that it has started.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in the gateway of `site`, at the head of a process group of its own.
    pub(super) fn start(lab: &Lab, site: &Site, name: &str, mut command: Command) -> Result<Self> {
        let log = site.dirs().run().join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = lab.spawn(site.gateway(), command)?;
        let name = format!("{name} at {}", site.name());
        Ok(Self { name, child, log })
    }

    /// Its process and those that descend from it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let pairs = parents();
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            let children = pairs.iter().filter(|(_, of)| *of == parent);
            found.extend(children.map(|(pid, _)| *pid));
            next += 1;
        }
        found
    }

    /// Fails with what it has printed if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.tail());
        }
        Ok(())
    }

    /// What it has printed so far.
    pub(super) fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of what it has printed.
    pub(super) fn tail(&self) -> String {
        let output = self.output();
        let start = output.len().saturating_sub(TAIL);
        let start = (start..=output.len()).find(|at| output.is_char_boundary(*at));
        output[start.unwrap_or(0)..].trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.child.id().cast_signed()) else {
            return;
        };
        // Some leave the group; a descriptor means the process that it was opened for and no later one of that number.
        let all: Vec<_> = self
            .pids()
            .into_iter()
            .filter_map(|pid| {
                pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()
            })
            .collect();
        // What has ended by itself is not there any more, and then there is nothing to end.
        let _asked = kill_process_group(group, Signal::TERM);
        let _ended = wait_until(END_LIMIT, "its end", || {
            Ok(self.child.try_wait()?.is_some())
        });
        let _killed = kill_process_group(group, Signal::KILL);
        for process in all {
            let _killed = pidfd_send_signal(process, Signal::KILL);
        }
        let _reaped = self.child.wait();
    }
}

/// All processes with their parents.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect()
}

/// `ppid` of `/proc/PID/stat` (`proc_pid_stat(5)`).
fn parent(stat: &str) -> Option<u32> {
    fields_after_name(stat)?.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_found() {
        assert_eq!(parent("12 (a) S 11 12 12 0"), Some(11));
        assert_eq!(parent("12 (a"), None);
        let own = (std::process::id(), std::os::unix::process::parent_id());
        assert!(parents().contains(&own));
    }
}
