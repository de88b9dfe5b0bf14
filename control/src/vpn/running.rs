//! Tunnels as they run.

use std::{collections::BTreeMap, net::Ipv4Addr};

use withy_common::{classes::Classes, label::Policies};

use crate::{
    config::{
        Class, Config, Delay, Endpoints, Ivc, LinkName, Manual, Mss, Mtu, Rate, Resend, Resequence,
        Sa, Setting, SplitPolicy, Subnets, Suite, TrafficPolicy, Tunnel, TunnelName,
    },
    reconcile::objects::{EspKey, IllegalKeyLength, IllegalSpi, Spi},
};

/// A tunnel as it runs: with everything that configuration or negotiation has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The virtual addresses of the two ends.
    pub endpoints: Endpoints,
    /// The two private networks.
    pub subnets: Subnets,
    /// The IVCs; none while the first is still being set up.
    pub ivcs: Vec<RunningIvc>,
    /// When packets are split.
    pub split: SplitPolicy,
    /// Whether packets that would fit whole are split at present, where that is to be chosen.
    pub pieces: bool,
    /// What TCP's MSS is clamped to.
    pub mss: Mss,
    /// The bound of each IVC's virtual queue.
    pub queue: Delay,
    /// The suite by which sizes are computed: that of the SA in use.
    pub suite: Suite,
    /// The SAs towards the other gateway, the one in use last.
    pub outbound: Vec<RunningSa>,
    /// The SAs from the other gateway; old ones stay for packets that are under way.
    pub inbound: Vec<RunningSa>,
    /// The anti-replay window in packets.
    pub replay_window: u32,
    /// Whether packets that arrive are put back in order.
    pub resequence: Resequence,
    /// By which IVCs packets go that are of none of the classes.
    pub policy: TrafficPolicy,
    /// The classes of packets.
    pub classes: Vec<Class>,
    /// Whether what links lose is sent again.
    pub resend: Resend,
}

/// An IVC of a running tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningIvc {
    /// The link of this gateway.
    pub link: LinkName,
    /// The address of the other gateway's link.
    pub remote: Ipv4Addr,
    /// The most that it is given towards the other gateway.
    pub rate: Setting<Rate>,
    /// The one-way latency.
    pub latency: Delay,
    /// The path's MTU.
    pub mtu: IvcMtu,
}

/// Where an IVC's MTU comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IvcMtu {
    /// From the configuration.
    Fixed(Mtu),
    /// It is probed.
    Probed {
        /// What the other gateway's link carries, if that is known.
        there: Option<Mtu>,
        /// What probing has found, in bytes.
        found: Option<u16>,
    },
}

impl From<&Ivc> for RunningIvc {
    fn from(ivc: &Ivc) -> Self {
        Self {
            link: ivc.link.clone(),
            remote: ivc.remote,
            rate: ivc.rate,
            latency: ivc.latency,
            mtu: match ivc.mtu {
                Setting::Fixed(mtu) => IvcMtu::Fixed(mtu),
                Setting::Auto => IvcMtu::Probed {
                    there: None,
                    found: None,
                },
            },
        }
    }
}

/// One direction of a running tunnel's ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningSa {
    /// The SPI.
    pub spi: Spi,
    /// The key, with its suite.
    pub key: EspKey,
}

/// The tunnels that run. Those that are configured and not among them have nothing in the kernel but
/// the routes that keep their packets from leaving in plain text.
pub type RunningTunnels = BTreeMap<TunnelName, Running>;

