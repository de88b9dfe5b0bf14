//! The initramfs: busybox, a few modules, the two start-up scripts and the job.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use super::modules;
use crate::{command, setup::kernels::Kernel};

const INIT: &str = include_str!("guest/init");
const STAGE2: &str = include_str!("guest/stage2");

/// What differs from one run to the next.
pub(super) struct Job {
    /// Assignments that the start-up scripts read.
    pub(super) settings: Vec<u8>,
    /// The script that becomes the command.
    pub(super) command: Vec<u8>,
}

/// Builds the archive at `archive`, with its contents laid out in `staging` first.
pub(super) fn build(kernel: &Kernel, job: &Job, staging: &Path, archive: &Path) -> Result<()> {
    for folder in ["bin", "modules", "job"] {
        fs::create_dir_all(staging.join(folder))?;
    }
    let busybox = command::find("busybox").context("busybox is missing")?;
    fs::copy(&busybox, staging.join("bin/busybox")).context("cannot copy busybox")?;
    add_modules(kernel, &staging.join("modules"))?;
    fs::write(staging.join("job/settings"), &job.settings)?;
    fs::write(staging.join("job/command"), &job.command)?;
    fs::write(staging.join("stage2"), STAGE2)?;
    let init = staging.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(staging, archive)
}

fn add_modules(kernel: &Kernel, into: &Path) -> Result<()> {
    let mut order = String::new();
    for file in modules::files(kernel)? {
        let source = kernel.modules.join(&kernel.release).join(&file);
        let name = file.rsplit('/').next().unwrap_or(&file);
        let plain = name.strip_suffix(".xz").unwrap_or(name);
        if plain == name {
            fs::copy(&source, into.join(plain))
                .with_context(|| format!("cannot copy {}", source.display()))?;
        } else {
            let mut xz = command::tool("xz");
            xz.arg("-dc")
                .arg(&source)
                .stdout(File::create(into.join(plain))?);
            let status = xz.status().context("cannot start `xz`")?;
            if !status.success() {
                bail!("`{}` failed ({status})", command::show(&xz));
            }
        }
        order.push_str(plain);
        order.push('\n');
    }
    fs::write(into.join("order"), order)?;
    Ok(())
}

/// Packs a folder in the format that the kernel unpacks.
fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let mut cpio = command::tool("cpio");
    cpio.current_dir(folder)
        .args(["--quiet", "--create", "--format=newc", "--owner=0:0"])
        .stdin(Stdio::piped())
        .stdout(File::create(archive)?);
    let mut child = cpio.spawn().context("cannot start `cpio`")?;
    if let Some(mut names) = child.stdin.take() {
        names
            .write_all(&list(folder, "")?)
            .context("cannot write to cpio")?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cpio failed ({status})");
    }
    Ok(())
}

/// The paths below `folder`, a line each, folders before what is in them.
fn list(folder: &Path, prefix: &str) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        names.extend(format!("{name}\n").into_bytes());
        if entry.file_type()?.is_dir() {
            names.extend(list(&entry.path(), &format!("{name}/"))?);
        }
    }
    Ok(names)
}
