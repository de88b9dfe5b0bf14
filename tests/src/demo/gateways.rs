//! Two sites with a gateway each, and the tunnel between them.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use withy::api::{
    client,
    protocol::{Request, Response},
    status::Status,
};

use crate::{gateway::Gateway, lab::Lab, site_config::TunnelSpec, wait::wait_until};

/// How long the gateways may take until the tunnel is up. Kernels under emulation take seconds to
/// verify the programs, eight gateways at once on a machine that has other work take more than a
/// minute.
const START_LIMIT: Duration = Duration::from_mins(3);

/// How much of a gateway's log an error shows.
const LOG_LINES: usize = 12;

/// The gateways of sites `a` and `b`.
pub(super) struct Gateways<'lab> {
    pub(super) a: Gateway<'lab>,
    pub(super) b: Gateway<'lab>,
}

impl<'lab> Gateways<'lab> {
    /// Configures and starts both and waits for the tunnel.
    pub(super) fn start(lab: &'lab Lab, spec: &TunnelSpec) -> Result<Self> {
        let program = program()?;
        let mut gateways = Self {
            a: Gateway::new(lab, "a", &program)?,
            b: Gateway::new(lab, "b", &program)?,
        };
        let configurations = [spec.write(lab, "a", "b")?, spec.write(lab, "b", "a")?];
        for (gateway, config) in [&mut gateways.a, &mut gateways.b]
            .into_iter()
            .zip(configurations)
        {
            gateway.start(&["run", "-c", config.to_str().context("an odd path")?])?;
        }
        for gateway in [&mut gateways.a, &mut gateways.b] {
            wait_healthy(gateway)?;
        }
        Ok(gateways)
    }
}

/// The product: `WITHY_BIN`, or else what was built along with this program.
fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("WITHY_BIN") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("this program has no path")?;
    Ok(own.with_file_name("withy"))
}

fn wait_healthy(gateway: &mut Gateway<'_>) -> Result<()> {
    let mut last = None;
    let waited = wait_until(START_LIMIT, "a tunnel that is up", || {
        ensure!(gateway.is_running()?, "the gateway has ended");
        // Until its socket is there, the daemon is still starting.
        last = status(gateway).ok();
        Ok(last.as_ref().is_some_and(Status::is_healthy))
    });
    waited.map(drop).with_context(|| {
        let problems = last
            .map(|status| status.problems.join("\n"))
            .unwrap_or_default();
        let name = gateway.site().name();
        format!(
            "the gateway of {name} does not come up: {problems}\n{}",
            log_tail(gateway)
        )
    })
}

/// Asks a gateway's daemon how it is.
pub(super) fn status(gateway: &Gateway<'_>) -> Result<Status> {
    let socket = gateway.site().dirs().run().join("control.sock");
    match client::call(&socket, &Request::Status)? {
        Response::Status(status) => Ok(*status),
        answer => bail!("an odd answer: {answer:?}"),
    }
}

fn log_tail(gateway: &Gateway<'_>) -> String {
    let log = gateway.log().unwrap_or_else(|error| format!("{error:#}"));
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
