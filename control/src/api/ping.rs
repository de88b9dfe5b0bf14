//! What `withy ping` is told.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// An IVC that is pinged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PingedIvc {
    /// The link that carries it.
    pub link: String,
    /// The remote link's address.
    pub remote: Ipv4Addr,
    /// What the other gateway calls that link, if the two negotiate.
    pub remote_link: Option<String>,
}

/// What has become of a ping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinged {
    /// Its number, from 1; all IVCs are pinged at the same time under the same number.
    pub number: u32,
    /// The IVC.
    #[serde(flatten)]
    pub ivc: PingedIvc,
    /// Whether it was sent: the link works.
    pub sent: bool,
    /// How long it took there and back, in seconds, without what the other gateway took; none if no answer has come in time.
    pub rtt_seconds: Option<f64>,
    /// How long the way out took by the clocks of both gateways, in seconds. These count from different moments: only by how much this
    /// differs, from one ping to another and among the IVCs of a tunnel, tells anything.
    pub out_seconds: Option<f64>,
    /// The same of the way back.
    pub back_seconds: Option<f64>,
}
