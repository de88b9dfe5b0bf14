//! What `withy speedtest` is told.

use serde::{Deserialize, Serialize};

use super::ping::PingedIvc;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the other gateway.
    Down,
    /// To the other gateway.
    Up,
}

/// What came through one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Which way.
    pub direction: Direction,
    /// Over how long it was measured, in seconds, once the load had been there for a while.
    pub seconds: f64,
    /// What came through in all, in bits per second of IP packets on the links: with whatever else the tunnel carried meanwhile.
    pub rate_bps: u64,
    /// The IVCs.
    pub ivcs: Vec<SpeedIvc>,
}

/// What came through over an IVC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedIvc {
    /// The IVC.
    #[serde(flatten)]
    pub ivc: PingedIvc,
    /// What came through, in bits per second.
    pub rate_bps: u64,
    /// The part of the keepalives of this direction that was lost meanwhile, from 0 to 1.
    pub loss_ratio: Option<f64>,
    /// The smallest round-trip time before there was load, in seconds.
    pub rtt_idle_seconds: Option<f64>,
    /// The median of the round-trip times under load.
    pub rtt_loaded_seconds: Option<f64>,
    /// The longest.
    pub rtt_max_seconds: Option<f64>,
}
