//! Withy itself.

use std::time::Duration;

use anyhow::Result;
use withy::config::{SplitPolicy, Suite};

use super::{Envelope, Running, System, between_hosts, wait_for_path};
use crate::{
    gateway::Gateway,
    lab::Lab,
    scenarios::stage::{is_measured, launch, program, wait_status},
    site_config::TunnelSpec,
    traffic::bulk::Flow,
};

/// How long a tunnel may take to come up. Kernels under emulation take seconds to verify the programs.
const UP_LIMIT: Duration = Duration::from_mins(1);

/// A gateway at each site, with manual keys, over all links.
#[derive(Clone, Debug)]
pub struct Withy {
    /// See [`System::name`].
    pub name: &'static str,
    /// See [`System::about`].
    pub about: &'static str,
    /// The ESP suite.
    pub suite: Suite,
    /// Whether Withy's own ESP engine must do it; otherwise the kernel's does where there is one.
    pub userspace: bool,
    /// Whether it is told what the links carry, and their latency.
    pub stated: bool,
    /// When packets are split.
    pub split: SplitPolicy,
}

struct Up<'lab> {
    lab: &'lab Lab,
    gateways: [Gateway<'lab>; 2],
    suite: Suite,
}

impl System for Withy {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        self.about
    }

    fn absent(&self) -> Option<String> {
        let there = program().is_ok_and(|program| program.is_file());
        (!there).then(|| "the program withy is not built".to_owned())
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        let spec = TunnelSpec {
            suite: self.suite,
            userspace: if self.userspace { &["a", "b"] } else { &[] },
            stated: self.stated,
            split: self.split,
            ..TunnelSpec::default()
        };
        spec.write(lab, "a", "b")?;
        spec.write(lab, "b", "a")?;
        let program = program()?;
        let mut gateways = [
            Gateway::new(lab, "a", &program)?,
            Gateway::new(lab, "b", &program)?,
        ];
        for gateway in &mut gateways {
            launch(gateway)?;
        }
        for gateway in &gateways {
            wait_status(gateway, UP_LIMIT, "a tunnel that is up", |status| {
                status.is_healthy() && is_measured(status)
            })?;
        }
        wait_for_path(lab, || Ok(()))?;
        Ok(Box::new(Up {
            lab,
            gateways,
            suite: self.suite,
        }))
    }
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        self.gateways.iter().filter_map(Gateway::pid).collect()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }

    fn envelope(&self) -> Envelope {
        Envelope::Esp(self.suite)
    }
}
