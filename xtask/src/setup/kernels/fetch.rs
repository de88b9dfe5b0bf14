//! Finding and unpacking a kernel's package.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::Series;
use crate::{command, progress::Step, setup::packages};

/// Signed images are the same kernels, but come with a later delay.
const PACKAGE_SUFFIX: &str = "-amd64-unsigned";

/// The newest kernel of a series that apt can download.
pub(super) fn find_package(series: Series) -> Result<String> {
    if let Some(name) = newest_candidate(series)? {
        return Ok(name);
    }
    if packages::is_root() {
        packages::update()?;
    }
    newest_candidate(series)?.with_context(|| {
        format!(
            "apt knows no package {}*{PACKAGE_SUFFIX}; Debian 12 has them in its main and security \
             suites (`apt-get update` may be due)",
            series.package_prefix()
        )
    })
}

fn newest_candidate(series: Series) -> Result<Option<String>> {
    let mut search = command::tool("apt-cache");
    search
        .args(["search", "--names-only"])
        .arg(format!("^{}", series.package_prefix()));
    let listing = command::output(search)?;
    let names = newest_first(series, &listing);
    if names.is_empty() {
        return Ok(None);
    }
    let absent = packages::without_candidate(&names)?;
    Ok(names
        .into_iter()
        .find(|name| !absent.contains(name))
        .map(str::to_owned))
}

/// The packages of plain kernels in the output of `apt-cache search`: cloud and real-time kernels have a further part
/// in their names.
fn newest_first(series: Series, listing: &str) -> Vec<&str> {
    let mut found: Vec<(u32, &str)> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter_map(|name| {
            let version = name
                .strip_prefix(series.package_prefix())?
                .strip_suffix(PACKAGE_SUFFIX)?;
            let (number, suite) = version.split_once('+').unwrap_or((version, ""));
            let plain = suite.chars().all(|c| c.is_ascii_alphanumeric());
            plain
                .then(|| number.parse().ok())
                .flatten()
                .map(|number| (number, name))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, name)| name).collect()
}

/// Unpacks a package and makes its modules known to modprobe.
pub(super) fn unpack(step: &Step, archive: &Path, into: &Path) -> Result<()> {
    step.note("unpacking");
    packages::unpack(step, archive, into)?;
    let lib = into.join("lib");
    if !lib.exists() {
        // Packages of newer Debians know no /lib of its own.
        std::os::unix::fs::symlink("usr/lib", &lib).context("cannot link usr/lib")?;
    }
    let release = fs::read_dir(lib.join("modules"))?
        .next()
        .context("no modules in the package")??;
    step.note("listing the modules' dependencies");
    let mut depmod = command::tool("depmod");
    depmod.arg("-b").arg(into).arg(release.file_name());
    command::run(step, depmod)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
linux-image-6.12.107+deb12-amd64-dbg - Debug symbols
linux-image-6.12.107+deb12-amd64-unsigned - Linux 6.12 for 64-bit PCs
linux-image-6.12.99+deb12-amd64-unsigned - Linux 6.12 for 64-bit PCs
linux-image-6.12.117+deb12-cloud-amd64-unsigned - Linux 6.12 for x86-64 cloud
linux-image-6.12.117+deb12-rt-amd64-unsigned - Linux 6.12, PREEMPT_RT
linux-image-6.12.117+deb12-amd64 - Linux 6.12 (signed)
linux-image-6.12.111+deb12-amd64-unsigned - Linux 6.12
linux-image-6.1.0-9-amd64-unsigned - Linux 6.1
linux-image-6.1.0-56-cloud-amd64-unsigned - Linux 6.1
linux-image-6.1.0-47-amd64-unsigned - Linux 6.1";

    #[test]
    fn kernels_sort_by_number_and_only_plain_ones_count() {
        assert_eq!(
            newest_first(Series::V6_12, LISTING),
            [
                "linux-image-6.12.111+deb12-amd64-unsigned",
                "linux-image-6.12.107+deb12-amd64-unsigned",
                "linux-image-6.12.99+deb12-amd64-unsigned",
            ]
        );
        assert_eq!(
            newest_first(Series::V6_1, LISTING),
            [
                "linux-image-6.1.0-47-amd64-unsigned",
                "linux-image-6.1.0-9-amd64-unsigned"
            ]
        );
    }
}
