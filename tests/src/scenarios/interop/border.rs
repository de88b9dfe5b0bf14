//! Sequence numbers beyond 32 bits: packets carry the low half alone (RFC 4303 section 2.2.1).
//!
//! Nobody sends four billion packets first. The kernel's SA is moved ahead while its daemon is stopped, which then finds it as it
//! left it. Withy's own engine begins at 1 with each SA: what it would send then is sealed here, by the same code, and takes its
//! gateway's way.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Builder;
use withy::{
    esp::{HEADROOM, Sealer, TAILROOM},
    kernel::netlink::Netlink,
    reconcile::objects::{Direction, EspKey, Outbound, Position, ReqId, SecurityAssociation, Spi},
};

use super::{
    engine,
    tampering::{Reasons, expect_drops},
    wiretap::Wiretap,
};
use crate::{
    capture::{Ipv4Fields, ipv4},
    gateway::Gateway,
    lab::Site,
    scenarios::{kernel_tools::run, stage::Stage},
    site_config::endpoint,
};

/// Where the low half begins again.
const BORDER: u64 = 1 << 32;
/// The last number before it that a window is first moved to: where no window reaches over it, or below zero.
const FAR: u64 = BORDER - 10_000;
/// The last number before it that packets then go on from.
const NEAR: u64 = BORDER - 20;
/// Sizes of datagrams that go over it: some are split.
const SIZES: std::ops::RangeInclusive<usize> = 1400..=1450;
const UDP: u8 = 17;

/// Lets both sides' sequence numbers cross the border. Afterwards the tunnel is of no use any more.
pub(super) fn play(stage: &Stage<'_>) -> Result<()> {
    let (kernel, userspace) = match engine(stage, &stage.a) {
        "kernel" => (&stage.a, &stage.b),
        _ => (&stage.b, &stage.a),
    };
    from_kernel(stage, kernel, userspace).context("from the kernel")?;
    from_userspace(stage, kernel, userspace).context("to the kernel")?;
    println!("      sequence numbers cross 2^32 both ways");
    Ok(())
}

fn from_kernel(stage: &Stage<'_>, kernel: &Gateway<'_>, userspace: &Gateway<'_>) -> Result<()> {
    let (here, there) = (kernel.site(), userspace.site());
    kernel.signal(Signal::STOP)?;
    move_ahead(stage, (here, there), FAR)?;
    stage.expect_ping(here.name(), 100)?;
    move_ahead(stage, (here, there), NEAR)?;
    kernel.signal(Signal::CONT)?;
    let tap = Wiretap::start(here)?;
    let sizes = SIZES.step_by(2);
    let echoes = stage
        .probe(here.name())?
        .echo(sizes, Duration::from_secs(2))?;
    let packets = tap.finish(stage.spec.spi(here, there))?;
    ensure!(
        echoes.missing.is_empty() && echoes.wrong == 0,
        "not all came back: {echoes:?}"
    );
    // The daemon has let it be.
    stage.wait_healthy()?;
    expect_state(here, endpoint(there)?, "oseq-hi 0x1")?;
    let count = packets.len().try_into()?;
    ensure!(count >= echoes.sent as u64, "{count} packets were seen");
    let reasons = Reasons::of("userspace");
    expect_drops(userspace, "userspace", reasons.replayed, count, || {
        packets.iter().try_for_each(|packet| packet.send(there))
    })
}

/// Gives the SA from one site to another the number of the packet that it has sent last.
fn move_ahead(stage: &Stage<'_>, (from, to): (&Site, &Site), sent: u64) -> Result<()> {
    let spi = Spi::new(stage.spec.spi(from, to))?;
    let states = run(from.gateway(), "ip xfrm state")?;
    let reqid = states
        .split("reqid ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let reqid = reqid.context("there is no SA")?.parse()?;
    let association = SecurityAssociation {
        source: endpoint(from)?,
        destination: endpoint(to)?,
        spi,
        reqid: ReqId::from_kernel(reqid).context("the SA is not Withy's")?,
        key: key(stage, from, to)?,
        direction: Direction::Out(Outbound {
            udp_encapsulation: true,
            path_mtu_discovery: false,
        }),
    };
    from.gateway().enter(|| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let netlink = Netlink::open()?;
            netlink
                .remove_association(association.destination, spi)
                .await?;
            let position = Position { sent, received: 0 };
            Ok(netlink.add_association(&association, position).await?)
        })
    })
}

