//! Two gateways with a tunnel between them: what nearly every scenario begins with.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::api::status::{MtuSource, Status, TunnelStatus};

use crate::{
    gateway::Gateway,
    lab::{Lab, LabBuilder, LinkSpec, Site},
    negotiated_config,
    shape::Shape,
    site_config::{Keying, TunnelSpec},
    traffic::{
        icmp::{Ping, ping},
        tcp::{Transfer, Volume},
        udp::Probe,
    },
    wait::wait_until,
};

/// How long a gateway may take from its start to a tunnel that is up. Kernels under emulation take
/// seconds to verify the programs.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long an answer to a ping may take.
pub(super) const PING_LIMIT: Duration = Duration::from_secs(2);

/// A lab with sites `a` and `b` and a gateway at each.
pub(super) struct Stage<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) a: Gateway<'lab>,
    pub(super) b: Gateway<'lab>,
    pub(super) spec: TunnelSpec,
}

/// Links `wan0`, `wan1`… of the given rates in kbit/s and latencies in milliseconds.
pub(super) fn links(shapes: &[(u64, u64)]) -> Vec<LinkSpec> {
    shapes
        .iter()
        .enumerate()
        .map(|(index, &(rate, latency))| {
            let shape = Shape::new(rate * 1000, Duration::from_millis(latency));
            LinkSpec::new(&format!("wan{index}"), shape)
        })
        .collect()
}

/// Four links so fast that the machine is the limit.
pub(super) fn fast_links() -> Vec<LinkSpec> {
    links(&[(100_000, 2); 4])
}

/// Four links so slow that every one of them is needed even on an emulated machine.
pub(super) fn slow_links() -> Vec<LinkSpec> {
    links(&[(2000, 5); 4])
}

