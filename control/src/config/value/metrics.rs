use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use serde::{Serialize, Serializer};

use super::ValueError;

/// Where metrics are served: an address and a TCP port, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetricsListen(Option<SocketAddr>);

impl MetricsListen {
    /// The TCP port where nothing else is said.
    pub const DEFAULT_PORT: u16 = 9710;

    /// Returns the address and the port; none if metrics are off.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        self.0
    }

    /// Returns whether other machines could reach it.
    #[must_use]
    pub fn is_exposed(self) -> bool {
        self.0.is_some_and(|at| !at.ip().is_loopback())
    }
}

/// On the loopback address, at [`MetricsListen::DEFAULT_PORT`].
impl Default for MetricsListen {
    fn default() -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self(Some(SocketAddr::new(address, Self::DEFAULT_PORT)))
    }
}

impl FromStr for MetricsListen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address: Option<SocketAddr> = text.parse().ok();
        let legal = address.filter(|at| at.port() > 0 && !at.ip().is_multicast());
        match legal {
            Some(address) => Ok(Self(Some(address))),
            None => Err(ValueError::Malformed {
                text: text.to_owned(),
                what: "an address with a port",
                form: "such as 127.0.0.1:9710 or [::1]:9710, or off",
            }),
        }
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl Serialize for MetricsListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_port() {
        for (text, exposed) in [
            ("off", false),
            ("127.0.0.1:9710", false),
            ("[::1]:1", false),
            ("0.0.0.0:9710", true),
            ("[::]:9710", true),
            ("192.168.1.1:65535", true),
        ] {
            let listen: MetricsListen = text.parse().expect("a legal value");
            assert_eq!(listen.to_string(), text);
            assert_eq!(listen.is_exposed(), exposed, "{text}");
        }
        for illegal in [
            "",
            "on",
            "9710",
            ":9710",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "localhost:9710",
            "::1:9710x",
            "224.0.0.1:9710",
        ] {
            assert!(illegal.parse::<MetricsListen>().is_err(), "{illegal}");
        }
        assert!(!MetricsListen::default().is_exposed());
    }
}
