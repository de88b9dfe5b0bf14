//! Configuration files for the gateways of a lab, with keys: what an operator would write down.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use withy::config::{EngineChoice, Pacing, Receive, Resend, Resequence, SplitPolicy, Suite};

use crate::lab::{LAN_DEVICE, Lab, Link, Site};

/// The name of the tunnel in every configuration made here.
pub const TUNNEL: &str = "bond";

/// Which links of one site are joined with which of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Link K with link K, as in a paired Internet: the latency is that of the one direction.
    Straight,
    /// Each link with each, in a routed Internet: the latencies of both links add up.
    Mesh,
}

/// Where keys and IVCs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keying {
    /// From the configuration.
    Manual,
    /// From the gateways themselves.
    Negotiated,
}

/// What the gateways at both ends of a tunnel agree on, and how they see their links.
#[derive(Clone, Debug, PartialEq)]
pub struct TunnelSpec {
    /// The ESP suite.
    pub suite: Suite,
    /// The split policy.
    pub split: SplitPolicy,
    /// Whether packets are put back in order.
    pub resequence: Resequence,
    /// The classes of packets, as a configuration has them.
    pub classes: &'static str,
    /// Whether what links lose is sent again.
    pub resend: Resend,
    /// Where links receive.
    pub receive: Receive,
    /// Whether packets leave at the links' rates.
    pub pacing: Pacing,
    /// Which links make an IVC.
    pub pairing: Pairing,
    /// The bound of the virtual queues; the product's own where nothing is said.
    pub queue: Option<Duration>,
    /// Where keys and IVCs come from.
    pub keying: Keying,
    /// The sites whose gateways must take Withy's own ESP engine; the others choose for themselves.
    pub userspace: &'static [&'static str],
    /// Whether the configuration says what links carry, and their latency.
    pub stated: bool,
    /// What makes the keys: another salt, other keys.
    pub salt: u8,
}

impl Default for TunnelSpec {
    fn default() -> Self {
        Self {
            suite: Suite::AesGcm128,
            split: SplitPolicy::Mtu,
            resequence: Resequence::Auto,
            classes: "",
            resend: Resend::Auto,
            receive: Receive::Auto,
            pacing: Pacing::Auto,
            pairing: Pairing::Straight,
            queue: None,
            keying: Keying::Manual,
            userspace: &[],
            stated: true,
            salt: 0,
        }
    }
}

/// A pair of links that carries the tunnel.
struct Pair<'a> {
    here: &'a Link,
    there: &'a Link,
}

/// What sets one tunnel of a file apart from the others: what it joins, and by which links.
struct Part<'a> {
    name: String,
    endpoints: (Ipv4Addr, Ipv4Addr),
    subnets: ((Ipv4Addr, u8), (Ipv4Addr, u8)),
    pairs: Vec<Pair<'a>>,
}

impl TunnelSpec {
    /// Writes configuration and keys of site `here` for its tunnel to `there`, and returns the
    /// configuration's path. The lab's present addresses and shapes go into it.
    pub fn write(&self, lab: &Lab, here: &str, there: &str) -> Result<PathBuf> {
        let sites = (lab.site(here)?, lab.site(there)?);
        let text = self.yaml(sites.0, sites.1)?;
        write_file(sites.0, &text)
    }

    /// Writes the keys of site `here` and returns the configuration's text.
    pub fn yaml(&self, here: &Site, there: &Site) -> Result<String> {
        let part = Part {
            name: TUNNEL.to_owned(),
            endpoints: (endpoint(here)?, endpoint(there)?),
            subnets: (here.lan().prefix(), there.lan().prefix()),
            pairs: self.pairs(here, there)?,
        };
        Ok(self.head(here) + &self.tunnel(here, there, &part)?)
    }

