//! What the product must do, each thing as one named test with gateways of its own.
//!
//! They run as root in a virtual machine that has the kernel's ESP; `withy-scenarios` is the
//! program.

mod failover;
mod hostile;
mod kernel_tools;
mod liveness;
mod negotiation;
mod policies;
mod refusal;
mod repair;
mod restart;
mod scale;
mod stage;
mod suites;
mod throughput;
mod transfer;
mod wire;

use anyhow::Result;

/// A named test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Whether it is one of the few that run on kernels other than the main one.
    pub smoke: bool,
    /// Plays it; prints its figures.
    pub run: fn() -> Result<()>,
}

impl Scenario {
    const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self {
            name,
            smoke: false,
            run,
        }
    }

    const fn smoke(mut self) -> Self {
        self.smoke = true;
        self
    }
}

/// Every scenario; what is quick to fail comes first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        transfer::SCENARIOS,
        wire::SCENARIOS,
        policies::SCENARIOS,
        suites::SCENARIOS,
        throughput::SCENARIOS,
        failover::SCENARIOS,
        liveness::SCENARIOS,
        restart::SCENARIOS,
        negotiation::SCENARIOS,
        repair::SCENARIOS,
        hostile::SCENARIOS,
        scale::SCENARIOS,
        refusal::SCENARIOS,
    ]
    .concat()
}
