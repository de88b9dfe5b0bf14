//! What `withy status` shows.
//!
//! The JSON form has base units (bits per second, seconds, bytes); `schema` changes when a field
//! changes its meaning or goes, not when one is added.

use std::{fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

/// The version of this form.
pub const SCHEMA: u32 = 1;

/// A gateway and all that it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The gateway's name.
    pub gateway: String,
    /// The version of the daemon.
    pub version: String,
    /// The IPsec engine: `kernel` or `userspace`.
    pub engine: String,
    /// Why it is that one.
    #[serde(default)]
    pub engine_reason: Option<String>,
    /// When the daemon started, in seconds since the epoch.
    pub started: u64,
    /// The links, by name.
    pub links: Vec<LinkStatus>,
    /// The tunnels, by name.
    pub tunnels: Vec<TunnelStatus>,
    /// Packets dropped since the maps were made (keepalives that were not believed: since the daemon
    /// started), by reason.
    pub drops: Vec<DropStatus>,
    /// Connections of other gateways that were refused since the daemon started, by reason.
    #[serde(default)]
    pub refusals: Vec<RefusalStatus>,
    /// What Withy's own engine has done about packets that links lost, since the daemon started; empty with the kernel's.
    #[serde(default)]
    pub resends: Vec<ResendStatus>,
    /// What cannot be brought to the stated condition at present; empty when all is well.
    pub problems: Vec<String>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The link's name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// What it is doing.
    pub state: LinkState,
    /// Its current address.
    pub address: Option<Ipv4Addr>,
    /// Its current next hop.
    pub next_hop: Option<Ipv4Addr>,
    /// The interface's MTU in bytes.
    pub mtu: Option<u32>,
    /// Where it receives: `xdp` or `tc`.
    pub receive: Option<String>,
    /// Why packets do not leave at its rate, but as they come; nothing if they do.
    pub unpaced: Option<String>,
    /// Since when it has been in this state, in seconds since the epoch.
    pub since: u64,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Usable.
    Up,
    /// The interface is down, or has no carrier.
    Down,
    /// The interface has no usable address.
    NoAddress,
    /// There is no such interface.
    Missing,
    /// The operator has taken it out of use.
    Disabled,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::NoAddress => "no address",
            Self::Missing => "no interface",
            Self::Disabled => "out of use",
        })
    }
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// The tunnel's name.
    pub name: String,
    /// The state of its IVCs together.
    pub state: TunnelState,
    /// The split policy.
    pub split: String,
    /// The ESP suite; none until it is negotiated, as for the endpoints.
    pub suite: Option<String>,
    /// The local endpoint.
    pub local: Option<Ipv4Addr>,
    /// The remote endpoint.
    pub remote: Option<Ipv4Addr>,
    /// The longest packet in bytes that hosts may send through it; 0 until it is negotiated.
    pub mtu: u32,
    /// What TCP's MSS is clamped to, in bytes.
    pub mss: Option<u16>,
    /// The number of ESP packets sent since the maps were made.
    pub sequence: u64,
    /// Why it could not be negotiated last, until it can; who was refused last, at a gateway that waits.
    #[serde(default)]
    pub trouble: Option<String>,
    /// What it has carried of late, once that is known.
    #[serde(default)]
    pub recent: Option<RecentStatus>,
    /// What is done about packets that come out of order; none until it is negotiated.
    #[serde(default)]
    pub order: Option<OrderStatus>,
    /// What is split, and why; none until it is negotiated.
    #[serde(default)]
    pub splitting: Option<SplittingStatus>,
    /// The IVCs, in the order of the configuration.
    pub ivcs: Vec<IvcStatus>,
}

/// What a tunnel has carried of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentStatus {
    /// In how many seconds.
    pub seconds: f64,
    /// Bytes of the pieces sent, IP headers included.
    pub tx_bytes: u64,
    /// Bytes of the pieces received.
    pub rx_bytes: u64,
}

