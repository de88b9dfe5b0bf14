//! What outlives the daemon: a file without secrets, and the keys that the kernel has.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    path::Path,
};

use tracing::warn;

use crate::{
    config::TunnelName,
    reconcile::{SeenAssociation, SeenKey, objects::Spi},
    session::{SaKeys, Saved},
};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

type Associations = BTreeMap<(Ipv4Addr, Spi), SeenAssociation>;

/// Reads the file; what cannot be read is as good as nothing, for tunnels can be made anew.
pub(super) fn load(file: &Path) -> BTreeMap<TunnelName, Saved> {
    match try_load(file) {
        Ok(saved) => saved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            warn!(file = %file.display(), "cannot read what the last run left: {error}");
            BTreeMap::new()
        }
    }
}

fn try_load(file: &Path) -> io::Result<BTreeMap<TunnelName, Saved>> {
    let file = File::open(file)?;
    if file.metadata()?.len() > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_FILE} bytes"
        )));
    }
    Ok(serde_json::from_reader(io::BufReader::new(file))?)
}

/// Writes the file, whole or not at all.
pub(super) fn store(file: &Path, saved: &BTreeMap<TunnelName, Saved>) -> io::Result<()> {
    let next = file.with_extension("next");
    let mut out = File::create(&next)?;
    out.write_all(&serde_json::to_vec_pretty(saved)?)?;
    out.sync_all()?;
    fs::rename(next, file)
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
            material: key.material().to_vec().into(),
        })
    };
    Some((
        find(saved.local, saved.inbound)?,
        find(saved.remote, saved.outbound)?,
    ))
}
