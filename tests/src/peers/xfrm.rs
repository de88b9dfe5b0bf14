//! The kernel's IPsec over one link, without Withy.

use anyhow::Result;

use super::{
    Running, System, between_hosts,
    device::{self, End},
    forward,
    tool::{self, hex, ip},
    wait_for_path,
};
use crate::{lab::Lab, traffic::bulk::Flow};

/// One tunnel over the first link: AES-GCM-256 in tunnel mode.
#[derive(Clone, Copy, Debug)]
pub struct Xfrm;

struct Up<'lab> {
    lab: &'lab Lab,
}

impl System for Xfrm {
    fn name(&self) -> &'static str {
        "xfrm"
    }

    fn about(&self) -> &'static str {
        "the kernel's ESP alone, one link, AES-GCM-256"
    }

    fn absent(&self) -> Option<String> {
        tool::absent(&["ip"])
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        forward(lab)?;
        let [a, b] = device::first(lab)?;
        for here in [a, b] {
            state(lab, here, (a, b), 0x1000)?;
            state(lab, here, (b, a), 0x2000)?;
        }
        for (here, there) in [(a, b), (b, a)] {
            policies(lab, here, there)?;
            device::route_lan_via(here, there)?;
        }
        wait_for_path(lab, || Ok(()))?;
        Ok(Box::new(Up { lab }))
    }
}

/// The state of one direction, at one of the sites.
fn state(lab: &Lab, at: End<'_>, (from, to): (End<'_>, End<'_>), spi: u32) -> Result<()> {
    // The key, and the salt of RFC 4106.
    let purpose = format!("xfrm {spi}");
    let material = [&tool::key(&purpose)[..], &tool::key("salt")[..4]].concat();
    let (source, target) = (from.link.address(), to.link.address());
    let add = format!(
        "xfrm state add src {source} dst {target} proto esp spi {spi:#x} reqid 1 mode tunnel \
         replay-window 32 flag af-unspec aead rfc4106(gcm(aes)) 0x{} 128",
        hex(&material)
    );
    ip(lab, at.site.gateway(), &add)?;
    Ok(())
}

fn policies(lab: &Lab, here: End<'_>, there: End<'_>) -> Result<()> {
    let lan = |end: End<'_>| {
        let (network, prefix_len) = end.site.lan().prefix();
        format!("{network}/{prefix_len}")
    };
    for (direction, from, to) in [
        ("out", here, there),
        ("in", there, here),
        ("fwd", there, here),
    ] {
        let add = format!(
            "xfrm policy add src {} dst {} dir {direction} tmpl src {} dst {} proto esp reqid 1 \
             mode tunnel",
            lan(from),
            lan(to),
            from.link.address(),
            to.link.address()
        );
        ip(lab, here.site.gateway(), &add)?;
    }
    Ok(())
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }
}