/// An SA of the configuration that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum IllegalSa {
    /// A key of another length than its suite takes.
    #[error(transparent)]
    Key(#[from] IllegalKeyLength),
    /// A reserved SPI.
    #[error(transparent)]
    Spi(#[from] IllegalSpi),
}

/// Returns the tunnels that run by the configuration alone.
///
/// # Errors
///
/// An SA cannot be, which the configuration's checks exclude.
pub fn manual(config: &Config) -> Result<RunningTunnels, IllegalSa> {
    let tunnels = config.tunnels.iter();
    tunnels
        .filter_map(|(name, tunnel)| Some((name, tunnel, tunnel.manual()?)))
        .map(|(name, tunnel, manual)| Ok((name.clone(), Running::manual(tunnel, manual)?)))
        .collect()
}

#[cfg(test)]
impl Running {
    /// A tunnel for tests, without networks, IVCs and SAs.
    pub(crate) fn bare(local: Ipv4Addr, remote: Ipv4Addr) -> Self {
        Self {
            endpoints: Endpoints { local, remote },
            subnets: Subnets {
                local: Vec::new(),
                remote: Vec::new(),
            },
            ivcs: Vec::new(),
            split: SplitPolicy::Mtu,
            pieces: false,
            mss: Mss::Auto,
            queue: Tunnel::DEFAULT_QUEUE,
            suite: Suite::AesGcm128,
            outbound: Vec::new(),
            inbound: Vec::new(),
            replay_window: 64,
            resequence: Resequence::Auto,
            policy: TrafficPolicy::Aggregate,
            classes: Vec::new(),
            resend: Resend::Auto,
        }
    }
}

impl Running {
    fn manual(tunnel: &Tunnel, manual: &Manual) -> Result<Self, IllegalSa> {
        Ok(Self {
            endpoints: manual.endpoints,
            subnets: tunnel.subnets.clone(),
            ivcs: manual.ivcs.iter().map(RunningIvc::from).collect(),
            split: tunnel.split,
            pieces: false,
            mss: tunnel.mss,
            queue: tunnel.queue,
            resequence: tunnel.resequence,
            policy: tunnel.policy,
            classes: tunnel.classes.clone(),
            resend: tunnel.resend,
            suite: manual.suite,
            outbound: vec![RunningSa::manual(&manual.outbound)?],
            inbound: vec![RunningSa::manual(&manual.inbound)?],
            replay_window: manual.replay_window,
        })
    }
}

impl Running {
    /// The policies of its classes.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let classes = self.classes.iter();
        let classes: Vec<_> = classes.map(|class| class.policy.into()).collect();
        Policies::new(self.policy.into(), &classes)
    }

    /// By what its packets are told apart, if they are to be: not where there is one policy for all of them that has no use for flows, unless
    /// `flows` may go by an IVC of their own.
    #[must_use]
    pub fn telling(&self, flows: bool) -> Option<Classes> {
        if self.classes.is_empty() && self.policy != TrafficPolicy::Sticky && !flows {
            return None;
        }
        let matches: Vec<_> = self
            .classes
            .iter()
            .map(|class| (&class.takes).into())
            .collect();
        // No more than there can be: the configuration's checks see to that.
        Classes::new(&matches)
    }
}

