//! The daemon: brings the gateway to the stated condition and keeps it there.
//!
//! Every event, be it a change in the kernel, a request or the passing of a second, leads to the same
//! step: look at the links, state what should be, and apply the difference.

mod attachments;
mod departing;
mod directories;
mod disabled;
pub(crate) mod engine;
mod error;
pub(crate) mod events;
mod gateway;
mod lock;
mod negotiation;
mod paths;
mod ping;
mod probing;
mod problems;
mod pulse;
pub(crate) mod recent;
mod reload;
mod sizes;
mod speed;
mod state_file;
mod take_down;

use std::{path::Path, time::Duration};

use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};
use tracing::debug;

pub use self::{directories::Directories, error::DaemonError, take_down::take_down};
use self::{events::Events, gateway::Gateway, negotiation::Negotiation};
use crate::{
    api::{
        event::What,
        protocol::{Request, Response},
        server::{self, Answer, Call, Server},
    },
    config::Config,
    kernel::monitor::{Monitor, Word},
    metrics::Metrics,
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
    let events = Events::new();
    let mut gateway = Gateway::start(config, directories, events.clone())?;
    let mut negotiation = Negotiation::start(
        gateway.config(),
        &state_dir,
        gateway.netlink(),
        events.clone(),
    )
    .await?;
    negotiation.show(&mut gateway);
    gateway.converge().await;
    settle(&mut gateway, &mut negotiation).await;
    let listener = listen(&socket)?;
    let mut metrics = Metrics::start(gateway.config().gateway.metrics.listen, calls.clone());
    let server = Server::new(calls, events.clone());
    tokio::spawn(server::serve(listener, server.clone()));
    events.tell(What::Ready);

    let mut audit = every(AUDIT);
    let mut round = every(ROUND);
    let mut feel = every(FEEL);
    let mut note = every(recent::STEP);
    let mut tick = every(negotiation::TICK);
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
            word = monitor.word() => {
                debug!(?word, "the kernel's configuration changed");
                if word.as_ref().is_ok_and(|word| *word == Word::Links) {
                    gateway.glance().await;
                } else {
                    gateway.converge().await;
                }
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
            _ = note.tick() => gateway.note(),
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
            problem = metrics.changed() => gateway.set_problem("metrics", problem),
            _ = hangup.recv() => {
                reload::reload(file, &mut gateway, &mut negotiation);
                metrics.set(gateway.config().gateway.metrics.listen);
                gateway.converge().await;
                settle(&mut gateway, &mut negotiation).await;
            }
            Some(call) = called.recv() => {
                let next = answer(file, &mut gateway, &mut negotiation, call).await;
                if next == Next::Stop {
                    break;
                }
                if next == Next::Converge {
                    metrics.set(gateway.config().gateway.metrics.listen);
                    negotiation.show(&mut gateway);
                    gateway.converge().await;
                    settle(&mut gateway, &mut negotiation).await;
                }
            }
        }
    }
    // Another daemon may listen there at once; the lock is still ours.
    let _ = std::fs::remove_file(&socket);
    events.tell(What::Stopping);
    server.drain().await;
    Ok(())
}

fn listen(socket: &Path) -> Result<UnixListener, DaemonError> {
    server::listen(socket).map_err(|source| DaemonError::Socket {
        path: socket.to_owned(),
        source,
    })
}

/// Ticks after each period; when it is late, the next tick is a whole period later.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Brings the kernel to what was agreed, and the machines to what the kernel has, until nothing is left to do.
async fn settle(gateway: &mut Gateway, negotiation: &mut Negotiation) {
    negotiation.set_links(gateway.working(), gateway.links());
    while let Some(revision) = negotiation.take_wanted() {
        negotiation.show(gateway);
        gateway.converge().await;
        negotiation.installed(revision);
        negotiation.set_links(gateway.working(), gateway.links());
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
async fn answer(
    file: &Path,
    gateway: &mut Gateway,
    negotiation: &mut Negotiation,
    call: Call,
) -> Next {
    if let Some(answer) = measure(gateway, &call.request) {
        // The caller may have gone.
        let _ = call.reply.send(answer);
        return Next::Nothing;
    }
    let (response, next) = match call.request {
        Request::Status => (gateway.status(negotiation), Next::Nothing),
        Request::ExportKeys => (gateway.keys(), Next::Nothing),
        Request::Rekey { tunnel } => (negotiation.rekey(&tunnel), Next::Nothing),
        Request::Configuration => (configuration(gateway.config()), Next::Nothing),
        Request::Reload => {
            let response = reload::reload(file, gateway, negotiation);
            (response, Next::Converge)
        }
        Request::Link { link, down } => {
            (set_link(gateway, negotiation, &link, down), Next::Converge)
        }
        Request::Associations => (gateway.associations().await, Next::Nothing),
        Request::Leave => {
            negotiation.leave().await;
            (Response::Stopping, Next::Stop)
        }
        // These are answered elsewhere.
        Request::Monitor | Request::Events | Request::Ping { .. } | Request::Speedtest { .. } => {
            return Next::Nothing;
        }
    };
    // The caller may have gone.
    let _ = call.reply.send(response.into());
    next
}

/// Answers the request for a measurement, if it is one.
fn measure(gateway: &Gateway, request: &Request) -> Option<Answer> {
    let begun = match request {
        Request::Ping {
            tunnel,
            link,
            count,
            interval_ms,
        } => {
            let interval = Duration::from_millis(*interval_ms);
            gateway.ping(tunnel, link.as_deref(), *count, interval)
        }
        Request::Speedtest {
            tunnel,
            link,
            directions,
            seconds,
        } => gateway.speedtest((tunnel, link.as_deref()), directions, *seconds),
        _ => return None,
    };
    Some(begun.map_or_else(|error| Response::Failed(error).into(), Answer::Many))
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
