//! What outlives the daemon: a file without secrets, and the keys that the kernel has.

use std::{collections::BTreeMap, io, net::Ipv4Addr, path::Path};

use tracing::warn;

use crate::{
    config::TunnelName,
    daemon::state_file,
    reconcile::{SeenAssociation, SeenKey, objects::Spi},
    session::{SaKeys, Saved},
};

type Associations = BTreeMap<(Ipv4Addr, Spi), SeenAssociation>;

/// Reads the file; what cannot be read is as good as nothing, for tunnels can be made anew.
pub(super) fn load(file: &Path) -> BTreeMap<TunnelName, Saved> {
    match state_file::load(file) {
        Ok(saved) => saved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            warn!(file = %file.display(), "cannot read what the last run left: {error}");
            BTreeMap::new()
        }
    }
}

/// The keys of both directions, inbound first, if the kernel has them and tells.
pub(super) fn keys(saved: &Saved, kernel: &Associations) -> Option<(SaKeys, SaKeys)> {
    let find = |destination, spi| {
        let seen = kernel.get(&(destination, Spi::new(spi).ok()?))?;
        let SeenKey::Known(key) = &seen.key else {
            return None;
        };
        Some(SaKeys {
            spi,
            suite: key.suite(),
            material: key.material().to_vec().into(),
        })
    };
    Some((
        find(saved.local, saved.inbound)?,
        find(saved.remote, saved.outbound)?,
    ))
}