/// What is split of the packets that a tunnel sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplittingStatus {
    /// Whether packets are split at present that would fit whole.
    pub pieces: bool,
    /// Why.
    pub reason: String,
    /// Packets that have been split since the maps were made, by choice or because they had to.
    pub packets: u64,
    /// How many are split each second.
    pub packets_per_second: f64,
    /// With more each second, the numbers that tell packets' pieces apart come again while pieces of an earlier packet may wait for one
    /// that was lost. What is put together wrongly is dropped.
    pub limit_per_second: f64,
    /// Whether there are more.
    pub over_limit: bool,
}

/// What is done about the packets of a tunnel that come out of order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// What the configuration says: `auto`, `on` or `off`.
    pub policy: String,
    /// Whether they are put back in order at present.
    pub active: bool,
    /// Why.
    pub reason: String,
    /// What has been done since the daemon started; none where the engine keeps no count.
    pub counts: Option<OrderCounts>,
}

/// How it went with the packets of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderCounts {
    /// Packets that came in order.
    pub in_order: u64,
    /// Packets that came after one that had been sent later.
    pub reordered: u64,
    /// Packets that waited for one sent before.
    pub waited: u64,
    /// How long they waited in sum, in seconds.
    pub wait_seconds: f64,
    /// Packets that were given up because every IVC that is alive had brought a later one.
    pub lost: u64,
    /// Packets that waited as long as they may, or were too many, and went on without those before.
    pub expired: u64,
    /// Packets that came when they had been given up already.
    pub too_late: u64,
    /// Packets of flows that go by an IVC of their own, for which no other waits.
    pub apart: u64,
    /// How long a packet may wait, in seconds.
    pub bound_seconds: f64,
}

/// The state of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelState {
    /// All IVCs are usable.
    Up,
    /// Some IVCs are not usable.
    Degraded,
    /// No IVC is usable, or none is negotiated yet.
    Down,
}

/// An IVC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IvcStatus {
    /// The link that carries it.
    pub link: String,
    /// The link's address, if it has one.
    pub local: Option<Ipv4Addr>,
    /// The remote link's address.
    pub remote: Ipv4Addr,
    /// What the other gateway calls that link, if the two negotiate.
    #[serde(default)]
    pub remote_link: Option<String>,
    /// Whether it may carry pieces: its link is up, and the other side hears it.
    pub usable: bool,
    /// What it carries, in bits per second: as has been found out, before that as is stated.
    pub rate_bps: u64,
    /// Where that comes from.
    #[serde(default)]
    pub rate_source: RateSource,
    /// The most that it is given, in bits per second, where the configuration says so.
    #[serde(default)]
    pub rate_cap_bps: Option<u64>,
    /// Its one-way latency in seconds, as is stated: that counts until it is measured.
    pub latency_seconds: f64,
    /// By how much its one-way latency, while it is empty, is more than that of the tunnel's fastest, in seconds, once it is known.
    #[serde(default)]
    pub lag_seconds: Option<f64>,
    /// By how much later than by the tunnel's fastest, while that is empty, packets may arrive, in seconds.
    #[serde(default)]
    pub lag_limit_seconds: Option<f64>,
    /// How long a packet that is sent now waits on the way, in seconds, as far as is known.
    #[serde(default)]
    pub queue_seconds: Option<f64>,
    /// By how much its one-way delay varies without a queue, in seconds.
    #[serde(default)]
    pub jitter_seconds: Option<f64>,
    /// How many flows at present go by it and nothing else does, if it is not bonded with the others: it is too far away for that.
    #[serde(default)]
    pub flows: Option<usize>,
    /// Why it carries nothing but keepalives at present, if so.
    #[serde(default)]
    pub probes_only: Option<ProbesOnly>,
    /// The part of the bytes that the tunnel sent of late that it carried, from 0 to 1; none where the tunnel sent nothing.
    #[serde(default)]
    pub share_tx_ratio: Option<f64>,
    /// The part of the bytes that the tunnel received of late that it carried.
    #[serde(default)]
    pub share_rx_ratio: Option<f64>,
    /// What keepalives tell of it.
    #[serde(default)]
    pub state: IvcState,
    /// Since when it has been in this state, in seconds since the epoch.
    #[serde(default)]
    pub since: u64,
    /// The smoothed round-trip time in seconds, once it is known.
    #[serde(default)]
    pub rtt_seconds: Option<f64>,
    /// The smallest round-trip time of the last one to two minutes, in seconds.
    #[serde(default)]
    pub rtt_min_seconds: Option<f64>,
    /// The part of what this gateway sent that was lost in the last half minute, from 0 to 1, once it is known.
    #[serde(default)]
    pub loss_tx_ratio: Option<f64>,
    /// The part of what the other gateway sent that was lost.
    #[serde(default)]
    pub loss_rx_ratio: Option<f64>,
    /// The longest piece in bytes.
    pub mtu: u32,
    /// Where that comes from.
    #[serde(default)]
    pub mtu_source: MtuSource,
    /// Sent.
    pub tx: TrafficStatus,
    /// Received.
    pub rx: TrafficStatus,
}

