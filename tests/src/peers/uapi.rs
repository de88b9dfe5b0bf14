//! WireGuard's configuration, as its cross-platform userspace interface wants it
//! (<https://www.wireguard.com/xplatform/#configuration-protocol>).

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use aws_lc_rs::agreement::{PrivateKey, X25519};

use super::tool::hex;

/// How long a daemon may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A key pair of Curve25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) private: [u8; 32],
    pub(super) public: [u8; 32],
}

impl Keys {
    /// The pair of a private key.
    pub(super) fn of(private: [u8; 32]) -> Result<Self> {
        let key = PrivateKey::from_private_key(&X25519, &private)
            .map_err(|error| anyhow!("no key of Curve25519: {error}"))?
            .compute_public_key()
            .map_err(|error| anyhow!("no public key: {error}"))?;
        Ok(Self {
            private,
            public: key.as_ref().try_into()?,
        })
    }
}

/// One end of a tunnel.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    /// Its private key.
    pub(super) private: [u8; 32],
    /// Where it listens.
    pub(super) port: u16,
    /// The other end's public key.
    pub(super) peer: [u8; 32],
    /// Where the other end listens.
    pub(super) endpoint: SocketAddrV4,
    /// Networks behind the other end.
    pub(super) allowed: Vec<(Ipv4Addr, u8)>,
}

impl Interface {
    /// The request that configures it.
    fn request(&self) -> String {
        let mut text = format!(
            "set=1\nprivate_key={}\nlisten_port={}\nreplace_peers=true\npublic_key={}\nendpoint={}\n\
             replace_allowed_ips=true\n",
            hex(&self.private),
            self.port,
            hex(&self.peer),
            self.endpoint,
        );
        for (network, prefix_len) in &self.allowed {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "allowed_ip={network}/{prefix_len}");
        }
        text + "\n"
    }

    /// Configures the daemon that listens at `socket`.
    pub(super) fn set(&self, socket: &Path) -> Result<()> {
        let mut stream = UnixStream::connect(socket)
            .with_context(|| format!("nobody listens at {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(self.request().as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        accepted(&answer)
    }
}

/// Looks for `errno=0` in an answer.
fn accepted(answer: &str) -> Result<()> {
    let mut numbers = answer
        .lines()
        .filter_map(|line| line.strip_prefix("errno="));
    match numbers.next() {
        Some("0") => Ok(()),
        Some(number) => bail!("the daemon refuses the configuration with errno {number}"),
        None => bail!("the daemon answered {answer:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bob's key pair in RFC 7748, section 6.1.
    #[test]
    fn public_keys_follow_from_private_ones() {
        let private = [
            0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b, 0x79, 0xe1, 0x7f, 0x8b, 0x83, 0x80,
            0x0e, 0xe6, 0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18, 0xb6, 0xfd, 0x1c, 0x2f, 0x8b, 0x27,
            0xff, 0x88, 0xe0, 0xeb,
        ];
        let keys = Keys::of(private).unwrap();
        assert_eq!(
            hex(&keys.public),
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        );
    }

    #[test]
    fn requests_end_with_an_empty_line() {
        let interface = Interface {
            private: [1; 32],
            port: 7,
            peer: [2; 32],
            endpoint: "192.0.2.1:9".parse().unwrap(),
            allowed: vec![(Ipv4Addr::new(10, 0, 0, 0), 8)],
        };
        let request = interface.request();
        assert!(request.starts_with("set=1\nprivate_key=0101"), "{request}");
        assert!(
            request.ends_with(
                "endpoint=192.0.2.1:9\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n\n"
            ),
            "{request}"
        );
    }

    #[test]
    fn answers() {
        assert!(accepted("errno=0\n\n").is_ok());
        assert!(
            accepted("errno=-22\n\n")
                .unwrap_err()
                .to_string()
                .contains("-22")
        );
        assert!(accepted("").is_err());
    }
}
