//! Taking the data plane out of the kernel.

use std::{collections::BTreeSet, fs, path::Path};

use super::{DataplaneError, clsact, pins::Pins};

/// Detaches all programs and removes all pins below `base`. `names` are those of all interfaces.
///
/// Returns the indexes of the interfaces that were given a clsact qdisc, which is left to the caller.
///
/// # Errors
///
/// Fails where pins cannot be removed.
pub fn remove(
    base: &Path,
    notes: &Path,
    names: &[String],
) -> Result<BTreeSet<u32>, DataplaneError> {
    for interface in names {
        clsact::detach(interface);
    }
    Pins::remove_all(base)?;
    let interfaces = clsact::noted(notes);
    // Without the file nothing is noted, which is what is wanted now.
    let _ = fs::remove_file(notes);
    Ok(interfaces)
}
