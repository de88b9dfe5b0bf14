//! The kernel's WireGuard.

use std::process::Command;

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    Running, System, between_hosts,
    boringtun::{MTU, interface},
    device::{self, End},
    forward, tool, wait_for_path,
};
use crate::{lab::Lab, netns::Netns, traffic::bulk::Flow};

const DEVICE: &str = "wg0";

/// One tunnel over the first link.
#[derive(Clone, Copy, Debug)]
pub struct WireGuard;

struct Up<'lab> {
    lab: &'lab Lab,
}

impl System for WireGuard {
    fn name(&self) -> &'static str {
        "wireguard-kernel"
    }

    fn about(&self) -> &'static str {
        "WireGuard in the kernel, one link"
    }

    fn absent(&self) -> Option<String> {
        tool::absent(&["wg", "ip"]).or_else(|| {
            let made = kernel_has_it();
            made.err()
                .map(|error| format!("the kernel has no WireGuard: {}", error.root_cause()))
        })
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        forward(lab)?;
        let [a, b] = device::first(lab)?;
        for (here, there) in [(a, b), (b, a)] {
            end(lab, here, there)?;
        }
        wait_for_path(lab, || Ok(()))?;
        Ok(Box::new(Up { lab }))
    }
}

/// Makes a device in a scratch namespace.
fn kernel_has_it() -> Result<()> {
    let scratch = Netns::new("wireguard-probe")?;
    scratch.enter(|| {
        let output = tool::command("ip")
            .args(["link", "add", DEVICE, "type", "wireguard"])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        anyhow::ensure!(output.status.success(), "{error}");
        Ok(())
    })
}

fn end(lab: &Lab, here: End<'_>, there: End<'_>) -> Result<()> {
    let netns = here.site.gateway();
    tool::ip(lab, netns, &format!("link add {DEVICE} type wireguard"))?;
    let interface = interface(here, there)?;
    let key_file = here.site.dirs().keys().join("wireguard");
    tool::write_secret(&key_file, &BASE64_STANDARD.encode(interface.private))?;
    let allowed: Vec<_> = interface
        .allowed
        .iter()
        .map(|(network, prefix_len)| format!("{network}/{prefix_len}"))
        .collect();
    let mut wg: Command = tool::command("wg");
    wg.args(["set", DEVICE, "listen-port", &interface.port.to_string()])
        .args(["private-key", key_file.to_str().context("an odd path")?])
        .args(["peer", &BASE64_STANDARD.encode(interface.peer)])
        .args(["endpoint", &interface.endpoint.to_string()])
        .args(["allowed-ips", &allowed.join(",")]);
    tool::run(lab, netns, wg)?;
    device::configure(here, DEVICE, MTU, &mut || Ok(()))?;
    device::route_lan(here.site, there.site, DEVICE)
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }
}
