//! The messages on the control socket: one JSON object a line each way, one request a connection. A monitor gets any number
//! of lines.

use serde::{Deserialize, Serialize};

use super::{
    event::Event,
    keys::SaKey,
    ping::Pinged,
    speed::{Direction, Speed},
    status::{SaStatus, Status},
};

/// The longest request in bytes.
pub(crate) const MAX_REQUEST: u64 = 64 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// How is everything?
    Status,
    /// Which security associations are there?
    Associations,
    /// Which keys do the security associations have? Only root is told.
    ExportKeys,
    /// Tell what happens: [`Response::Done`], then each event, until one of the two ends.
    Monitor,
    /// What has happened?
    Events,
    /// Renew a tunnel's keys.
    Rekey {
        /// The tunnel.
        tunnel: String,
    },
    /// What is the configuration?
    Configuration,
    /// Take the configuration that the file has now.
    Reload,
    /// Take a link out of use, or into use again.
    Link {
        /// The link.
        link: String,
        /// Out of use.
        down: bool,
    },
    /// How long do packets take over the IVCs of a tunnel? [`Response::Done`], then each [`Response::Pinged`].
    Ping {
        /// The tunnel.
        tunnel: String,
        /// The link, if only its IVCs are meant.
        link: Option<String>,
        /// How often; without end if that is not said.
        count: Option<u32>,
        /// The time between two, in milliseconds.
        interval_ms: u64,
    },
    /// What do the IVCs of a tunnel carry under load? [`Response::Done`], then each [`Response::Speed`].
    Speedtest {
        /// The tunnel.
        tunnel: String,
        /// The link, if its IVCs are to be measured alone.
        link: Option<String>,
        /// Which ways, one after the other.
        directions: Vec<Direction>,
        /// For how long each, in seconds.
        seconds: u16,
    },
    /// Tell the other gateways that this one leaves, and end; what is set up stays.
    Leave,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "response", content = "value")]
pub enum Response {
    /// How everything is.
    Status(Box<Status>),
    /// The security associations, by tunnel.
    Associations(Vec<SaStatus>),
    /// The keys of the security associations.
    Keys(Vec<SaKey>),
    /// Something happens.
    Event(Box<Event>),
    /// What has happened last, the oldest first.
    Events(Vec<Event>),
    /// What has become of a ping.
    Pinged(Box<Pinged>),
    /// What came through one way.
    Speed(Box<Speed>),
    /// It is done, or under way.
    Done,
    /// The configuration: YAML, defaults filled in, without keys.
    Configuration(String),
    /// The daemon has another configuration.
    Reloaded {
        /// What differs.
        changes: Vec<String>,
        /// What people should know of the new one.
        warnings: Option<String>,
    },
    /// The new configuration is bad, and the daemon keeps the old one.
    BadConfiguration(String),
    /// The daemon ends.
    Stopping,
    /// The request failed.
    Failed(String),
}
