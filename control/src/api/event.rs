//! What happens to a gateway, as logs and monitors tell it.

use std::{fmt, net::Ipv4Addr, time::SystemTime};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::status::LinkState;
use crate::terminal::disarm;

/// The version of this form. It changes when a field changes its meaning or goes, not when a field or an event is added.
pub const SCHEMA: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, by RFC 3339, in UTC and to the millisecond.
    pub time: String,
    /// Whether it is bad news.
    pub severity: Severity,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// The same in words.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody should look at it unless it passes.
    Warning,
    /// All is well, or well again.
    Info,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum What {
    /// The daemon has done what could be done at once.
    Ready,
    /// The daemon ends; what is set up stays.
    Stopping,
    /// The daemon has another configuration.
    Reloaded {
        /// Its file.
        file: String,
        /// What differs.
        changes: Vec<String>,
    },
    /// The keys of all SAs were handed to root: whoever has them reads and forges what the tunnels carry.
    KeysExported {
        /// The process that asked.
        pid: Option<i32>,
    },
    /// A link's state, address or next hop is another now.
    Link {
        /// The link.
        link: String,
        /// What it is doing.
        state: LinkState,
        /// Its address.
        address: Option<Ipv4Addr>,
        /// Its next hop.
        next_hop: Option<Ipv4Addr>,
    },
    /// A tunnel goes on where the last run of the daemon left it.
    TunnelResumed {
        /// The tunnel.
        tunnel: String,
    },
    /// A tunnel has its first IVC.
    TunnelNegotiated {
        /// The tunnel.
        tunnel: String,
    },
    /// The other side has ended a tunnel.
    TunnelEnded {
        /// The tunnel.
        tunnel: String,
        /// Why, in the other side's words.
        reason: String,
    },
    /// Packets of a tunnel that would fit whole are split from now on, or no longer.
    Splitting {
        /// The tunnel.
        tunnel: String,
        /// Whether they are.
        pieces: bool,
        /// Why.
        reason: String,
    },
    /// A tunnel's packets are protected by new keys.
    NewKeys {
        /// The tunnel.
        tunnel: String,
    },
    /// An IVC carries data from now on.
    IvcJoined(Ivc),
    /// An IVC is gone.
    IvcDropped {
        /// Which one.
        #[serde(flatten)]
        ivc: Ivc,
        /// Why.
        reason: String,
    },
    /// Nothing comes over an IVC: it carries no data.
    IvcSilent(Ivc),
    /// An IVC carries data again.
    IvcBack(Ivc),
    /// The connection of an IVC is lost; the IVC carries data still.
    ConnectionLost {
        /// Which one.
        #[serde(flatten)]
        ivc: Ivc,
        /// Why.
        reason: String,
    },
    /// A connection could not be made.
    ConnectionFailed {
        /// From and to where.
        #[serde(flatten)]
        ivc: Ivc,
        /// Why.
        reason: String,
    },
    /// This side refuses a connection of the other.
    Refused {
        /// The tunnel.
        tunnel: String,
        /// The other side's address.
        remote: Ipv4Addr,
        /// Why.
        reason: String,
    },
    /// The other side claims a subnet that another tunnel has.
    SubnetTaken {
        /// The tunnel.
        tunnel: String,
        /// The subnet.
        subnet: Ipv4Net,
        /// The tunnel that has it.
        owner: String,
    },
    /// The other side refuses what this one asks for.
    RefusedByPeer {
        /// The tunnel.
        tunnel: String,
        /// The other side's address.
        remote: Ipv4Addr,
        /// What was asked for.
        request: String,
        /// Why, in the other side's words.
        reason: String,
    },
    /// Something cannot be brought to the stated condition.
    Problem {
        /// What.
        problem: String,
    },
    /// The monitor that this is told was too slow for the events before.
    Missed {
        /// How many it misses.
        count: u64,
    },
    /// A problem is no more.
    ProblemGone {
        /// What was wrong.
        problem: String,
    },
}

/// An IVC: a link, and the address of a link of the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ivc {
    /// The tunnel.
    pub tunnel: String,
    /// This side's link.
    pub link: String,
    /// The address of the other side's.
    pub remote: Ipv4Addr,
}

