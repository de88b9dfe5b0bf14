//! WireGuard in user space: `boringtun-cli`.

use std::{net::SocketAddrV4, os::unix::net::UnixStream, path::Path, time::Duration};

use anyhow::Result;

use super::{
    Envelope, Running, System, between_hosts,
    device::{self, End},
    forward,
    process::Process,
    tool,
    uapi::{Interface, Keys},
    wait_for_path,
};
use crate::{lab::Lab, traffic::bulk::Flow, wait::wait_until};

/// Where the program puts the sockets by which it is configured.
const SOCKETS: &str = "/var/run/wireguard";

/// How long the program may take to listen there.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);

/// The port of the first link's tunnel; the next has one more.
const FIRST_PORT: u16 = 51820;

/// What wg-quick(8) gives its devices on paths of 1500 bytes.
pub(super) const MTU: u32 = 1420;

/// Which links are used, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The first.
    First,
    /// All, with a tunnel over each and a multipath route over the tunnels, weighted by the links' rates.
    Ecmp,
}

/// One process for each tunnel's end.
#[derive(Clone, Debug)]
pub struct Boringtun {
    /// See [`System::name`].
    pub name: &'static str,
    /// See [`System::about`].
    pub about: &'static str,
    /// Threads of each process; the program's own choice where nothing is said.
    pub threads: Option<u32>,
    /// Which links are used.
    pub spread: Spread,
}

struct Up<'lab> {
    lab: &'lab Lab,
    processes: Vec<Process>,
}

impl System for Boringtun {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        self.about
    }

    fn absent(&self) -> Option<String> {
        tool::absent(&["boringtun-cli", "ip"])
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        lab.cover(Path::new(SOCKETS))?;
        forward(lab)?;
        let most = match self.spread {
            Spread::First => 1,
            Spread::Ecmp => usize::MAX,
        };
        let ends = device::ends(lab, most)?;
        let mut processes = Vec::new();
        for [a, b] in &ends {
            processes.push(self.end(lab, *a, *b)?);
            processes.push(self.end(lab, *b, *a)?);
        }
        for at in [0, 1] {
            let hops: Vec<_> = ends
                .iter()
                .map(|pair| (device_at(pair[at]), pair[at].link.shapes().0.rate_bps))
                .collect();
            if let Some(pair) = ends.first() {
                device::spread_lan(lab, pair[at].site, pair[1 - at].site, &hops)?;
            }
        }
        wait_for_path(lab, || processes.iter_mut().try_for_each(Process::check))?;
        Ok(Box::new(Up { lab, processes }))
    }
}

impl Boringtun {
    fn end(&self, lab: &Lab, here: End<'_>, there: End<'_>) -> Result<Process> {
        let device = device_at(here);
        let mut command = tool::command("boringtun-cli");
        command.args(["--foreground", "--disable-drop-privileges"]);
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command.arg(&device);
        let mut process = Process::start(lab, here.site, &device, command)?;
        let socket = Path::new(SOCKETS).join(format!("{device}.sock"));
        configure(&socket, here, there, &mut process)?;
        device::configure(here, &device, MTU, &mut || process.check())?;
        Ok(process)
    }
}

/// All sockets are in one folder, so that devices have different names at the two sites.
fn device_at(end: End<'_>) -> String {
    format!("wg-{}{}", end.site.name(), end.number)
}

/// What a tunnel's end is to know.
pub(super) fn interface(here: End<'_>, there: End<'_>) -> Result<Interface> {
    let keys = |end: End<'_>| {
        let purpose = format!("wireguard {} {}", end.site.name(), end.number);
        Keys::of(tool::key(&purpose))
    };
    let port = FIRST_PORT + u16::try_from(here.number)?;
    Ok(Interface {
        private: keys(here)?.private,
        port,
        peer: keys(there)?.public,
        endpoint: SocketAddrV4::new(there.link.address(), port),
        allowed: vec![there.site.lan().prefix(), (there.tunnel_address()?, 32)],
    })
}

fn configure(socket: &Path, here: End<'_>, there: End<'_>, process: &mut Process) -> Result<()> {
    wait_until(SOCKET_LIMIT, "boringtun's socket", || {
        process.check()?;
        // The file is there before anybody listens.
        Ok(UnixStream::connect(socket).is_ok())
    })?;
    interface(here, there)?.set(socket)
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::pids).collect()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }

    fn envelope(&self) -> Envelope {
        Envelope::WIREGUARD
    }
}