/// Makes a lab, starts the gateways and hands over once the tunnel is up. Where the scene fails,
/// what the daemons said and say is printed.
pub(super) fn play(
    lab: LabBuilder,
    spec: &TunnelSpec,
    scene: impl FnOnce(&mut Stage<'_>) -> Result<()>,
) -> Result<()> {
    rehearse(lab, spec, |stage| {
        stage.start()?;
        scene(stage)
    })
}

/// Like [`play`], but with nothing started.
pub(super) fn rehearse(
    lab: LabBuilder,
    spec: &TunnelSpec,
    scene: impl FnOnce(&mut Stage<'_>) -> Result<()>,
) -> Result<()> {
    let lab = lab.build()?;
    let program = program()?;
    let mut stage = Stage {
        a: Gateway::new(&lab, "a", &program)?,
        b: Gateway::new(&lab, "b", &program)?,
        spec: spec.clone(),
        lab: &lab,
    };
    let result = scene(&mut stage);
    if let Err(error) = &result {
        eprintln!("    failed: {error:#}");
        stage.complain();
    }
    result
}

/// The product: `WITHY_BIN`, or else what was built along with this program.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("WITHY_BIN") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("this program has no path")?;
    Ok(own.with_file_name("withy"))
}

impl<'lab> Stage<'lab> {
    /// Writes the configurations as the lab is now.
    pub(super) fn configure(&self) -> Result<()> {
        match self.spec.keying {
            Keying::Manual => {
                self.spec.write(self.lab, "a", "b")?;
                self.spec.write(self.lab, "b", "a")?;
                Ok(())
            }
            Keying::Negotiated => negotiated_config::write(&self.spec, self.lab, &["a"], "b"),
        }
    }

    /// Writes the configurations, starts both daemons and waits for the tunnel.
    pub(super) fn start(&mut self) -> Result<()> {
        self.configure()?;
        for gateway in [&mut self.a, &mut self.b] {
            launch(gateway)?;
        }
        self.wait_healthy()
    }

    /// Waits until both gateways find nothing wrong, and know what their paths carry.
    pub(super) fn wait_healthy(&self) -> Result<()> {
        for gateway in [&self.a, &self.b] {
            wait_status(gateway, START_LIMIT, "a tunnel that is up", |status| {
                status.is_healthy() && is_measured(status)
            })?;
        }
        Ok(())
    }

    /// Asks both daemons to end and waits until they have.
    pub(super) fn stop(&mut self) -> Result<()> {
        for gateway in [&mut self.a, &mut self.b] {
            terminate(gateway)?;
        }
        Ok(())
    }

    /// Gives the tunnel other terms, by new configurations and new daemons.
    pub(super) fn restart_with(&mut self, spec: TunnelSpec) -> Result<()> {
        self.stop()?;
        self.spec = spec;
        self.start()
    }

    /// A transfer between the hosts; `from` is `a` or `b`.
    pub(super) fn transfer(&self, from: &str, volume: Volume) -> Result<Transfer> {
        let (from, to) = self.hosts(from)?;
        Ok(Transfer::new(from.host(), to.host(), to.lan().host, volume))
    }

    /// Datagrams from host to host.
    pub(super) fn probe(&self, from: &str) -> Result<Probe> {
        let (from, to) = self.hosts(from)?;
        Ok(Probe::new(from.host(), to.host(), to.lan().host))
    }

    /// `ping -M do -s SIZE` from host to host.
    pub(super) fn ping(&self, from: &str, size: usize) -> Result<Ping> {
        let (from, to) = self.hosts(from)?;
        ping(from.host(), to.lan().host, size, true, PING_LIMIT)
    }

    /// Fails unless a ping of `size` bytes gets through.
    pub(super) fn expect_ping(&self, from: &str, size: usize) -> Result<()> {
        let answer = self.ping(from, size)?;
        ensure!(
            matches!(answer, Ping::Reply { .. }),
            "ping -M do -s {size} from {from}: {answer:?}"
        );
        Ok(())
    }

    /// The site named, then the other.
    pub(super) fn hosts(&self, from: &str) -> Result<(&'lab Site, &'lab Site)> {
        let to = if from == "a" { "b" } else { "a" };
        Ok((self.lab.site(from)?, self.lab.site(to)?))
    }

    fn complain(&self) {
        for gateway in [&self.a, &self.b] {
            let name = gateway.site().name();
            let log = gateway.log().unwrap_or_else(|error| format!("{error:#}"));
            eprintln!("--- log of the gateway of {name} ---\n{log}");
            match gateway.run_cli(&["status"]) {
                Ok(output) => {
                    eprintln!(
                        "--- withy status at {name} ---\n{}{}",
                        output.stdout, output.stderr
                    );
                }
                Err(error) => eprintln!("--- no status of {name}: {error:#}"),
            }
        }
    }
}

/// Whether no path's MTU is assumed.
pub(crate) fn is_measured(status: &Status) -> bool {
    let mut ivcs = status.tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
    ivcs.all(|ivc| ivc.mtu_source != MtuSource::Assumed)
}

/// Starts a gateway's daemon with the configuration written before.
pub(crate) fn launch(gateway: &mut Gateway<'_>) -> Result<()> {
    let config = gateway.site().dirs().etc().join("withy.yaml");
    let config = config.to_str().context("an odd path")?;
    gateway.start(&["run", "-c", config])
}

/// Ends a gateway's daemon in an orderly way.
pub(super) fn terminate(gateway: &mut Gateway<'_>) -> Result<()> {
    gateway.sigterm()?;
    let status = gateway.wait(Duration::from_secs(20))?;
    ensure!(
        status.success(),
        "the daemon ended with {status} on SIGTERM"
    );
    Ok(())
}

/// Asks a gateway for its status; none if its daemon does not answer.
pub(super) fn try_status(gateway: &Gateway<'_>) -> Result<Option<Status>> {
    let output = gateway.run_cli(&["status", "--json"])?;
    match output.status.code() {
        Some(0) => {
            let status = serde_json::from_str(&output.stdout)
                .with_context(|| format!("no status: {}", output.stdout))?;
            Ok(Some(status))
        }
        // EX_UNAVAILABLE of sysexits.h
        Some(69) => Ok(None),
        _ => anyhow::bail!("withy status: {}: {}", output.status, output.stderr),
    }
}

/// Asks a gateway for its status.
pub(super) fn status(gateway: &Gateway<'_>) -> Result<Status> {
    try_status(gateway)?.context("the daemon does not answer")
}

/// Asks a gateway for its only tunnel.
pub(super) fn tunnel(gateway: &Gateway<'_>) -> Result<TunnelStatus> {
    let tunnels = status(gateway)?.tunnels;
    tunnels.into_iter().next().context("there is no tunnel")
}

/// Waits until a gateway's status is as wanted; returns how long that took.
pub(crate) fn wait_status(
    gateway: &Gateway<'_>,
    limit: Duration,
    what: &str,
    wanted: impl Fn(&Status) -> bool,
) -> Result<Duration> {
    let mut last = None;
    let outcome = wait_until(limit, what, || {
        last = try_status(gateway)?;
        Ok(last.as_ref().is_some_and(&wanted))
    });
    outcome.with_context(|| format!("at {}: {last:?}", gateway.site().name()))
}

/// Tries something so often at the most until it succeeds, and tells why it did not.
pub(super) fn tried<T>(most: u32, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..most {
        match attempt() {
            Err(error) => println!("    once more: {}", error.root_cause()),
            done => return done,
        }
    }
    attempt()
}

/// How many connections a gateway has refused for a reason.
pub(super) fn refused(gateway: &Gateway<'_>, reason: &str) -> Result<u64> {
    let refusals = status(gateway)?.refusals;
    let refusal = refusals.iter().find(|refusal| refusal.reason == reason);
    refusal
        .map(|refusal| refusal.connections)
        .with_context(|| format!("refusals for {reason} are not counted"))
}
