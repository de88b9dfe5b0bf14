//! The keys of keepalives, derived once for each SA.

use std::{collections::HashMap, mem, net::Ipv4Addr, sync::Arc};

use crate::{
    liveness::{KeepaliveKey, TunnelKeys},
    reconcile::objects::{EspKey, Spi},
    vpn::{RunningSa, RunningTunnels},
};

/// The keys of the SAs that there are, by the SAs' destinations and SPIs.
#[derive(Default)]
pub(super) struct Keyring(HashMap<(Ipv4Addr, Spi), Known>);

struct Known {
    sa: EspKey,
    key: Arc<KeepaliveKey>,
}

impl Keyring {
    /// Returns the keys of the tunnels as they run now, by their remote endpoints; forgets those of SAs that are gone.
    pub(super) fn follow(&mut self, running: &RunningTunnels) -> HashMap<Ipv4Addr, TunnelKeys> {
        let mut old = mem::take(&mut self.0);
        let mut keys = |destination, sas: &[RunningSa]| {
            let key = |sa: &RunningSa| {
                let place = (destination, sa.spi);
                let known = old.remove(&place).filter(|known| known.sa == sa.key);
                let known = known.unwrap_or_else(|| Known::derive(&sa.key));
                let key = Arc::clone(&known.key);
                self.0.insert(place, known);
                key
            };
            sas.iter().map(key).collect()
        };
        let tunnels = running.values().map(|tunnel| {
            let (local, remote) = (tunnel.endpoints.local, tunnel.endpoints.remote);
            let outbound = keys(remote, &tunnel.outbound);
            (
                remote,
                TunnelKeys::new(outbound, keys(local, &tunnel.inbound)),
            )
        });
        tunnels.collect()
    }
}

impl Known {
    fn derive(sa: &EspKey) -> Self {
        Self {
            sa: sa.clone(),
            key: Arc::new(KeepaliveKey::derive(sa.material())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{suite::Suite, vpn::Running};

    const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 255, 0, 1), Ipv4Addr::new(10, 255, 0, 2));

    /// A tunnel with these outbound SAs, each an SPI and what its key is made of, and an inbound one.
    fn running(outbound: &[(u32, u8)]) -> RunningTunnels {
        let sa = |(spi, fill): &(u32, u8)| RunningSa {
            spi: Spi::new(*spi).unwrap(),
            key: EspKey::new(Suite::AesGcm128, vec![*fill; 20]).unwrap(),
        };
        let tunnel = Running {
            outbound: outbound.iter().map(sa).collect(),
            inbound: vec![sa(&(0x1001, 9))],
            ..Running::bare(ENDS.0, ENDS.1)
        };
        [("t".parse().unwrap(), tunnel)].into()
    }

    fn key(keyring: &Keyring, spi: u32) -> Option<Arc<KeepaliveKey>> {
        let known = keyring.0.get(&(ENDS.1, Spi::new(spi).unwrap()))?;
        Some(Arc::clone(&known.key))
    }

    #[test]
    fn a_key_is_derived_once_and_forgotten_with_its_association() {
        let mut keyring = Keyring::default();
        assert_eq!(keyring.follow(&running(&[(0x1001, 1)])).len(), 1);
        let first = key(&keyring, 0x1001).unwrap();
        keyring.follow(&running(&[(0x1001, 1), (0x1002, 2)]));
        assert!(Arc::ptr_eq(&first, &key(&keyring, 0x1001).unwrap()));
        // The same SPI with another key is another association.
        keyring.follow(&running(&[(0x1001, 3)]));
        assert!(!Arc::ptr_eq(&first, &key(&keyring, 0x1001).unwrap()));
        assert!(key(&keyring, 0x1002).is_none());
        assert_eq!(keyring.0.len(), 2, "one a direction");
    }
}
