//! The daemon: brings the gateway to the stated condition and keeps it there.
//!
//! Every event, be it a change in the kernel, a request or the passing of a second, leads to the same
//! step: look at the links, state what should be, and apply the difference.

mod attachments;
mod directories;
mod disabled;
mod engine;
mod error;
mod gateway;
mod lock;
mod negotiation;
mod problems;
mod pulse;
mod reload;
mod sizes;
mod state_file;
mod take_down;

use std::{path::Path, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tracing::{debug, info};

pub use self::{directories::Directories, error::DaemonError, take_down::take_down};
use self::{gateway::Gateway, negotiation::Negotiation};
use crate::{
    api::{
        protocol::{Request, Response},
        server::{self, Call},
    },
    config::Config,
    kernel::monitor::Monitor,
};

/// How often it is looked at what changes without an event: programs and settings.
const AUDIT: Duration = Duration::from_millis(300);
/// How often it is looked where data flows on links that are paid by the byte.
const FEEL: Duration = Duration::from_millis(100);
/// How often everything is compared although no event came; more seldom where that takes long.
const ROUND: Duration = Duration::from_secs(5);
/// The fraction of the time that these rounds may take.
const ROUND_SHARE: u32 = 20;

/// Runs the gateway until it is told to stop. What was set up stays and keeps forwarding.
///
/// # Errors
///
/// The gateway cannot be started: privileges, another daemon, a kernel that refuses the programs.
/// Anything that fails later is a problem that the status shows, and is tried again.
pub async fn run(config: Config, file: &Path, directories: Directories) -> Result<(), DaemonError> {
    let _lock = lock::acquire(&directories)?;
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let mut monitor = Monitor::open()?;
    let (calls, mut called) = mpsc::channel(16);
    let socket = directories.socket();
    let state_dir = directories.state_dir.clone();
    let mut gateway = Gateway::start(config, directories)?;
    let mut negotiation =
        Negotiation::start(gateway.config(), &state_dir, gateway.netlink()).await?;
    negotiation.show(&mut gateway);
    gateway.converge().await;
    settle(&mut gateway, &mut negotiation).await;
    let listener = server::listen(&socket).map_err(|source| DaemonError::Socket {
        path: socket.clone(),
        source,
    })?;
    tokio::spawn(server::serve(listener, calls));
    info!(socket = %socket.display(), "ready");

    let mut audit = tokio::time::interval_at(Instant::now() + AUDIT, AUDIT);
    audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = tokio::time::interval_at(Instant::now() + ROUND, ROUND);
    let mut feel = tokio::time::interval(FEEL);
    feel.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tick = tokio::time::interval(negotiation::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Silence first: it must not wait because something else is always there.
            biased;
            () = gateway.stirred() => {
                if gateway.follow() {
                    gateway.converge().await;
                }
            }
            () = stop.asked() => break,
            change = monitor.changed() => {
                debug!(?change, "the kernel's configuration changed");
                gateway.converge().await;
                settle(&mut gateway, &mut negotiation).await;
            }
            occurrence = negotiation.next() => {
                negotiation.take(occurrence);
                settle(&mut gateway, &mut negotiation).await;
            }
            _ = tick.tick() => {
                negotiation.tick();
                settle(&mut gateway, &mut negotiation).await;
            }
            _ = feel.tick() => gateway.feel(),
            _ = audit.tick() => {
                if !gateway.stands() {
                    gateway.converge().await;
                }
            }
            _ = round.tick() => {
                let took = gateway.converge().await;
                round.reset_after(ROUND.max(took * ROUND_SHARE));
                negotiation.count(gateway.traffic());
                settle(&mut gateway, &mut negotiation).await;
            }
            _ = hangup.recv() => {
                reload::reload(file, &mut gateway, &mut negotiation);
                gateway.converge().await;
                settle(&mut gateway, &mut negotiation).await;
            }
            Some(call) = called.recv() => {
                if matches!(call.request, Request::Leave) {
                    negotiation.leave().await;
                }
                let next = answer(file, &mut gateway, &mut negotiation, call);
                if next == Next::Stop {
                    break;
                }
                if next == Next::Converge {
                    negotiation.show(&mut gateway);
                    gateway.converge().await;
                    settle(&mut gateway, &mut negotiation).await;
                }
            }
        }
    }
    // Another daemon may listen there at once; the lock is still ours.
    let _ = std::fs::remove_file(&socket);
    info!("stopping; what is set up keeps forwarding");
    Ok(())
}

/// Brings the kernel to what was agreed, and the machines to what the kernel has, until nothing is left to do.
async fn settle(gateway: &mut Gateway, negotiation: &mut Negotiation) {
    negotiation.set_links(gateway.config(), gateway.links());
    while let Some(revision) = negotiation.take_wanted() {
        negotiation.show(gateway);
        gateway.converge().await;
        negotiation.installed(revision);
        negotiation.set_links(gateway.config(), gateway.links());
    }
}

/// What follows on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Nothing,
    /// What should be is another now.
    Converge,
    /// It was the last.
    Stop,
}

/// Answers a request.
fn answer(file: &Path, gateway: &mut Gateway, negotiation: &mut Negotiation, call: Call) -> Next {
    let (response, next) = match call.request {
        Request::Status => (gateway.status(negotiation), Next::Nothing),
        Request::Rekey { tunnel } => (negotiation.rekey(&tunnel), Next::Nothing),
        Request::Configuration => (configuration(gateway.config()), Next::Nothing),
        Request::Reload => {
            let response = reload::reload(file, gateway, negotiation);
            (response, Next::Converge)
        }
        Request::Link { link, down } => {
            (set_link(gateway, negotiation, &link, down), Next::Converge)
        }
        Request::Leave => (Response::Stopping, Next::Stop),
    };
    // The caller may have gone.
    let _ = call.reply.send(response);
    next
}

fn set_link(
    gateway: &mut Gateway,
    negotiation: &mut Negotiation,
    link: &str,
    down: bool,
) -> Response {
    match gateway.set_disabled(link, down) {
        Ok(link) => {
            if down {
                negotiation.retire(&link);
            }
            Response::Done
        }
        Err(text) => Response::Failed(text),
    }
}

/// The configuration as the file would have it, defaults filled in.
fn configuration(config: &Config) -> Response {
    match serde_yaml::to_string(config) {
        Ok(text) => Response::Configuration(text),
        Err(error) => Response::Failed(error.to_string()),
    }
}

/// The signals that end the daemon.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, DaemonError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(DaemonError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