/// A security association of a tunnel; never its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaStatus {
    /// The tunnel.
    pub tunnel: String,
    /// Which way its packets go.
    pub direction: SaDirection,
    /// The SPI.
    pub spi: u32,
    /// The ESP suite.
    pub suite: String,
    /// Whether it is the newest of its direction. Older ones are for packets that are under way.
    pub newest: bool,
    /// What the engine knows of it; nothing if it has not got it.
    pub usage: Option<SaUsage>,
}

/// Which way the packets of a security association go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaDirection {
    /// From the other gateway.
    In,
    /// To the other gateway.
    Out,
}

/// How much a security association has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaUsage {
    /// When it was made, in seconds since the epoch, if the engine tells.
    pub since: Option<u64>,
    /// How many packets it has protected or checked.
    pub packets: u64,
    /// How many bytes were in them, before they were protected.
    pub bytes: u64,
}

/// The state of an IVC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IvcState {
    /// Nothing has been heard yet.
    #[default]
    Waiting,
    /// It carries packets in both directions.
    Up,
    /// Its link does not work.
    LinkDown,
    /// Nothing is heard from the other side.
    Silent,
    /// The other side hears nothing.
    Unheard,
    /// The other side says that its link does not work.
    Impaired,
}

/// Where an IVC's rate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSource {
    /// The IVC has not been seen busy: it carries at least that, and may carry more.
    #[default]
    Assumed,
    /// The configuration says so, and it has not been seen to carry less.
    Stated,
    /// It has been seen busy.
    Measured,
    /// That was long ago.
    Old,
}

/// Why an IVC carries nothing but keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbesOnly {
    /// It is not usable, as its state says.
    Unusable,
    /// By the others everything arrives earlier: it adds too little to make packets wait for it.
    TooSlow,
}

/// Where an IVC's MTU comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MtuSource {
    /// It is assumed until probing has found it.
    #[default]
    Assumed,
    /// Probing has found it.
    Probed,
    /// The configuration says so.
    Fixed,
}

/// Traffic in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// ESP packets whose first byte went this way.
    pub packets: u64,
    /// Pieces: whole packets and fragments.
    pub pieces: u64,
    /// Bytes of those pieces, IP headers included.
    pub bytes: u64,
}

/// Drops for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropStatus {
    /// The reason, such as `tx_queue_full`.
    pub reason: String,
    /// How many packets.
    pub packets: u64,
}

/// Packets to which one thing has happened after links lost them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResendStatus {
    /// `asked` for by this gateway, `sent` again by it, `came` in time after it asked, `late` when it waited no longer.
    pub event: String,
    /// How many packets.
    pub packets: u64,
}

/// Refused connections for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// The reason, such as `unknown_key`.
    pub reason: String,
    /// How many connections.
    pub connections: u64,
}

impl Status {
    /// Whether everything that is configured works.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
            && self
                .links
                .iter()
                .all(|link| matches!(link.state, LinkState::Up | LinkState::Disabled))
            && self
                .tunnels
                .iter()
                .all(|tunnel| tunnel.state == TunnelState::Up)
    }
}
