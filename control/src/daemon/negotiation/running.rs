//! From what is agreed to a tunnel that runs.

use crate::{
    config::{Config, Delay, Endpoints, Keying, Mtu, Rate, Setting, Subnets, Tunnel},
    reconcile::objects::{EspKey, Spi},
    session::{Agreed, AgreedIvc, SaKeys},
    vpn::{IvcMtu, Running, RunningIvc, RunningSa},
};

/// The tunnel as it runs; none if what is agreed cannot be, which negotiation excludes.
pub(super) fn tunnel(config: &Config, tunnel: &Tunnel, agreed: &Agreed) -> Option<Running> {
    let Keying::Negotiated(keying) = &tunnel.keying else {
        return None;
    };
    Some(Running {
        endpoints: Endpoints {
            local: agreed.local,
            remote: agreed.remote,
        },
        subnets: Subnets {
            local: agreed.local_subnets.clone(),
            remote: agreed.remote_subnets.clone(),
        },
        ivcs: agreed
            .ivcs
            .iter()
            .filter_map(|ivc| self::ivc(config, ivc, &agreed.ivcs))
            .collect(),
        split: tunnel.split,
        pieces: false,
        mss: tunnel.mss,
        queue: tunnel.queue,
        resequence: tunnel.resequence,
        policy: tunnel.policy,
        classes: tunnel.classes.clone(),
        resend: tunnel.resend,
        suite: agreed.suite,
        outbound: sas(&agreed.outbound)?,
        inbound: sas(&agreed.inbound)?,
        replay_window: keying.replay_window,
    })
}

/// An IVC is as fast as the slower of its two links, and no wider than the narrower.
fn ivc(config: &Config, agreed: &AgreedIvc, all: &[AgreedIvc]) -> Option<RunningIvc> {
    let link = config.links.get(&agreed.link)?;
    let there = &agreed.facts;
    let up = link.rate.up.fixed().map(Rate::bits_per_second);
    let rate = rate(up, agreed, all).and_then(Rate::from_bits_per_second);
    let latency = Delay::from_micros(there.latency.into())
        .map_or(link.latency, |latency| latency.max(link.latency));
    let there = Mtu::new(there.mtu);
    Some(RunningIvc {
        link: agreed.link.clone(),
        remote: agreed.remote,
        rate: rate.map_or(Setting::Auto, Setting::Fixed),
        latency,
        mtu: match link.mtu {
            Setting::Fixed(mtu) => IvcMtu::Fixed(there.map_or(mtu, |there| there.min(mtu))),
            Setting::Auto => IvcMtu::Probed { there, found: None },
        },
    })
}

/// The most that an IVC is given in bit/s, if that is stated: a link that is in several IVCs has a part of its rate, here `up`, for
/// each of them.
fn rate(up: Option<u64>, ivc: &AgreedIvc, all: &[AgreedIvc]) -> Option<u64> {
    let part = |rate: u64, shares: &dyn Fn(&AgreedIvc) -> bool| {
        let sharers = all.iter().filter(|other| shares(other)).count();
        rate / u64::try_from(sharers.max(1)).unwrap_or(u64::MAX)
    };
    let here = up.map(|up| part(up, &|other| other.link == ivc.link));
    let down = Some(ivc.facts.down).filter(|down| *down > 0);
    let there = down.map(|down| part(down, &|other| other.remote == ivc.remote));
    [here, there].into_iter().flatten().min()
}

fn sas(keys: &[SaKeys]) -> Option<Vec<RunningSa>> {
    keys.iter()
        .map(|sa| {
            Some(RunningSa {
                spi: Spi::new(sa.spi).ok()?,
                key: EspKey::new(sa.suite, sa.material.to_vec()).ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{suite::Suite, wire::LinkFacts};

    fn ivc(link: &str, remote: [u8; 4], down: u64) -> AgreedIvc {
        AgreedIvc {
            number: 1,
            link: link.parse().unwrap(),
            remote: remote.into(),
            facts: LinkFacts {
                name: "there".to_owned(),
                up: 1,
                down,
                latency: 1,
                mtu: 1500,
            },
            connected: true,
            impaired: false,
        }
    }

    #[test]
    fn keys_keep_the_suite_that_they_were_made_for() {
        let keys: Vec<_> = [Suite::AesGcm128, Suite::ChaCha20Poly1305]
            .map(|suite| SaKeys {
                spi: 0x1_0000,
                suite,
                material: vec![7; suite.material_len()].into(),
            })
            .into();
        let sas = sas(&keys).unwrap();
        let suites: Vec<_> = sas.iter().map(|sa| sa.key.suite()).collect();
        assert_eq!(suites, [Suite::AesGcm128, Suite::ChaCha20Poly1305]);
    }

    #[test]
    fn the_ivcs_of_a_link_share_its_rate() {
        let (first, second) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let all = [
            ivc("dsl", first, 900),
            ivc("dsl", second, 300),
            ivc("lte", first, 900),
        ];
        let rates = |up| -> Vec<_> { all.iter().map(|one| rate(up, one, &all)).collect() };
        assert_eq!(rates(Some(1000)), [Some(450), Some(300), Some(450)]);
        assert_eq!(rates(None), [Some(450), Some(300), Some(450)]);
        assert_eq!(rate(Some(1000), &all[0], &all[..1]), Some(900));
        let unknown = [ivc("dsl", first, 0)];
        assert_eq!(rate(None, &unknown[0], &unknown), None);
        assert_eq!(rate(Some(7), &unknown[0], &unknown), Some(7));
    }
}