impl RunningSa {
    fn manual(sa: &Sa) -> Result<Self, IllegalSa> {
        Ok(Self {
            spi: Spi::new(sa.spi.get())?,
            key: EspKey::new(sa.key.suite(), sa.key.material().to_vec())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

    use super::*;
    use crate::{
        bundle::Slots,
        config,
        link::Links,
        reconcile::{
            Desired,
            objects::{Direction, Object},
        },
        vpn::{Engine, desired},
    };

    const TEXT: &str = "
gateway: {name: a, lan: [lan0]}
links:
  dsl: {interface: eth1, rate: 1 Mbit/s, latency: 1 ms}
bundles:
  all: {links: [dsl]}
tunnels:
  b:
    bundle: all
    endpoints: {local: 10.255.0.1, remote: 10.255.0.2}
    subnets: {local: [192.168.1.0/24], remote: [192.168.2.0/24]}
    ivcs: [{link: dsl, remote: 198.51.100.1}]
    security:
      mode: manual
      suite: aes-cbc-128-hmac-sha-256
      outbound: {spi: 0x1001, key_file: out}
      inbound: {spi: 0x1002, key_file: in}
";

    fn config() -> Config {
        let keys = tempfile::tempdir().unwrap();
        for (name, byte) in [("out", "11"), ("in", "22")] {
            write_key(&keys.path().join(name), &byte.repeat(48));
        }
        config::parse(TEXT, "test", keys.path()).unwrap().config
    }

    fn write_key(path: &Path, text: &str) {
        let mut options = std::fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn all(config: &Config, running: &RunningTunnels) -> Desired {
        by(Engine::Kernel, config, running)
    }

    fn by(engine: Engine, config: &Config, running: &RunningTunnels) -> Desired {
        let mut slots = Slots::default();
        for tunnel in running.values() {
            slots.svc(tunnel.endpoints.remote, 8);
        }
        let none = std::iter::empty();
        desired(config, running, &Links::new(), &slots, engine, none).unwrap()
    }

    fn routes(config: &Config, running: &RunningTunnels) -> Vec<String> {
        let desired = all(config, running);
        let routes = desired.iter().filter_map(|(_, object)| match object {
            Object::Route(route) => Some(route.destination.to_string()),
            _ => None,
        });
        routes.collect()
    }

    fn associations(config: &Config, running: &RunningTunnels) -> Vec<(u32, bool)> {
        let desired = all(config, running);
        let associations = desired.iter().filter_map(|(_, object)| match object {
            Object::Association(sa) => Some((
                sa.spi.get(),
                matches!(sa.direction, Direction::Out(_)) && sa.key.material()[0] == 0x11,
            )),
            _ => None,
        });
        associations.collect()
    }

    #[test]
    fn a_manual_tunnel_runs_as_configured() {
        let config = config();
        let running = manual(&config).unwrap();
        let tunnel = &running["b"];
        assert_eq!((tunnel.outbound.len(), tunnel.inbound.len()), (1, 1));
        assert_eq!(tunnel.ivcs.len(), 1);
        assert_eq!(
            associations(&config, &running),
            [(0x1002, false), (0x1001, true)]
        );
        assert_eq!(associations(&config, &RunningTunnels::new()), []);
    }

    #[test]
    fn what_does_not_run_leaves_no_plain_text() {
        let config = config();
        let mut running = manual(&config).unwrap();
        assert_eq!(
            routes(&config, &running),
            ["10.255.0.2/32", "192.168.2.0/24"]
        );
        running.get_mut("b").unwrap().subnets.remote = vec!["192.168.2.8/29".parse().unwrap()];
        let both = ["10.255.0.2/32", "192.168.2.0/24", "192.168.2.8/29"];
        assert_eq!(routes(&config, &running), both);
        assert_eq!(routes(&config, &RunningTunnels::new()), ["192.168.2.0/24"]);
    }

    #[test]
    fn only_the_kernels_engine_takes_associations_and_policies_of_the_kernel() {
        let config = config();
        let running = manual(&config).unwrap();
        let found = |engine| {
            let (mut ipsec, mut devices) = (0, Vec::new());
            for (_, object) in by(engine, &config, &running).iter() {
                match object {
                    Object::Association(_) | Object::Policy(_) => ipsec += 1,
                    Object::Route(route) => {
                        let target = format!("{:?}", route.target);
                        devices.push((route.destination.prefix_len(), target.contains("withy1")));
                    }
                    _ => {}
                }
            }
            (ipsec, devices)
        };
        let closed = vec![(32, false), (24, false)];
        assert_eq!(found(Engine::Kernel), (2 + 3, closed.clone()));
        // The way to the endpoint stays, that to the subnet leads through the engine.
        assert_eq!(found(Engine::Userspace), (0, vec![(32, false), (24, true)]));
        assert_eq!(found(Engine::Closed), (0, closed));
    }

    #[test]
    fn old_associations_stay_beside_the_new_ones() {
        let config = config();
        let mut running = manual(&config).unwrap();
        let tunnel = running.get_mut("b").unwrap();
        let spi = |spi| Spi::new(spi).unwrap();
        for (sas, new) in [
            (&mut tunnel.outbound, 0x2001),
            (&mut tunnel.inbound, 0x2002),
        ] {
            let key = sas[0].key.clone();
            sas.push(RunningSa { spi: spi(new), key });
        }
        tunnel.ivcs.clear();
        let mut found = associations(&config, &running);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                (0x1001, true),
                (0x1002, false),
                (0x2001, true),
                (0x2002, false)
            ]
        );
    }
}
