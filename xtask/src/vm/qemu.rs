//! qemu's command line.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
    process::{Command, Stdio},
};

use super::VmOptions;
use crate::{
    command,
    setup::{kernels::Kernel, qemu::Emulator},
};

/// Files and folders of the host that a machine uses.
pub(super) struct Files<'a> {
    /// What the kernel unpacks at boot.
    pub(super) initramfs: &'a Path,
    /// Receives the kernel's console.
    pub(super) console: &'a Path,
    /// Receives the command's exit status.
    pub(super) status: &'a Path,
    /// The folder that the guest may write to.
    pub(super) out: &'a Path,
}

/// `oops=panic`: a test must not pass on a kernel that has failed. `panic=-1`, with qemu's `-no-reboot`, ends the
/// guest at once. Mitigations guard nothing here and cost a lot under emulation.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on";

/// The command that runs the machine. Its standard output and error are the guest command's.
pub(super) fn command(
    emulator: &Emulator,
    options: &VmOptions,
    kernel: &Kernel,
    files: &Files<'_>,
) -> Command {
    // qemu dies with this process, however that ends.
    let mut qemu = command::tool("setpriv");
    qemu.args(["--pdeathsig", "KILL", "--"]);
    emulator.start_by(&mut qemu);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
    ])
    // Never KVM: that /dev/kvm exists does not mean that it works. la57 and cx16 are slow or warned about.
    .args(["-accel", "tcg,thread=multi", "-cpu", "max,-la57,-cx16"])
    .args([
        "-m",
        &options.memory_mib.to_string(),
        "-smp",
        &options.cpus.to_string(),
    ])
    .arg("-kernel")
    .arg(&kernel.image)
    .arg("-initrd")
    .arg(files.initramfs)
    .args(["-append", KERNEL_ARGUMENTS])
    .arg("-serial")
    .arg(path_option("file:", files.console))
    .stdin(Stdio::null());
    share(&mut qemu, "root", Path::new("/"), ",readonly=on");
    share(&mut qemu, "out", files.out, "");
    qemu.args(["-device", "virtio-serial-pci"]);
    port(&mut qemu, "stdout", Path::new("/proc/self/fd/1"));
    port(&mut qemu, "stderr", Path::new("/proc/self/fd/2"));
    port(&mut qemu, "status", files.status);
    qemu
}

/// A folder of the host over 9p; files that the guest makes belong to qemu's user.
fn share(qemu: &mut Command, tag: &str, folder: &Path, more: &str) {
    let option = format!("local,id={tag},security_model=none,multidevs=remap{more},path=");
    qemu.arg("-fsdev").arg(path_option(&option, folder));
    qemu.arg("-device")
        .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
}

/// A one-way channel from the guest into a file.
fn port(qemu: &mut Command, name: &str, file: &Path) {
    qemu.arg("-chardev")
        .arg(path_option(&format!("file,id={name},path="), file));
    qemu.arg("-device")
        .arg(format!("virtserialport,chardev={name},name=withy.{name}"));
}

/// qemu takes a comma for the end of a value, and two commas for one that is part of it.
fn path_option(before: &str, path: &Path) -> OsString {
    let mut option = before.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        option.push(*byte);
        if *byte == b',' {
            option.push(b',');
        }
    }
    OsString::from_vec(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(path_option("file:", Path::new("/a,b/c")), "file:/a,,b/c");
    }
}
