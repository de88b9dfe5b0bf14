//! OpenVPN in user space, from point to point with certificates that both ends know by fingerprint.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{
    Running, System, between_hosts,
    device::{self, End},
    forward,
    process::Process,
    tool, wait_for_path,
};
use crate::{lab::Lab, traffic::bulk::Flow, wait::wait_until};

const DEVICE: &str = "tun0";
const PORT: &str = "1194";

/// One tunnel over the first link: AES-256-GCM, without the kernel's data channel offload.
#[derive(Clone, Copy, Debug)]
pub struct OpenVpn;

struct Up<'lab> {
    lab: &'lab Lab,
    processes: [Process; 2],
}

/// The certificate of one end.
struct Certificate {
    key: PathBuf,
    signed: PathBuf,
    /// Of SHA-256, as OpenVPN writes it.
    fingerprint: String,
}

impl System for OpenVpn {
    fn name(&self) -> &'static str {
        "openvpn"
    }

    fn about(&self) -> &'static str {
        "OpenVPN, one link, AES-256-GCM, no offload to the kernel"
    }

    fn absent(&self) -> Option<String> {
        tool::absent(&["openvpn", "openssl"])
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        forward(lab)?;
        let [a, b] = device::first(lab)?;
        let (of_a, of_b) = (Certificate::make(lab, a)?, Certificate::make(lab, b)?);
        let mut processes = [
            start(lab, (a, &of_a), (b, &of_b), "--tls-server")?,
            start(lab, (b, &of_b), (a, &of_a), "--tls-client")?,
        ];
        for (process, (here, there)) in processes.iter_mut().zip([(a, b), (b, a)]) {
            wait_until(super::START_LIMIT, "OpenVPN's handshake", || {
                process.check()?;
                Ok(process
                    .output()
                    .contains("Initialization Sequence Completed"))
            })?;
            device::route_lan(here.site, there.site, DEVICE)?;
        }
        wait_for_path(lab, || processes.iter_mut().try_for_each(Process::check))?;
        Ok(Box::new(Up { lab, processes }))
    }
}

impl Certificate {
    fn make(lab: &Lab, end: End<'_>) -> Result<Self> {
        let keys = end.site.dirs().keys();
        let (key, certificate) = (keys.join("openvpn.key"), keys.join("openvpn.crt"));
        let mut make =
            openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30");
        make.args(["-subj", &format!("/CN={}", end.site.name())])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        tool::run(lab, end.site.gateway(), make)?;
        let mut ask = openssl("x509 -noout -fingerprint -sha256 -in");
        ask.arg(&certificate);
        let answer = tool::run(lab, end.site.gateway(), ask)?;
        let (_, fingerprint) = answer
            .split_once('=')
            .with_context(|| format!("openssl answered {answer:?}"))?;
        Ok(Self {
            key,
            signed: certificate,
            fingerprint: fingerprint.trim().to_owned(),
        })
    }
}

fn openssl(arguments: &str) -> Command {
    let mut openssl = tool::command("openssl");
    openssl.args(arguments.split(' '));
    openssl
}

fn start(
    lab: &Lab,
    (here, own): (End<'_>, &Certificate),
    (there, other): (End<'_>, &Certificate),
    role: &str,
) -> Result<Process> {
    let mut command = tool::command("openvpn");
    command
        .args(["--dev", DEVICE, "--dev-type", "tun", "--proto", "udp"])
        .args(["--local", &here.link.address().to_string()])
        .args(["--remote", &there.link.address().to_string()])
        .args(["--port", PORT])
        .args(["--ifconfig", &here.tunnel_address()?.to_string()])
        .arg(there.tunnel_address()?.to_string())
        .arg(role)
        .args(["--dh", "none", "--peer-fingerprint", &other.fingerprint])
        .arg("--cert")
        .arg(&own.signed)
        .arg("--key")
        .arg(&own.key)
        .args(["--data-ciphers", "AES-256-GCM", "--disable-dco"])
        .args(["--verb", "1"]);
    Process::start(lab, here.site, "openvpn", command)
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::pids).collect()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }
}