impl Event {
    /// Notes that something happens at `now`. Texts of other gateways and of the system lose what could steer a terminal.
    #[must_use]
    pub fn new(now: SystemTime, what: What) -> Self {
        let what = what.disarm();
        Self {
            schema: SCHEMA,
            time: humantime::format_rfc3339_millis(now).to_string(),
            severity: what.severity(),
            text: what.to_string(),
            what,
        }
    }
}

impl What {
    /// Whether it is bad news.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Link { state, .. } if *state != LinkState::Up => Severity::Warning,
            Self::KeysExported { .. }
            | Self::TunnelEnded { .. }
            | Self::IvcSilent(_)
            | Self::ConnectionLost { .. }
            | Self::ConnectionFailed { .. }
            | Self::Refused { .. }
            | Self::RefusedByPeer { .. }
            | Self::SubnetTaken { .. }
            | Self::Missed { .. }
            | Self::Problem { .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// The tunnel that it is about, if it is about one.
    #[must_use]
    pub fn tunnel(&self) -> Option<&str> {
        match self {
            Self::TunnelResumed { tunnel }
            | Self::TunnelNegotiated { tunnel }
            | Self::TunnelEnded { tunnel, .. }
            | Self::NewKeys { tunnel }
            | Self::Splitting { tunnel, .. }
            | Self::Refused { tunnel, .. }
            | Self::SubnetTaken { tunnel, .. }
            | Self::RefusedByPeer { tunnel, .. } => Some(tunnel),
            _ => self.ivc().map(|ivc| &*ivc.tunnel),
        }
    }

    /// The link that it is about, if it is about one.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Link { link, .. } => Some(link),
            _ => self.ivc().map(|ivc| &*ivc.link),
        }
    }

    fn ivc(&self) -> Option<&Ivc> {
        match self {
            Self::IvcJoined(ivc)
            | Self::IvcSilent(ivc)
            | Self::IvcBack(ivc)
            | Self::IvcDropped { ivc, .. }
            | Self::ConnectionLost { ivc, .. }
            | Self::ConnectionFailed { ivc, .. } => Some(ivc),
            _ => None,
        }
    }

    fn disarm(mut self) -> Self {
        let texts: [Option<&mut String>; 2] = match &mut self {
            Self::TunnelEnded { reason, .. }
            | Self::IvcDropped { reason, .. }
            | Self::ConnectionLost { reason, .. }
            | Self::ConnectionFailed { reason, .. }
            | Self::Refused { reason, .. } => [Some(reason), None],
            Self::RefusedByPeer {
                request, reason, ..
            } => [Some(request), Some(reason)],
            Self::Problem { problem } | Self::ProblemGone { problem } => [Some(problem), None],
            _ => [None, None],
        };
        for text in texts.into_iter().flatten() {
            *text = disarm(std::mem::take(text));
        }
        self
    }
}

/// In words, all in one line.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tunnel) = self.tunnel() {
            write!(f, "tunnel {tunnel}: ")?;
        }
        self.tell(f)
    }
}

struct Words<'a>(&'a What);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(f)
    }
}