    /// Like [`TunnelSpec::write`], for one tunnel on each pair of links, each with a suite of its
    /// own, between the hosts' addresses of that number: see [`numbered_host`].
    pub fn write_one_a_link(
        &self,
        (here, there): (&Site, &Site),
        suites: &[Suite],
    ) -> Result<PathBuf> {
        let mut text = self.head(here);
        for (number, (pair, suite)) in (0..).zip(self.pairs(here, there)?.into_iter().zip(suites)) {
            let spec = Self {
                suite: *suite,
                salt: number + 1,
                ..self.clone()
            };
            let ends = (endpoint(here)?.octets(), endpoint(there)?.octets());
            let part = Part {
                name: format!("{TUNNEL}-{number}"),
                endpoints: (
                    Ipv4Addr::new(10, 255, number + 1, ends.0[3]),
                    Ipv4Addr::new(10, 255, number + 1, ends.1[3]),
                ),
                subnets: (
                    (numbered_host(here, number), 32),
                    (numbered_host(there, number), 32),
                ),
                pairs: vec![pair],
            };
            text.push_str(&spec.tunnel(here, there, &part)?);
        }
        write_file(here, &text)
    }

    /// Everything before the first tunnel.
    fn head(&self, here: &Site) -> String {
        let names: Vec<&str> = here.links().iter().map(Link::name).collect();
        let mut text = format!(
            "gateway:\n  name: {}\n  lan: [{LAN_DEVICE}]\n  engine: {}\nlinks:\n",
            here.name(),
            self.engine(here),
        );
        for link in here.links() {
            text.push_str(&self.link(link));
        }
        text + &format!(
            "bundles:\n  all: {{links: [{}]}}\ntunnels:\n",
            names.join(", ")
        )
    }

    fn tunnel(&self, here: &Site, there: &Site, part: &Part<'_>) -> Result<String> {
        let keys = here.dirs().keys();
        let (out, inward) = (self.spi(here, there), self.spi(there, here));
        let out_file = self.write_key(&keys, here, there)?;
        let in_file = self.write_key(&keys, there, here)?;
        let (local, remote) = part.subnets;
        let mut text = format!(
            "  {}:\n    bundle: all\n    split: {}\n    resequence: {}\n    resend: {}\n\
             \x20   endpoints: {{local: {}, remote: {}}}\n\
             \x20   subnets: {{local: [{}/{}], remote: [{}/{}]}}\n",
            part.name,
            self.split,
            self.resequence,
            self.resend,
            part.endpoints.0,
            part.endpoints.1,
            local.0,
            local.1,
            remote.0,
            remote.1,
        );
        if let Some(queue) = self.queue {
            writeln!(text, "    queue: {} us", queue.as_micros())?;
        }
        text.push_str(&self.classes());
        text.push_str("    ivcs:\n");
        // Where links are in several IVCs, each IVC has its part of them.
        let sharers = match self.pairing {
            Pairing::Straight => 1,
            Pairing::Mesh => here.links().len().max(there.links().len()) as u64,
        };
        for pair in &part.pairs {
            text.push_str(&self.ivc(pair, sharers));
        }
        write!(
            text,
            "    security:\n      mode: manual\n      suite: {}\n\
             \x20     outbound: {{spi: {out:#x}, key_file: {}}}\n\
             \x20     inbound: {{spi: {inward:#x}, key_file: {}}}\n",
            self.suite,
            out_file.display(),
            in_file.display(),
        )?;
        Ok(text)
    }

    /// The line of the classes, if there are any.
    pub(crate) fn classes(&self) -> String {
        match self.classes {
            "" => String::new(),
            classes => format!("    classes: {classes}\n"),
        }
    }

    pub(crate) fn engine(&self, site: &Site) -> EngineChoice {
        if self.userspace.contains(&site.name()) {
            EngineChoice::Userspace
        } else {
            EngineChoice::Auto
        }
    }

    pub(crate) fn link(&self, link: &Link) -> String {
        let (up, down) = link.shapes();
        let figures = if self.stated {
            format!(
                "    rate: {{up: {} bit/s, down: {} bit/s}}\n    latency: {} us\n",
                up.rate_bps,
                down.rate_bps,
                up.latency.as_micros(),
            )
        } else {
            String::new()
        };
        format!(
            "  {name}:\n    interface: {name}\n    receive: {}\n    pacing: {}\n{figures}",
            self.receive,
            self.pacing,
            name = link.name(),
        )
    }

