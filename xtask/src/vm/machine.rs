//! One virtual machine's life: its files, its process, its end.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    ExitStatus, Streams, VmOptions,
    initramfs::{self, Job},
    job, out_folder, qemu,
};
use crate::{
    setup::{kernels::Kernel, qemu::Emulator},
    workspace,
};

/// How often a running machine is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How often a guest is booted that crashes before its command says a word: emulated processors now and then trip over an instruction that the
/// booting kernel is just patching (int3).
const BOOTS: u32 = 3;
/// How much of the console is shown when a guest comes to grief.
const CONSOLE_LINES: usize = 30;

/// A machine that is ready to start.
pub(super) struct Machine {
    /// Holds the files below; goes with the machine.
    folder: tempfile::TempDir,
    /// Stays if the guest does not end well.
    console: PathBuf,
    out: PathBuf,
}

impl Machine {
    /// Writes everything that the machine needs.
    pub(super) fn prepare(
        options: &VmOptions,
        kernel: &Kernel,
        command: &[OsString],
    ) -> Result<Self> {
        let vm = workspace::target().join("vm");
        let runs = vm.join("runs");
        let out = out_folder();
        for folder in [&runs, &out] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        sweep(&runs);
        let prefix = format!("{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&runs)?;
        let name = folder
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let console = vm.join(format!("console-{}-{name}.log", options.kernel));
        let machine = Self {
            folder,
            console,
            out,
        };

        let work = std::env::current_dir().context("the working folder is gone")?;
        let environment = job::environment(options, &machine.out);
        let job = Job {
            settings: job::settings(options, &work, &machine.out, &kernel.modules),
            command: job::script(&environment, &work, command),
        };
        let staging = machine.folder.path().join("initramfs.d");
        initramfs::build(kernel, &job, &staging, &machine.initramfs())
            .context("cannot build the guest's initramfs")?;
        Ok(machine)
    }

    /// Runs the machine to its end.
    pub(super) fn run(
        &self,
        options: &VmOptions,
        kernel: &Kernel,
        streams: Streams,
    ) -> Result<ExitStatus> {
        let ended = booted(streams, |streams| self.boot(options, kernel, streams))?;
        self.report(options, ended);
        Ok(ended)
    }

    /// Runs it once.
    fn boot(&self, options: &VmOptions, kernel: &Kernel, streams: Streams) -> Result<Life> {
        let (initramfs, status) = (self.initramfs(), self.folder.path().join("status"));
        let files = qemu::Files {
            initramfs: &initramfs,
            console: &self.console,
            status: &status,
            out: &self.out,
        };
        let emulator = Emulator::find().context("no emulator: run `cargo xtask setup`")?;
        let mut child = qemu::command(&emulator, options, kernel, &files)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start qemu")?;
        let no_pipe = "qemu was started without its pipes";
        let stdout = pump(child.stdout.take().context(no_pipe)?, streams.stdout);
        let stderr = pump(child.stderr.take().context(no_pipe)?, streams.stderr);
        let in_time = wait(&mut child, options.timeout)?;
        let (stdout, said) = joined(stdout)?;
        let (stderr, complained) = joined(stderr)?;
        let ended = read_status(&status).map_or(ExitStatus::Crashed, ExitStatus::Exited);
        Ok(Life {
            ended: if in_time { ended } else { ExitStatus::TimedOut },
            spoke: said || complained,
            streams: Streams { stdout, stderr },
        })
    }

    fn initramfs(&self) -> PathBuf {
        self.folder.path().join("initramfs")
    }

    /// Says what went wrong with a guest in trouble; a console without a word, or of a guest that did well, goes.
    fn report(&self, options: &VmOptions, ended: ExitStatus) {
        let what = match ended {
            ExitStatus::Exited(code) => {
                if code == 0 || is_silent(&self.console) {
                    let _ = fs::remove_file(&self.console);
                }
                return;
            }
            ExitStatus::TimedOut => {
                format!(
                    "the guest was stopped at its limit of {} s",
                    options.timeout.as_secs()
                )
            }
            ExitStatus::Crashed => "the guest ended without an exit status".to_owned(),
        };
        eprintln!("vm: {what}; the console's last lines:");
        for line in tail(&self.console) {
            eprintln!("vm:   {line}");
        }
        eprintln!(
            "vm: all of it is in {}",
            workspace::relative(&self.console).display()
        );
    }
}

/// What became of a machine.
struct Life {
    ended: ExitStatus,
    /// Whether its command has said anything.
    spoke: bool,
    streams: Streams,
}

/// Boots a guest anew while it crashes before its command has said a word, [`BOOTS`] times at the most; returns how it ended.
fn booted(
    mut streams: Streams,
    mut boot: impl FnMut(Streams) -> Result<Life>,
) -> Result<ExitStatus> {
    let mut left = BOOTS;
    loop {
        let life = boot(streams)?;
        left -= 1;
        if life.ended != ExitStatus::Crashed || life.spoke || left == 0 {
            return Ok(life.ended);
        }
        eprintln!("vm: the guest crashed while it booted; once more");
        streams = life.streams;
    }
}

/// A stream's end, and whether anything came through.
type Pumped = (Box<dyn Write + Send>, bool);

/// Removes what runs that were killed have left.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .split('-')
            .next()
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Somebody else may be sweeping too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Passes on what comes, as it comes.
fn pump(
    mut from: impl Read + Send + 'static,
    mut to: Box<dyn Write + Send>,
) -> thread::JoinHandle<Pumped> {
    thread::spawn(move || {
        let mut spoke = false;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    spoke = true;
                    if to
                        .write_all(&buffer[..length])
                        .and_then(|()| to.flush())
                        .is_err()
                    {
                        // Nobody listens any more: no failure of the guest, which goes on, and whose exit status still counts.
                        let _ = io::copy(&mut from, &mut io::sink());
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        (to, spoke)
    })
}

fn joined(pump: thread::JoinHandle<Pumped>) -> Result<Pumped> {
    pump.join()
        .map_err(|_| anyhow!("a thread that passes on what the guest says has panicked"))
}

/// Waits for the machine's end and returns whether it came within the limit; if not, the machine is gone now.
fn wait(child: &mut Child, limit: Duration) -> Result<bool> {
    let started = Instant::now();
    while child.try_wait().context("cannot wait for qemu")?.is_none() {
        if started.elapsed() >= limit {
            child.kill().context("cannot stop qemu")?;
            child.wait().context("cannot wait for qemu")?;
            return Ok(false);
        }
        thread::sleep(TICK);
    }
    Ok(true)
}

fn read_status(path: &Path) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the kernel had nothing to complain about.
fn is_silent(console: &Path) -> bool {
    lines(console)
        .iter()
        .all(|line| line.ends_with("reboot: Power down"))
}

fn tail(console: &Path) -> Vec<String> {
    let mut lines = lines(console);
    lines.split_off(lines.len().saturating_sub(CONSOLE_LINES))
}

fn lines(console: &Path) -> Vec<String> {
    let text = fs::read(console).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a guest ends and how often it was booted, of which each boot ends so and says something or nothing.
    fn ends(boots: &[(ExitStatus, bool)]) -> (ExitStatus, usize) {
        let mut count = 0;
        let ended = booted(Streams::default(), |streams| {
            let (ended, spoke) = boots[count];
            count += 1;
            Ok(Life {
                ended,
                spoke,
                streams,
            })
        });
        (ended.unwrap(), count)
    }

    #[test]
    fn only_a_guest_that_crashes_without_a_word_is_booted_again() {
        let (crashed, timed_out) = (ExitStatus::Crashed, ExitStatus::TimedOut);
        let failed = ExitStatus::Exited(1);
        assert_eq!(ends(&[(crashed, false), (failed, false)]), (failed, 2));
        assert_eq!(ends(&[(crashed, true)]), (crashed, 1));
        assert_eq!(ends(&[(timed_out, false)]), (timed_out, 1));
        assert_eq!(ends(&[(crashed, false); 3]), (crashed, 3));
    }
}