impl What {
    /// In words, without the tunnel's name.
    pub(crate) fn words(&self) -> String {
        Words(self).to_string()
    }

    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Stopping => f.write_str("stopping; what is set up keeps forwarding"),
            Self::KeysExported { pid } => {
                f.write_str("the keys of all SAs were exported")?;
                if let Some(pid) = pid {
                    write!(f, " to process {pid}")?;
                }
                f.write_str(": whoever has them reads and forges what the tunnels carry")
            }
            Self::Link {
                link,
                state,
                address,
                next_hop,
            } => {
                write!(f, "link {link} {state}")?;
                if let Some(address) = address {
                    write!(f, ", address {address}")?;
                }
                match next_hop {
                    Some(next_hop) => write!(f, ", next hop {next_hop}"),
                    None => Ok(()),
                }
            }
            Self::Reloaded { file, changes } => {
                write!(f, "another configuration of {file}: {}", changes.join(", "))
            }
            Self::TunnelResumed { .. } => f.write_str("goes on where the last run left it"),
            Self::TunnelNegotiated { .. } => f.write_str("is negotiated"),
            Self::TunnelEnded { reason, .. } => write!(f, "the other side ends it: {reason}"),
            Self::NewKeys { .. } => f.write_str("new keys are in use"),
            Self::Splitting { pieces, reason, .. } => {
                let what = if *pieces { "in pieces" } else { "whole" };
                write!(f, "packets go {what} from now on: {reason}")
            }
            Self::IvcJoined(ivc) => write!(f, "{ivc} joined"),
            Self::IvcDropped { ivc, reason } => write!(f, "{ivc} dropped: {reason}"),
            Self::IvcSilent(ivc) => write!(f, "nothing comes over {ivc}: it carries no data"),
            Self::IvcBack(ivc) => write!(f, "{ivc} carries data again"),
            Self::ConnectionLost { ivc, reason } => {
                write!(f, "the connection of {ivc} is lost: {reason}")
            }
            Self::ConnectionFailed { ivc, reason } => {
                write!(f, "link {} to {}: {reason}", ivc.link, ivc.remote)
            }
            Self::Refused { remote, reason, .. } => write!(f, "{remote} is refused: {reason}"),
            Self::RefusedByPeer {
                remote,
                request,
                reason,
                ..
            } => write!(f, "{remote} refuses {request}: {reason}"),
            Self::SubnetTaken { subnet, owner, .. } => {
                write!(f, "{subnet} belongs to tunnel {owner}")
            }
            Self::Missed { count } => write!(f, "{count} events are missing here"),
            Self::Problem { problem } => f.write_str(problem),
            Self::ProblemGone { problem } => write!(f, "no longer: {problem}"),
        }
    }
}

impl fmt::Display for Ivc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IVC of link {} to {}", self.link, self.remote)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ivc() -> Ivc {
        Ivc {
            tunnel: "paris".to_owned(),
            link: "dsl".to_owned(),
            remote: [198, 51, 100, 10].into(),
        }
    }

    fn event(what: What) -> Event {
        Event::new(
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            what,
        )
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let dropped = event(What::IvcDropped {
            ivc: ivc(),
            reason: "its link is gone".to_owned(),
        });
        let json = serde_json::to_string(&dropped).unwrap();
        assert_eq!(
            json,
            r#"{"schema":1,"time":"2023-11-14T22:13:20.123Z","severity":"info","event":"ivc-dropped","#.to_owned()
                + r#""tunnel":"paris","link":"dsl","remote":"198.51.100.10","reason":"its link is gone","#
                + r#""text":"tunnel paris: IVC of link dsl to 198.51.100.10 dropped: its link is gone"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), dropped);
    }

    #[test]
    fn links_say_what_they_have() {
        let link = |state, address| {
            event(What::Link {
                link: "dsl".to_owned(),
                state,
                address,
                next_hop: address,
            })
        };
        let up = link(LinkState::Up, Some([203, 0, 113, 1].into()));
        assert_eq!(
            up.text,
            "link dsl up, address 203.0.113.1, next hop 203.0.113.1"
        );
        assert_eq!(up.severity, Severity::Info);
        let down = link(LinkState::NoAddress, None);
        assert_eq!(down.text, "link dsl no address");
        assert_eq!(down.severity, Severity::Warning);
    }

    #[test]
    fn words_of_others_steer_no_terminal() {
        let words = "a\u{1b}[2J\n\u{9b}b\u{202e}";
        for what in [
            What::TunnelEnded {
                tunnel: "paris".to_owned(),
                reason: words.to_owned(),
            },
            What::ConnectionLost {
                ivc: ivc(),
                reason: words.to_owned(),
            },
            What::ConnectionFailed {
                ivc: ivc(),
                reason: words.to_owned(),
            },
            What::Refused {
                tunnel: "paris".to_owned(),
                remote: ivc().remote,
                reason: words.to_owned(),
            },
            What::RefusedByPeer {
                tunnel: "paris".to_owned(),
                remote: ivc().remote,
                request: words.to_owned(),
                reason: words.to_owned(),
            },
            What::Problem {
                problem: words.to_owned(),
            },
        ] {
            let event = event(what);
            let json = serde_json::to_string(&event).unwrap();
            for shown in [event.text, json] {
                let steers = |c: char| c.is_control() || c == '\u{202e}';
                assert!(!shown.contains(steers), "{shown:?}");
            }
        }
    }
}