fn key(stage: &Stage<'_>, from: &Site, to: &Site) -> Result<EspKey> {
    Ok(EspKey::new(
        stage.spec.suite,
        stage.spec.material(from, to),
    )?)
}

/// Fails unless the kernel's SA to an endpoint has this in its anti-replay state.
fn expect_state(at: &Site, destination: Ipv4Addr, part: &str) -> Result<()> {
    let states = run(at.gateway(), "ip xfrm state")?;
    let state = states
        .split("src ")
        .find(|state| state.contains(&format!("dst {destination}\n")))
        .context("there is no such SA")?;
    ensure!(state.contains(part), "no {part} in an SA of {}", at.name());
    Ok(())
}

fn from_userspace(stage: &Stage<'_>, kernel: &Gateway<'_>, userspace: &Gateway<'_>) -> Result<()> {
    let (here, there) = (userspace.site(), kernel.site());
    let mut source = Source::new(stage, here, there)?;
    let first = source.seal(FAR, 100)?;
    source.deliver(&first, 100)?;
    let mut packets = Vec::new();
    for size in SIZES {
        let packet = source.seal(NEAR, size)?;
        source.deliver(&packet, size)?;
        packets.push(packet);
    }
    expect_state(there, endpoint(there)?, "seq-hi 0x1")?;
    // As many as links take at once.
    let again = packets.iter().step_by(10);
    let count = again.len().try_into()?;
    let reasons = Reasons::of("kernel");
    expect_drops(kernel, "kernel", reasons.replayed, count, || {
        for packet in again {
            source.send(packet)?;
        }
        Ok(())
    })
}

/// Datagrams from a host, sealed at its gateway, for another host.
struct Source {
    sealer: Sealer,
    /// At the gateway.
    socket: Socket,
    endpoint: Ipv4Addr,
    hosts: (Ipv4Addr, Ipv4Addr),
    /// At the other host.
    ear: UdpSocket,
}

impl Source {
    fn new(stage: &Stage<'_>, from: &Site, to: &Site) -> Result<Self> {
        let spi = Spi::new(stage.spec.spi(from, to))?;
        let ends = (endpoint(from)?, endpoint(to)?);
        let key = key(stage, from, to)?;
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = || Ok(Socket::new(Domain::IPV4, Type::RAW, Some(raw))?);
        let ear = || Ok(UdpSocket::bind((to.lan().host, 0))?);
        let ear = to.host().enter(ear)?;
        ear.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(Self {
            sealer: Sealer::new(ends.0, ends.1, spi, &key)?,
            socket: from.gateway().enter(socket)?,
            endpoint: ends.1,
            hosts: (from.lan().host, to.lan().host),
            ear,
        })
    }

    /// Seals a datagram of `size` bytes with a number above `last`.
    fn seal(&mut self, last: u64, size: usize) -> Result<Vec<u8>> {
        self.sealer.resume(last);
        let inner = datagram(self.hosts, self.ear.local_addr()?.port(), size);
        let mut buffer = vec![0; HEADROOM + inner.len() + TAILROOM];
        buffer[HEADROOM..HEADROOM + inner.len()].copy_from_slice(&inner);
        let length = self.sealer.seal(&mut buffer, inner.len())?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn send(&self, packet: &[u8]) -> Result<()> {
        let endpoint = SocketAddrV4::new(self.endpoint, 0).into();
        self.socket.send_to(packet, &endpoint)?;
        Ok(())
    }

    /// Sends a datagram of `size` bytes, and waits for it at the other host.
    fn deliver(&self, packet: &[u8], size: usize) -> Result<()> {
        self.send(packet)?;
        let mut heard = [0; 2048];
        let heard = self.ear.recv_from(&mut heard);
        let (length, from) = heard.with_context(|| format!("{size} bytes"))?;
        ensure!(
            length == size && from.ip() == self.hosts.0,
            "{length} bytes from {from}"
        );
        Ok(())
    }
}

/// An IPv4 packet with a datagram of `size` zeros, without a checksum (RFC 768).
fn datagram((source, destination): (Ipv4Addr, Ipv4Addr), port: u16, size: usize) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let [length_high, length_low] = u16::try_from(size + 8).unwrap_or(u16::MAX).to_be_bytes();
    let mut payload = vec![high, low, high, low, length_high, length_low, 0, 0];
    payload.resize(8 + size, 0);
    ipv4(&Ipv4Fields::new(source, destination, UDP), &payload)
}
