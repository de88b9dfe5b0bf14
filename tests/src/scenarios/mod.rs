//! What the product must do, each thing as one named test with gateways of its own.
//!
//! They run as root: those that need no ESP of the kernel on the kernel at hand, those that show something about it
//! in a virtual machine. `withy-scenarios` is the program.

mod attacks;
mod benches;
mod classes;
mod decryption;
mod engine;
mod failover;
mod far;
mod hostile;
mod hub;
mod interop;
mod kernel_tools;
mod links;
mod liveness;
mod measure;
mod negotiation;
mod operator;
mod order;
mod pacing;
mod policies;
mod refusal;
mod repair;
mod resend;
mod restart;
mod scale;
mod splitting;
pub(crate) mod stage;
mod suites;
mod throughput;
mod transfer;
mod wire;

use anyhow::Result;

/// What the kernel does for the tunnels of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipsec {
    /// It has ESP: the tunnels carry data.
    Kernel,
    /// It has none: the gateways take Withy's own ESP engine.
    Missing,
}

/// What a scenario takes.
#[derive(Clone, Copy, Debug)]
enum Play {
    /// ESP.
    WithEsp(fn() -> Result<()>),
    /// Nothing, and it shows the same whoever does ESP.
    Anywhere(fn(Ipsec) -> Result<()>),
    /// Nothing, but the kernel's ESP goes other ways than Withy's own, so both are to be shown.
    Everywhere(fn(Ipsec) -> Result<()>),
    /// More of the machine than an emulated one has; it does without ESP.
    Native(fn() -> Result<()>),
}

/// A named test.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Whether it is one of the few that run on kernels other than the main one.
    pub smoke: bool,
    play: Play,
}

impl Scenario {
    const fn new(name: &'static str, play: fn() -> Result<()>) -> Self {
        Self::of(name, Play::WithEsp(play))
    }

    const fn anywhere(name: &'static str, play: fn(Ipsec) -> Result<()>) -> Self {
        Self::of(name, Play::Anywhere(play))
    }

    const fn everywhere(name: &'static str, play: fn(Ipsec) -> Result<()>) -> Self {
        Self::of(name, Play::Everywhere(play))
    }

    const fn native(name: &'static str, play: fn() -> Result<()>) -> Self {
        Self::of(name, Play::Native(play))
    }

    const fn of(name: &'static str, play: Play) -> Self {
        Self {
            name,
            smoke: false,
            play,
        }
    }

    const fn smoke(mut self) -> Self {
        self.smoke = true;
        self
    }

    /// Whether it is played with or without ESP.
    #[must_use]
    pub fn suits(&self, ipsec: Ipsec) -> bool {
        match self.play {
            Play::WithEsp(_) => ipsec == Ipsec::Kernel,
            Play::Anywhere(_) | Play::Everywhere(_) => true,
            Play::Native(_) => ipsec == Ipsec::Missing,
        }
    }

    /// Whether it shows something about the kernel's ESP.
    #[must_use]
    pub fn is_about_esp(&self) -> bool {
        matches!(self.play, Play::WithEsp(_) | Play::Everywhere(_))
    }

    /// Plays it; prints its figures.
    pub fn run(&self, ipsec: Ipsec) -> Result<()> {
        match self.play {
            Play::WithEsp(play) | Play::Native(play) => play(),
            Play::Anywhere(play) | Play::Everywhere(play) => play(ipsec),
        }
    }
}

/// Every scenario; what is quick to fail comes first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        transfer::SCENARIOS,
        wire::SCENARIOS,
        policies::SCENARIOS,
        splitting::SCENARIOS,
        suites::SCENARIOS,
        engine::SCENARIOS,
        interop::SCENARIOS,
        decryption::SCENARIOS,
        throughput::SCENARIOS,
        benches::SCENARIOS,
        classes::SCENARIOS,
        failover::SCENARIOS,
        far::SCENARIOS,
        links::SCENARIOS,
        liveness::SCENARIOS,
        measure::SCENARIOS,
        restart::SCENARIOS,
        negotiation::SCENARIOS,
        attacks::SCENARIOS,
        hub::SCENARIOS,
        operator::SCENARIOS,
        order::SCENARIOS,
        pacing::SCENARIOS,
        resend::SCENARIOS,
        repair::SCENARIOS,
        hostile::SCENARIOS,
        scale::SCENARIOS,
        refusal::SCENARIOS,
    ]
    .concat()
}
