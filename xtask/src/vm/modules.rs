//! Which modules the initramfs must load, and in which order.

use std::{collections::HashMap, fs};

use anyhow::{Context as _, Result, bail};

use crate::setup::kernels::Kernel;

/// What it takes to reach the host's files and ports. Some are built into some kernels.
const WANTED: [&str; 5] = [
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
];

/// The files of the wanted modules and of those they depend on, below the release's folder, in loading order.
pub(super) fn files(kernel: &Kernel) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = kernel.modules.join(&kernel.release).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    resolve(&read("modules.dep")?, &read("modules.builtin")?)
}

fn resolve(dependencies: &str, builtin: &str) -> Result<Vec<String>> {
    let modules: HashMap<&str, (&str, &str)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (stem(file), (file, needs)))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in WANTED {
        let Some((file, needs)) = modules.get(name) else {
            if builtin.lines().any(|line| stem(line) == name) {
                continue;
            }
            bail!("this kernel has no module {name}");
        };
        // depmod lists what a module needs so that the last is to be loaded first.
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !order.iter().any(|seen| seen == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// A module's name: its file's, up to the first dot.
fn stem(file: &str) -> &str {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/fs/overlayfs/overlay.ko:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz";

    #[test]
    fn dependencies_come_first_and_once() {
        let builtin = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko";
        assert_eq!(
            resolve(DEPENDENCIES, builtin).unwrap(),
            [
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/net/9p/9pnet_virtio.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
                "kernel/fs/overlayfs/overlay.ko",
            ]
        );
    }

    #[test]
    fn a_kernel_without_a_module_is_refused() {
        let error = resolve(DEPENDENCIES, "").unwrap_err();
        assert!(error.to_string().contains("virtio_pci"));
    }
}
