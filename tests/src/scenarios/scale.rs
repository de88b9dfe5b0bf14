//! As many IVCs as a tunnel can have.

use anyhow::{Result, ensure};

use super::{
    Scenario,
    stage::{links, play, tunnel},
    transfer::small_transfers,
};
use crate::{
    lab::{Lab, SiteSpec},
    site_config::{Pairing, TunnelSpec},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "sixteen_ivcs_over_four_links_all_carry_traffic",
    sixteen,
)];

const BYTES: u64 = 1_000_000;

/// Each of four links to each of four: every pair is an IVC.
fn sixteen() -> Result<()> {
    let sites = ["a", "b"].map(|name| SiteSpec::new(name, &links(&[(1000, 5); 4])));
    let spec = TunnelSpec {
        pairing: Pairing::Mesh,
        ..TunnelSpec::default()
    };
    play(Lab::routed(&sites), &spec, |stage| {
        small_transfers(stage, BYTES)?;
        for gateway in [&stage.a, &stage.b] {
            let ivcs = tunnel(gateway)?.ivcs;
            ensure!(ivcs.len() == 16, "there are {} IVCs", ivcs.len());
            for ivc in &ivcs {
                let (link, remote) = (&ivc.link, ivc.remote);
                ensure!(ivc.tx.pieces > 0, "nothing left over {link} to {remote}");
                ensure!(ivc.rx.pieces > 0, "nothing came over {link} from {remote}");
            }
            let least = ivcs.iter().map(|ivc| ivc.tx.pieces).min();
            let most = ivcs.iter().map(|ivc| ivc.tx.pieces).max();
            println!(
                "    {}: from {least:?} to {most:?} pieces sent over each of 16 IVCs",
                gateway.site().name()
            );
        }
        Ok(())
    })
}
