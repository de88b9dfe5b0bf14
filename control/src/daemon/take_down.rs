//! Taking the gateway down: the kernel as it was before.

use std::{collections::BTreeSet, fs, time::Duration};

use tracing::info;

use super::{DaemonError, Directories, lock};
use crate::{
    api::{client, protocol::Request},
    dataplane,
    reconcile::{Desired, Reconciler},
    vpn,
};

/// How long a running daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_millis(20);

/// Ends the daemon if one runs, and removes everything that Withy ever made; returns what could not be
/// removed.
///
/// # Errors
///
/// A running daemon does not end, or the kernel's configuration cannot be read.
pub async fn take_down(directories: &Directories) -> Result<BTreeSet<String>, DaemonError> {
    // That nobody answers is what is hoped for.
    let _ = client::call(&directories.socket(), &Request::Leave);
    let _lock = wait_for_lock(directories).await?;
    let mut reconciler = Reconciler::open(&directories.state_dir)?;
    let outcome = reconciler.reconcile(&Desired::empty()).await?;
    for step in &outcome.applied {
        info!("{step}");
    }
    let mut problems: BTreeSet<_> = outcome.failed.iter().map(ToString::to_string).collect();
    if let Err(error) = reconciler.netlink().remove_tun(&vpn::engine_device()).await {
        problems.insert(error.to_string());
    }
    let facts = reconciler.netlink().link_facts().await?;
    let names: Vec<_> = facts.keys().map(ToString::to_string).collect();
    let given = dataplane::remove(&directories.bpffs, &directories.clsact_notes(), &names)?;
    for index in given {
        if let Err(error) = reconciler.netlink().remove_clsact(index).await {
            problems.insert(error.to_string());
        }
    }
    // The lock's file goes last: it is held until the end.
    let _ = fs::remove_file(directories.socket());
    let _ = fs::remove_file(directories.lock());
    Ok(problems)
}

async fn wait_for_lock(directories: &Directories) -> Result<fs::File, DaemonError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match lock::acquire(directories) {
            Err(DaemonError::Running(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(INTERVAL).await;
            }
            Err(DaemonError::Running(_)) => return Err(DaemonError::StillRunning),
            result => return result,
        }
    }
}