    fn ivc(&self, pair: &Pair<'_>, sharers: u64) -> String {
        let (up, _) = pair.here.shapes();
        let (_, down) = pair.there.shapes();
        let latency = match self.pairing {
            Pairing::Straight => up.latency,
            Pairing::Mesh => up.latency + down.latency,
        };
        let figures = if self.stated {
            let rate_bps = up.rate_bps.min(down.rate_bps) / sharers;
            format!(
                ", rate: {rate_bps} bit/s, latency: {} us",
                latency.as_micros()
            )
        } else {
            String::new()
        };
        let (link, remote) = (pair.here.name(), pair.there.address());
        format!("      - {{link: {link}, remote: {remote}{figures}}}\n")
    }

    fn pairs<'a>(&self, here: &'a Site, there: &'a Site) -> Result<Vec<Pair<'a>>> {
        let (here, there) = (here.links(), there.links());
        Ok(match self.pairing {
            Pairing::Straight => {
                ensure!(here.len() == there.len(), "the links do not come in pairs");
                let pairs = here.iter().zip(there);
                pairs.map(|(here, there)| Pair { here, there }).collect()
            }
            Pairing::Mesh => here
                .iter()
                .flat_map(|here| there.iter().map(move |there| Pair { here, there }))
                .collect(),
        })
    }

    /// The SPI of the direction from one site to another.
    #[must_use]
    pub fn spi(&self, from: &Site, to: &Site) -> u32 {
        let text = format!("{}-{}-{}", from.name(), to.name(), self.salt);
        let [a, b, ..] = *blake3::hash(text.as_bytes()).as_bytes();
        0x1000_0000 + u32::from_be_bytes([0, 0, a, b])
    }

    /// The key of the direction from one site to another.
    #[must_use]
    pub fn material(&self, from: &Site, to: &Site) -> Vec<u8> {
        let mut material = vec![0; self.suite.material_len()];
        blake3::Hasher::new()
            .update(
                format!("{} {} {} {}", from.name(), to.name(), self.suite, self.salt).as_bytes(),
            )
            .finalize_xof()
            .fill(&mut material);
        material
    }

    /// Writes the key of the direction from one site to another, as both have it.
    fn write_key(&self, folder: &Path, from: &Site, to: &Site) -> Result<PathBuf> {
        let path = folder.join(format!("{}-{}-{}", from.name(), to.name(), self.salt));
        let mut text = String::new();
        for byte in self.material(from, to) {
            write!(text, "{byte:02x}")?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "{text}")?;
        Ok(path)
    }
}

pub(crate) fn write_file(site: &Site, text: &str) -> Result<PathBuf> {
    let path = site.dirs().etc().join("withy.yaml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// One of several addresses that a site's host may be given.
#[must_use]
pub fn numbered_host(site: &Site, number: u8) -> Ipv4Addr {
    let [a, b, c, _] = site.lan().network.octets();
    Ipv4Addr::new(a, b, c, 100 + number)
}

/// The tunnel endpoint of a site.
pub fn endpoint(site: &Site) -> Result<Ipv4Addr> {
    // Sites are told apart by the third byte of their private network.
    let [.., third, _] = site.lan().network.octets();
    ensure!(third != 0, "site {} has no number", site.name());
    Ok(Ipv4Addr::new(10, 255, 0, third))
}

/// The longest inner packet, in bytes, of which ESP in tunnel mode with outer IPv4 fits `path_mtu`
/// bytes (RFC 4303, section 2).
#[must_use]
pub fn inner_mtu(suite: Suite, path_mtu: usize) -> usize {
    const OUTER_HEADER: usize = 20;
    const SPI_AND_SEQUENCE: usize = 8;
    /// Pad length and next header.
    const TRAILER: usize = 2;
    let room = path_mtu - OUTER_HEADER - SPI_AND_SEQUENCE - suite.iv_len() - suite.icv_len();
    room / suite.block_size() * suite.block_size() - TRAILER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_mtus_of_a_path_of_1500_bytes() {
        assert_eq!(
            Suite::ALL.map(|suite| inner_mtu(suite, 1500)),
            [1446, 1446, 1446, 1438, 1438]
        );
    }
}
