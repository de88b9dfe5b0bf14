//! Network namespaces for tests, and an independent witness.

use std::{
    fs::File,
    future::Future,
    io::Write,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use withy::{
    kernel::monitor::Monitor,
    reconcile::{Desired, Outcome, Reconciler, objects::*},
};

/// Runs a test on a thread of its own in a fresh network namespace, which goes with the thread.
///
/// Returns without running it, loudly, where the caller may not make namespaces.
pub(crate) fn in_namespace<F>(test: impl FnOnce(Namespace) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let run = move || {
        // SAFETY: only the network namespace of this thread changes; file descriptors stay shared.
        if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
            return skip(&format!("a network namespace needs CAP_SYS_ADMIN: {error}"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let namespace = Namespace {
            state: tempfile::tempdir().expect("a state directory"),
        };
        runtime.block_on(test(namespace));
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says why a test does not run, past the test runner, which hides what it prints.
pub(crate) fn skip(reason: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// A fresh network namespace, that of the thread, with a state directory.
pub(crate) struct Namespace {
    state: tempfile::TempDir,
}

#[allow(dead_code, reason = "each test program uses some of these")]
#[allow(
    clippy::unused_self,
    reason = "these look at the namespace in which the thread is"
)]
impl Namespace {
    pub(crate) fn reconciler(&self) -> Reconciler {
        Reconciler::open(self.state.path()).expect("netlink sockets")
    }

    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::open().expect("netlink subscriptions")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.state.path().join("sysctls.json")
    }

    /// Runs `ip`, which sees the kernel without Withy's help.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run("ip", arguments)
    }

    /// Everything that `ip` can tell, except counters and ages.
    pub(crate) fn everything(&self) -> String {
        [
            "-d link",
            "addr",
            "route show table all",
            "rule",
            "xfrm policy",
            "xfrm state",
        ]
        .map(|what| self.ip(what))
        .concat()
    }
}

pub(crate) fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).expect("a legal name")
}

#[allow(dead_code, reason = "each test program uses some of these")]
pub(crate) fn bundle(mtu: u32) -> BundleDevice {
    BundleDevice::standard(BundleMtu::new(mtu).expect("a legal MTU"))
}

pub(crate) fn desired(objects: impl IntoIterator<Item = Object>) -> Desired {
    let mut desired = Desired::empty();
    for object in objects {
        desired.add(object).expect("no contradiction");
    }
    desired
}

/// Fails with the reasons unless every step succeeded; returns how many there were.
pub(crate) fn succeeded(outcome: &Outcome) -> usize {
    let reasons: Vec<String> = outcome.failed.iter().map(ToString::to_string).collect();
    assert!(reasons.is_empty(), "{reasons:#?}");
    outcome.applied.len()
}

/// Another network namespace, without a name; it lives as long as this.
pub(crate) struct Elsewhere(File);

#[allow(dead_code, reason = "each test program uses some of these")]
impl Elsewhere {
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: only the network namespace of this thread changes.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("CAP_SYS_ADMIN");
            File::open("/proc/thread-self/ns/net").expect("procfs")
        });
        let elsewhere = Self(made.join().expect("no panic"));
        elsewhere.ip("link set lo up");
        elsewhere
    }

    /// Runs work on a thread inside.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a network namespace");
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.enter(|| run("ip", arguments))
    }

    /// What `ip link set ... netns` takes.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Runs a program that must succeed, and returns what it prints.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .expect(program);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
    String::from_utf8(output.stdout).expect("text")
}
