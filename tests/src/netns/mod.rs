//! Network namespaces without a name.
//!
//! A namespace here is a file descriptor and nothing else: no entry under `/run/netns`, no process
//! that keeps it. When the last descriptor, thread and socket is gone, the kernel takes the
//! namespace and its devices down, however the lab ended.

mod links;
mod netlink;
mod routes;

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    panic,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use links::{Counters, LinkPlan, VethEnd};
pub(crate) use netlink::{has_netem, set_root_qdisc};
pub use routes::Route;

use crate::sys;

/// A network namespace, held by file descriptor. Clones refer to the same one.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    descriptor: Arc<OwnedFd>,
}

impl Netns {
    /// Creates a namespace with `lo` up. IPv6 is off, so that captures hold only what the lab or
    /// the gateway sent, and reverse path filtering is off, as on a router with several uplinks.
    ///
    /// `name` appears in errors and thread names only.
    pub fn new(name: &str) -> Result<Self> {
        let created = thread::Builder::new()
            .name(format!("netns-{name}"))
            .spawn(|| {
                sys::process::unshare_network()?;
                Ok::<OwnedFd, std::io::Error>(File::open("/proc/thread-self/ns/net")?.into())
            })?;
        let descriptor = joined(created.join())
            .with_context(|| format!("cannot make the network namespace {name}"))?;
        let netns = Self {
            name: name.into(),
            descriptor: Arc::new(descriptor),
        };
        for family in ["all", "default"] {
            netns.set_sysctl(&format!("net.ipv4.conf.{family}.rp_filter"), "0")?;
        }
        if fs::exists("/proc/sys/net/ipv6")? {
            for family in ["all", "default"] {
                netns.set_sysctl(&format!("net.ipv6.conf.{family}.disable_ipv6"), "1")?;
            }
        }
        netns.set_up("lo")?;
        Ok(netns)
    }

    /// The name given at creation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor, for children that enter the namespace.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    ///
    /// A socket stays in the namespace where it was opened, so it is enough to open it here; what
    /// is done with it may happen on any thread.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name(format!("in-{}", self.name))
                .spawn_scoped(scope, || {
                    self.move_in()?;
                    work()
                })?;
            joined(worker.join())
        })
        .with_context(|| format!("in the namespace {}", self.name))
    }

    /// Starts a thread that stays inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        role: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let netns = self.clone();
        let name = format!("{role}-{}", self.name);
        Ok(thread::Builder::new().name(name).spawn(move || {
            netns.move_in()?;
            work()
        })?)
    }

    fn move_in(&self) -> Result<()> {
        move_into_link_name_space(self.descriptor.as_fd(), Some(LinkNameSpaceType::Network))
            .context("setns")
    }

    /// Reads a sysctl such as `net.ipv4.ip_forward`, trimmed.
    ///
    /// The parts of a key are separated by dots; a device name inside it must have none.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let path = sysctl_path(key);
        // `/proc/sys/net` shows the namespace of the task that opens it.
        self.enter(|| Ok(fs::read_to_string(&path)?.trim().to_owned()))
            .with_context(|| format!("cannot read {key}"))
    }

    /// Writes a sysctl.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = sysctl_path(key);
        self.enter(|| Ok(fs::write(&path, value)?))
            .with_context(|| format!("cannot set {key} to {value}"))
    }
}

fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

/// Unwraps what a thread returned; goes on with its panic, if it had one.
pub(crate) fn joined<T, E: Into<anyhow::Error>>(result: thread::Result<Result<T, E>>) -> Result<T> {
    match result {
        Ok(outcome) => outcome.map_err(|error| anyhow!(error)),
        Err(payload) => panic::resume_unwind(payload),
    }
}
