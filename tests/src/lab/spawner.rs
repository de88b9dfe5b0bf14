//! The thread that starts the lab's children.

use std::{
    process::{Child, Command},
    sync::mpsc::{Sender, channel},
    thread,
};

use anyhow::{Context, Result};

use crate::{netns::Netns, sys};

type Job = Box<dyn FnOnce() + Send>;

/// Starts children from one thread that lives as long as the lab.
///
/// A child is killed when the *thread* that forked it ends, so a child started from a helper
/// thread would die with that. The thread is also one that sees the lab's mounts.
pub(crate) struct Spawner {
    jobs: Sender<Job>,
}

impl Spawner {
    /// Starts the thread, in the calling thread's mount namespace.
    pub(crate) fn start() -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for job in inbox {
                    job();
                }
            })?;
        Ok(Self { jobs })
    }

    /// Starts `command` inside `netns`; it is killed when the lab ends, however that happens.
    pub(crate) fn spawn(&self, netns: &Netns, mut command: Command) -> Result<Child> {
        sys::process::confine(&mut command, netns.descriptor());
        let program = command.get_program().to_owned();
        let (result, answer) = channel();
        let job = move || {
            // Nobody waits any more if the lab is gone, and then the child must be, too.
            if let Err(unsent) = result.send(command.spawn())
                && let Ok(mut child) = unsent.0
            {
                let _killed = child.kill();
                let _reaped = child.wait();
            }
        };
        self.jobs
            .send(Box::new(job))
            .ok()
            .context("the thread that starts children is gone")?;
        let child = answer
            .recv()
            .context("the thread that starts children is gone")?;
        child.with_context(|| format!("cannot start {}", program.display()))
    }
}
