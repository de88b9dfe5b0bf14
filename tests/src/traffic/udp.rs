//! Datagrams: echoes of every size; [`stream`](super::stream) sends at a constant rate.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::netns::{Netns, joined};

/// Largest payload of an IPv4 UDP datagram.
pub(super) const LARGEST: usize = 65_507;

/// Echo requests under way at once.
const WINDOW: usize = 8;

/// How often a waiting thread looks whether it is to end.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// What became of a series of echo requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchoReport {
    /// Requests sent.
    pub sent: usize,
    /// Sizes that came back, each byte as it was sent.
    pub echoed: BTreeSet<usize>,
    /// Sizes of which nothing came back.
    pub missing: BTreeSet<usize>,
    /// Datagrams that came back and had not been sent like that, or came back twice.
    pub wrong: usize,
}

/// A way for datagrams from a namespace to an address of another.
#[derive(Clone, Debug)]
pub struct Probe {
    from: Netns,
    to: Netns,
    address: Ipv4Addr,
}

impl Probe {
    /// Plans datagrams from `from` to `address`, which is an address of `to`.
    #[must_use]
    pub fn new(from: &Netns, to: &Netns, address: Ipv4Addr) -> Self {
        Self {
            from: from.clone(),
            to: to.clone(),
            address,
        }
    }

    /// Sends one datagram of each size, in bytes of payload, and compares what is echoed. A size is
    /// missing when nothing has come back for `patience`; nothing is sent twice.
    pub fn echo(
        &self,
        sizes: impl IntoIterator<Item = usize>,
        patience: Duration,
    ) -> Result<EchoReport> {
        let sizes: BTreeSet<usize> = sizes.into_iter().collect();
        let largest = sizes.last().copied().unwrap_or(0);
        ensure!(
            largest <= LARGEST,
            "{largest} bytes do not fit into a datagram"
        );
        let (client, server) = self.sockets()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mirror = mirror(server, Arc::clone(&stop))?;
        let report = exchange(&client, &sizes, patience);
        stop.store(true, Ordering::Release);
        joined(mirror.join())?;
        report
    }

    /// A socket at each end, connected in the sender's.
    pub(super) fn sockets(&self) -> Result<(UdpSocket, UdpSocket)> {
        let server = self.to.enter(|| Ok(UdpSocket::bind((self.address, 0))?))?;
        let target: SocketAddr = server.local_addr()?;
        let client = self.from.enter(|| {
            let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            client.connect(target)?;
            Ok(client)
        })?;
        server.set_read_timeout(Some(PATIENCE))?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok((client, server))
    }
}

/// Sends back what comes, until told to stop.
fn mirror(server: UdpSocket, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<()>>> {
    Ok(thread::Builder::new()
        .name("udp-mirror".into())
        .spawn(move || {
            let mut buffer = vec![0; LARGEST];
            while !stop.load(Ordering::Acquire) {
                match server.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        server.send_to(&buffer[..length], from)?;
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Err(error).context("the mirror"),
                }
            }
            Ok(())
        })?)
}

/// Contents that tell the size, so that neither a cut nor a joined datagram passes.
fn contents(size: usize) -> impl Iterator<Item = u8> {
    let [.., high, low] = size.to_be_bytes();
    (0..size).map(move |at| match at % 4 {
        0 => low,
        1 => high,
        2 => (at >> 8).to_le_bytes()[0],
        _ => at.to_le_bytes()[0],
    })
}

fn exchange(client: &UdpSocket, sizes: &BTreeSet<usize>, patience: Duration) -> Result<EchoReport> {
    let mut report = EchoReport {
        sent: 0,
        echoed: BTreeSet::new(),
        missing: BTreeSet::new(),
        wrong: 0,
    };
    let mut ahead = sizes.iter().copied();
    let mut under_way = BTreeSet::new();
    let mut buffer = vec![0; LARGEST];
    let mut last = Instant::now();
    loop {
        while under_way.len() < WINDOW
            && let Some(size) = ahead.next()
        {
            let datagram: Vec<u8> = contents(size).collect();
            client
                .send(&datagram)
                .with_context(|| format!("cannot send {size} bytes"))?;
            under_way.insert(size);
            report.sent += 1;
        }
        if under_way.is_empty() {
            return Ok(report);
        }
        match client.recv(&mut buffer) {
            Ok(length) => {
                last = Instant::now();
                let whole = buffer[..length].iter().copied().eq(contents(length));
                if whole && under_way.remove(&length) {
                    report.echoed.insert(length);
                } else {
                    // Not what was sent, or sent once and here twice, or given up before.
                    report.wrong += 1;
                }
            }
            Err(error) if is_transient(&error) => {
                if last.elapsed() >= patience {
                    report.missing.append(&mut under_way);
                    last = Instant::now();
                }
            }
            Err(error) => return Err(error).context("the echo"),
        }
    }
}

pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
