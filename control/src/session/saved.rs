//! What outlives the daemon: everything about an SVC but its secrets, which the kernel keeps.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{config::LinkName, wire::LinkFacts};

/// An SVC as it is written to the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The responder's name for the SVC.
    pub svc: u64,
    /// This gateway's tunnel endpoint.
    pub local: Ipv4Addr,
    /// The other gateway's tunnel endpoint.
    pub remote: Ipv4Addr,
    /// The subnets behind this gateway.
    pub local_subnets: Vec<Ipv4Net>,
    /// The subnets behind the other gateway.
    pub remote_subnets: Vec<Ipv4Net>,
    /// The suite's name.
    pub suite: String,
    /// The SPI by which this gateway receives.
    pub inbound: u32,
    /// The SPI by which this gateway sends.
    pub outbound: u32,
    /// The IVCs.
    pub ivcs: Vec<SavedIvc>,
}

/// An IVC as it is written to the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedIvc {
    /// The responder's number for it.
    pub number: u32,
    /// The link at this end.
    pub link: LinkName,
    /// Its address.
    pub local: Ipv4Addr,
    /// The address at the other end.
    pub remote: Ipv4Addr,
    /// The TCP port at the other end, where this gateway is the initiator.
    pub port: u16,
    /// The link at the other end.
    pub facts: LinkFacts,
}
