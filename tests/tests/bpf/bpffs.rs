//! Where pins go on a machine that has no bpffs yet.

use std::{fs, path::Path};

use rustix::mount::{UnmountFlags, unmount};
use withy::dataplane::{self, Dataplane, Limits};

#[test]
fn a_missing_bpffs_is_mounted_and_pins_go_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("withy");
    let dataplane = Dataplane::load(&base, Limits { svcs: 16, ivcs: 16 });
    let pinned = pins(&base);
    drop(dataplane.unwrap());
    let removed = dataplane::remove(&base, &folder.path().join("notes"), &[]);
    let left = pins(&base);
    // First, so that a failure leaves no mount behind.
    unmount(&base, UnmountFlags::DETACH).unwrap();
    removed.unwrap();
    // The kernel keeps files of its own there.
    assert_eq!(pinned, left + 1);
}

fn pins(base: &Path) -> usize {
    fs::read_dir(base).map_or(0, Iterator::count)
}
