//! Namespaces of threads and of children.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::Arc,
};

use rustix::{
    process::{Pid, Signal, getppid, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

/// Gives the calling thread a network namespace of its own, empty but for `lo`.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET leaves the file descriptor table and memory shared, so that no
    // descriptor held elsewhere in the process loses its meaning.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}

/// Gives the calling thread, and threads that it starts later, a mount namespace of their own.
///
/// This also ends the sharing of the working directory and the umask with the process's other
/// threads (`CLONE_NEWNS` implies `CLONE_FS`, unshare(2)).
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS does not touch the file descriptor table.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    Ok(())
}

/// Lets the calling thread run before all ordinary ones as soon as it is ready (`SCHED_RR`).
pub(crate) fn run_promptly() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads the structure, which lives until the call returns; 0 means the
    // calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the child start inside the network namespace `network` and die with the thread that
/// spawns it.
///
/// `PR_SET_PDEATHSIG` counts the *thread* that forked as the parent (prctl(2)), so the command has
/// to be spawned by a thread that lives as long as the child may.
pub(crate) fn confine(command: &mut Command, network: Arc<OwnedFd>) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec the closure makes three system calls and nothing else; it
    // neither allocates nor takes a lock, which another thread might have held at the fork.
    unsafe { command.pre_exec(move || confine_self(&network, parent)) };
}

fn confine_self(network: &OwnedFd, parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above took effect.
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}
