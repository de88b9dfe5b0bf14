use std::{fmt, net::Ipv4Addr, str::FromStr};

use super::ValueError;
use ipnet::Ipv4Net;

/// The IPv4 address of one host: not unspecified, loopback, multicast, broadcast or reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostAddress(Ipv4Addr);

impl HostAddress {
    pub(crate) fn get(self) -> Ipv4Addr {
        self.0
    }
}

impl FromStr for HostAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let address: Ipv4Addr = text.parse().map_err(|_| ValueError::Malformed {
            text: text.to_owned(),
            what: "an IPv4 address",
            form: "four numbers with dots, such as 203.0.113.2",
        })?;
        match special(address) {
            None => Ok(Self(address)),
            Some(kind) => Err(ValueError::Unusable {
                address: address.to_string(),
                kind,
                wanted: "the address of one host",
            }),
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The IPv4 subnet of a private network, without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subnet(Ipv4Net);

impl Subnet {
    pub(crate) fn get(self) -> Ipv4Net {
        self.0
    }
}

impl FromStr for Subnet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let subnet: Ipv4Net = text.parse().map_err(|_| ValueError::Malformed {
            text: text.to_owned(),
            what: "an IPv4 subnet",
            form: "an address and a prefix length, such as 192.168.1.0/24",
        })?;
        if subnet.addr() != subnet.network() {
            return Err(ValueError::HostBits {
                subnet: subnet.to_string(),
                network: subnet.trunc().to_string(),
            });
        }
        match special(subnet.network()).or_else(|| special(subnet.broadcast())) {
            None => Ok(Self(subnet)),
            Some(kind) => Err(ValueError::Unusable {
                address: subnet.to_string(),
                kind,
                wanted: "the subnet of a private network",
            }),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells the blocks of RFC 6890 that no host can be addressed in, with the article.
fn special(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an unspecified address (0.0.0.0/8)"),
        [127, ..] => Some("a loopback address (127.0.0.0/8)"),
        [224..=239, ..] => Some("a multicast address (224.0.0.0/4)"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [240..=255, ..] => Some("a reserved address (240.0.0.0/4)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: FromStr<Err = ValueError> + fmt::Debug>(text: &str) -> String {
        let error = text.parse::<T>().expect_err("an illegal address");
        format!("{error}; {}", error.help())
    }

    #[test]
    fn only_addresses_of_hosts_are_addresses() {
        assert!("203.0.113.2".parse::<HostAddress>().is_ok());
        assert!("169.254.1.1".parse::<HostAddress>().is_ok());
        let kinds = [
            ("0.0.0.0", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("239.1.1.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("250.1.1.1", "reserved"),
            ("203.0.113", "not an IPv4 address"),
            ("2001:db8::1", "not an IPv4 address"),
        ];
        for (text, kind) in kinds {
            assert!(problem::<HostAddress>(text).contains(kind), "{text}");
        }
    }

    #[test]
    fn subnets_have_no_host_bits() {
        assert!("192.168.1.0/24".parse::<Subnet>().is_ok());
        assert!("192.168.1.7/32".parse::<Subnet>().is_ok());
        assert_eq!(
            problem::<Subnet>("192.168.1.7/24"),
            "192.168.1.7/24 has host bits set; write 192.168.1.0/24"
        );
        assert!(problem::<Subnet>("0.0.0.0/0").contains("unspecified"));
        assert!(problem::<Subnet>("192.0.0.0/2").contains("broadcast"));
        assert!(problem::<Subnet>("192.168.1.0").contains("prefix length"));
        assert!(problem::<Subnet>("192.168.1.0/33").contains("prefix length"));
    }
}
