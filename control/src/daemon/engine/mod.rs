//! The IPsec engine: the kernel's, or Withy's own between its device and a raw socket, in two threads.

mod probe;
mod threads;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread::JoinHandle,
};

use tracing::{info, warn};

use crate::{
    api::report::EngineReport,
    config::{Config, EngineChoice},
    esp::{Failed, Inbound, Outbound, Refused},
    kernel::{
        netlink::{Netlink, NetlinkError},
        raw::EspSocket,
        tun::Tun,
    },
    vpn::{self, RunningTunnels},
};

/// What seals and opens the packets of tunnels.
pub(super) struct Engine {
    /// Why it is this one.
    reason: String,
    /// Nothing where the kernel does it.
    userspace: Option<Userspace>,
}

/// Withy's own engine.
struct Userspace {
    shared: Arc<Shared>,
    /// Reads what the kernel sends into the device; ends with the device.
    outward: Option<JoinHandle<()>>,
}

/// What the daemon and the engine's threads have together.
struct Shared {
    outbound: Mutex<Outbound>,
    inbound: Mutex<Inbound>,
    device: RwLock<Option<Arc<Tun>>>,
    socket: EspSocket,
}

/// Why the engine's device is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeviceError {
    /// It cannot be made.
    #[error("{name}: {error} (is the kernel's module tun loaded?)", name = vpn::engine_device(), error = .0)]
    Tun(io::Error),
    /// It cannot be configured.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// No thread can be started.
    #[error("no thread: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Takes the engine that the configuration names, or for `auto` the kernel's if it works.
    ///
    /// # Errors
    ///
    /// Withy's own cannot be started.
    pub(super) fn choose(config: &Config) -> io::Result<Self> {
        let (userspace, reason) = match config.gateway.engine {
            EngineChoice::Kernel => (false, "as configured".to_owned()),
            EngineChoice::Userspace => (true, "as configured".to_owned()),
            EngineChoice::Auto => match probe::kernel(&probe::suites(config)) {
                Ok(()) => (false, "the kernel's ESP works".to_owned()),
                Err(probe::Failed::Untried(error)) => (
                    false,
                    format!(
                        "the kernel takes states, but could not be tried with a packet: {error}"
                    ),
                ),
                Err(error) => (true, format!("the kernel's ESP does not work: {error}")),
            },
        };
        let engine = Self {
            reason,
            userspace: userspace.then(Userspace::start).transpose()?,
        };
        info!(engine = engine.name(), reason = engine.reason, "IPsec");
        Ok(engine)
    }

    fn name(&self) -> &'static str {
        match self.userspace {
            Some(_) => "userspace",
            None => "kernel",
        }
    }

    /// Sees to it that the engine's device is there, and configured.
    pub(super) async fn ensure(&mut self, netlink: &Netlink) -> Result<vpn::Engine, DeviceError> {
        match &mut self.userspace {
            None => Ok(vpn::Engine::Kernel),
            Some(userspace) => {
                userspace.ensure(netlink).await?;
                Ok(vpn::Engine::Userspace)
            }
        }
    }

    /// Removes the device that an earlier run with Withy's own engine left, once no route leads there any more.
    pub(super) async fn tidy(&self, netlink: &Netlink) -> Result<(), NetlinkError> {
        match self.userspace {
            None => netlink.remove_tun(&vpn::engine_device()).await,
            Some(_) => Ok(()),
        }
    }

    /// Takes the tunnels as they run now; returns what cannot be.
    pub(super) fn set(&self, running: &RunningTunnels) -> Vec<String> {
        let Some(userspace) = &self.userspace else {
            return Vec::new();
        };
        // Packets are received by new keys before they are sent by them.
        let mut failed: Failed = userspace.shared.inbound().set(running);
        failed.extend(userspace.shared.outbound().set(running));
        failed
            .into_iter()
            .map(|(tunnel, error)| format!("tunnel {tunnel}: {error}"))
            .collect()
    }

    /// How it is.
    pub(super) fn report(&self) -> EngineReport {
        let refusals = self.userspace.as_ref().map(|userspace| {
            let outbound = *userspace.shared.outbound().refusals();
            outbound.plus(userspace.shared.inbound().refusals())
        });
        EngineReport {
            name: self.name(),
            reason: self.reason.clone(),
            drops: refusals
                .iter()
                .flat_map(|refusals| {
                    Refused::ALL.map(|reason| (reason.name(), refusals.of(reason)))
                })
                .collect(),
        }
    }
}

impl Userspace {
    /// Starts to receive. Nothing is sent yet.
    fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            outbound: Mutex::default(),
            inbound: Mutex::default(),
            device: RwLock::default(),
            socket: EspSocket::open()?,
        });
        threads::spawn("esp-in", Arc::clone(&shared), |shared| {
            threads::inward(&shared);
        })?;
        Ok(Self {
            shared,
            outward: None,
        })
    }

    async fn ensure(&mut self, netlink: &Netlink) -> Result<(), DeviceError> {
        let (name, mtu) = (vpn::engine_device(), vpn::bundle_device().mtu);
        let alive = self
            .outward
            .as_ref()
            .is_some_and(|thread| !thread.is_finished());
        if alive && netlink.link(&name).await?.is_some() {
            netlink.configure_tun(&name, mtu).await?;
            return Ok(());
        }
        let device = Arc::new(Tun::open(&name).map_err(DeviceError::Tun)?);
        // Only what bears Withy's mark may stay.
        netlink.configure_tun(&name, mtu).await?;
        device.stay().map_err(DeviceError::Tun)?;
        *self
            .shared
            .device
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&device));
        let outward = threads::spawn("esp-out", Arc::clone(&self.shared), move |shared| {
            let error = threads::outward(&shared, &device);
            warn!(%error, "the engine's device is gone");
        });
        self.outward = Some(outward.map_err(DeviceError::Thread)?);
        info!(device = %name, "the ESP engine runs");
        Ok(())
    }
}

impl Shared {
    fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self) -> Option<Arc<Tun>> {
        self.device
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
