//! strongSwan with an ESP of its own in user space (its plug-in kernel-libipsec).

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    Running, System, between_hosts,
    device::{self, End},
    forward,
    process::Process,
    tool, wait_for_path,
};
use crate::{lab::Lab, traffic::bulk::Flow, wait::wait_until};

/// Where Debian has strongSwan's plug-ins, and those that come in packages of their own.
const FOLDER: &str = "/usr/lib/ipsec/plugins";
const EXTRA: [&str; 2] = ["kernel-libipsec", "openssl"];

/// The plug-ins to load, kernel-libipsec before kernel-netlink, so that IPsec is its business.
const PLUGINS: &str =
    "random nonce openssl sha2 hmac kdf kernel-libipsec kernel-netlink socket-default vici";

/// One tunnel over the first link: AES-256-GCM in UDP, keys by IKEv2 with a shared secret.
#[derive(Clone, Copy, Debug)]
pub struct StrongSwan;

struct Up<'lab> {
    lab: &'lab Lab,
    processes: [Process; 2],
}

impl System for StrongSwan {
    fn name(&self) -> &'static str {
        "strongswan"
    }

    fn about(&self) -> &'static str {
        "strongSwan with kernel-libipsec, one link, AES-256-GCM"
    }

    fn absent(&self) -> Option<String> {
        tool::absent(&["charon-systemd", "swanctl"]).or_else(|| {
            let file = |plugin: &str| Path::new(FOLDER).join(format!("libstrongswan-{plugin}.so"));
            let missing = EXTRA.into_iter().find(|plugin| !file(plugin).exists());
            missing.map(|plugin| format!("strongSwan's plug-in {plugin} is not in {FOLDER}"))
        })
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        forward(lab)?;
        let [a, b] = device::first(lab)?;
        let mut processes = [start(lab, a)?, start(lab, b)?];
        for (process, (here, there)) in processes.iter_mut().zip([(a, b), (b, a)]) {
            let socket = socket(here);
            wait_until(super::START_LIMIT, "charon's socket", || {
                process.check()?;
                // The file is there before anybody listens.
                Ok(UnixStream::connect(&socket).is_ok())
            })?;
            load(lab, here, there)?;
        }
        let started = swanctl(lab, a, &["--initiate", "--child", "lans"]);
        started.with_context(|| format!("charon: {}", processes[0].tail()))?;
        wait_for_path(lab, || processes.iter_mut().try_for_each(Process::check))?;
        Ok(Box::new(Up { lab, processes }))
    }
}

/// Where a gateway's charon is told what to do.
fn socket(end: End<'_>) -> PathBuf {
    end.site.dirs().run().join("charon.vici")
}

fn start(lab: &Lab, here: End<'_>) -> Result<Process> {
    let settings = here.site.dirs().etc().join("strongswan.conf");
    let text = format!(
        "charon-systemd {{\n  load = {PLUGINS}\n  journal {{\n    default = -1\n  }}\n  \
         plugins {{\n    vici {{\n      socket = unix://{}\n    }}\n  }}\n  \
         filelog {{\n    stderr {{\n      default = 1\n    }}\n  }}\n}}\n",
        socket(here).display()
    );
    fs::write(&settings, text)?;
    let mut command = tool::command("charon-systemd");
    command.env("STRONGSWAN_CONF", &settings);
    Process::start(lab, here.site, "charon", command)
}

fn load(lab: &Lab, here: End<'_>, there: End<'_>) -> Result<()> {
    let file = here.site.dirs().etc().join("swanctl.conf");
    let (local, remote) = (here.link.address(), there.link.address());
    let lan = |end: End<'_>| {
        let (network, prefix_len) = end.site.lan().prefix();
        format!("{network}/{prefix_len}")
    };
    let text = format!(
        "connections {{\n  peer {{\n    version = 2\n    local_addrs = {local}\n    \
         remote_addrs = {remote}\n    proposals = aes256gcm16-prfsha256-curve25519\n    \
         local {{\n      auth = psk\n      id = {local}\n    }}\n    \
         remote {{\n      auth = psk\n      id = {remote}\n    }}\n    \
         children {{\n      lans {{\n        local_ts = {}\n        remote_ts = {}\n        \
         esp_proposals = aes256gcm16\n      }}\n    }}\n  }}\n}}\n\
         secrets {{\n  ike-peer {{\n    secret = 0x{}\n  }}\n}}\n",
        lan(here),
        lan(there),
        tool::hex(&tool::key("ike"))
    );
    tool::write_secret(&file, &text)?;
    let file = file.to_str().context("an odd path")?;
    swanctl(lab, here, &["--load-all", "--noprompt", "--file", file])
}

fn swanctl(lab: &Lab, at: End<'_>, arguments: &[&str]) -> Result<()> {
    let mut command = tool::command("swanctl");
    command
        .args(arguments)
        .arg("--uri")
        .arg(format!("unix://{}", socket(at).display()));
    tool::run(lab, at.site.gateway(), command)?;
    Ok(())
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::pids).collect()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }
}
