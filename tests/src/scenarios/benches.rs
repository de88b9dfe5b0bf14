//! The benches that compare, in brief: that they still measure, and that those systems still start.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use withy::config::{SplitPolicy, Suite};

use super::Scenario;
use crate::{
    bench::tunnel,
    peers::{OpenVpn, Plain, System, Withy, described},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::native(
    "the_bench_of_tunnels_measures_withy_and_others",
    measure,
)];

/// Where descriptions are.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// The description that takes no program of its own.
const DESCRIBED: &str = "vxlan";

fn measure() -> Result<()> {
    let mut descriptions = described::read_all(Path::new(PEERS))?;
    let at = descriptions
        .iter()
        .position(|system| system.name() == DESCRIBED)
        .with_context(|| format!("{PEERS} does not describe {DESCRIBED}"))?;
    let systems: [Box<dyn System + Sync>; 4] = [
        Box::new(Plain),
        Box::new(WITHY),
        Box::new(descriptions.swap_remove(at)),
        Box::new(OpenVpn),
    ];
    for system in systems {
        let name = system.name().to_owned();
        if let Some(reason) = system.absent() {
            println!("    {name} skipped: {reason}");
            continue;
        }
        let goodput = tunnel::brief(system.as_ref()).with_context(|| name.clone())?;
        println!("    {name}: {:.0} Mbit/s", goodput / 1e6);
        ensure!(goodput > 1e6, "{name} gets only {goodput:.0} bit/s");
    }
    Ok(())
}

const WITHY: Withy = Withy {
    name: "withy",
    about: "",
    suite: Suite::AesGcm256,
    userspace: true,
    stated: true,
    split: SplitPolicy::Mtu,
};
