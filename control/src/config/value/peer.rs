use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Serialize, Serializer};

use super::{HostAddress, ValueError};
use crate::identity::PublicKey;

/// Where a gateway listens for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// The address of one of its links.
    pub address: Ipv4Addr,
    /// The TCP port.
    pub port: u16,
}

impl PeerAddress {
    /// The TCP port where nothing else is said.
    pub const DEFAULT_PORT: u16 = 5710;
}

impl FromStr for PeerAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, read_port(text, port)?),
            None => (text, Self::DEFAULT_PORT),
        };
        let address: HostAddress = address.parse()?;
        Ok(Self {
            address: address.get(),
            port,
        })
    }
}

fn read_port(text: &str, port: &str) -> Result<u16, ValueError> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| digits && *port > 0);
    number.ok_or_else(|| ValueError::Malformed {
        text: text.to_owned(),
        what: "an address with a port",
        form: "such as 203.0.113.2, or 203.0.113.2:5711 for another port than 5710",
    })
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Self::DEFAULT_PORT => self.address.fmt(f),
            port => write!(f, "{}:{port}", self.address),
        }
    }
}

impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A public key as a value of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerKey(PublicKey);

impl PeerKey {
    pub(crate) fn get(self) -> PublicKey {
        self.0
    }
}

impl FromStr for PeerKey {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Self).map_err(|_| ValueError::Malformed {
            text: text.to_owned(),
            what: "a public key",
            form: "the 44 characters that `withy pubkey` prints on the other gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_takes_the_usual_one() {
        for (text, port) in [("203.0.113.2", 5710), ("203.0.113.2:443", 443)] {
            let peer: PeerAddress = text.parse().expect("an address");
            assert_eq!(peer.port, port);
            assert_eq!(peer.to_string(), text);
        }
        for illegal in [
            "",
            ":5710",
            "203.0.113.2:",
            "203.0.113.2:0",
            "203.0.113.2:+1",
            "203.0.113.2:65536",
            "127.0.0.1",
            "gw.example:5710",
            "2001:db8::1",
        ] {
            assert!(illegal.parse::<PeerAddress>().is_err(), "{illegal}");
        }
    }
}
