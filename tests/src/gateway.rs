//! The program under test, running in a gateway of the lab.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    lab::{Lab, Site},
    netns::joined,
    wait::wait_until,
};

/// How long a command of the gateway's may take before it counts as hung.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// The `withy` binary in one gateway, with directories of its own.
pub struct Gateway<'lab> {
    lab: &'lab Lab,
    site: &'lab Site,
    program: PathBuf,
    daemon: Option<Child>,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl<'lab> Gateway<'lab> {
    /// Prepares to run `program` in the gateway of `site`. Nothing runs yet.
    pub fn new(lab: &'lab Lab, site: &str, program: &Path) -> Result<Self> {
        let program = fs::canonicalize(program)
            .with_context(|| format!("there is no program {}", program.display()))?;
        Ok(Self {
            lab,
            site: lab.site(site)?,
            program,
            daemon: None,
        })
    }

    /// The gateway's site.
    #[must_use]
    pub fn site(&self) -> &'lab Site {
        self.site
    }

    /// Where the daemon's output goes; one file over all its runs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.site.dirs().run().join("gateway.log")
    }

    /// What the daemon has printed so far.
    pub fn log(&self) -> Result<String> {
        let path = self.log_path();
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Starts the daemon. It must not be running already.
    pub fn start(&mut self, args: &[&str]) -> Result<()> {
        ensure!(
            self.daemon.is_none(),
            "the daemon of {} is running",
            self.site.name()
        );
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = self.command(args);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.daemon = Some(self.lab.spawn(self.site.gateway(), command)?);
        Ok(())
    }

    /// The daemon's process number, while it has not been waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Whether the daemon is running.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.daemon {
            Some(daemon) => Ok(daemon.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Asks the daemon to end.
    pub fn sigterm(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the daemon without a chance to react.
    pub fn sigkill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .daemon
            .as_ref()
            .and_then(|daemon| Pid::from_raw(daemon.id().cast_signed()));
        let pid = pid.with_context(|| format!("no daemon of {} is running", self.site.name()))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the daemon to end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let daemon = self
            .daemon
            .as_mut()
            .context("the daemon has not been started")?;
        let mut status = None;
        wait_until(limit, "the daemon to end", || {
            status = daemon.try_wait()?;
            Ok(status.is_some())
        })?;
        self.daemon = None;
        status.context("the daemon ended without a status")
    }

    /// Runs a command of the program, such as `status --json`, to its end.
    pub fn run_cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.command(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.lab.spawn(self.site.gateway(), command)?;
        collect(child, COMMAND_LIMIT).with_context(|| format!("withy {}", args.join(" ")))
    }

    fn command(&self, args: &[&str]) -> Command {
        let dirs = self.site.dirs();
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("WITHY_RUN_DIR", dirs.run())
            .env("WITHY_STATE_DIR", dirs.state())
            .env("WITHY_BPFFS", dirs.pins());
        command
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // It may have ended by itself; there is nobody to tell.
            let _killed = daemon.kill();
            let _reaped = daemon.wait();
        }
        if thread::panicking() {
            let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
            eprintln!(
                "--- log of the gateway of {} ---\n{log}---",
                self.site.name()
            );
        }
    }
}

/// Waits for a child and what it prints; kills it after `limit`.
fn collect(mut child: Child, limit: Duration) -> Result<Output> {
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let stdout = thread::spawn(move || drain(stdout));
    let stderr = thread::spawn(move || drain(stderr));
    let mut status = None;
    let ended = wait_until(limit, "its end", || {
        status = child.try_wait()?;
        Ok(status.is_some())
    });
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let (stdout, stderr) = (joined(stdout.join())?, joined(stderr.join())?);
    ended.with_context(|| format!("it printed {stdout:?} and {stderr:?}"))?;
    let status = status.context("it ended without a status")?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn drain(mut pipe: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
