//! What a lost piece costs, by how many packets are split each second: from some rate on their numbers come again while pieces of earlier
//! packets wait for others that were lost.
//!
//! Packets go from a socket through `bundle_tx`, two links' worth of addresses and `link_rx` to the kernel's reassembly. A third IVC
//! leads nowhere: what it is given is lost.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use withy::{
    dataplane::{Attachment, Dataplane, Hook, Receive, Tables},
    kernel::netlink::Netlink,
    reconcile::objects::{BundleDevice, BundleMtu, InterfaceName},
    splitting::REASSEMBLY_SECONDS,
};
use withy_common::maps::Split;

use super::{
    LIMITS, frames,
    tunnel::{Ends, LINK_MTU, Way, arriving, ivc, svc},
};
use crate::{
    bench::report::{Measurement, Unit},
    lab::home::{GatewayDirs, Home},
    netns::{LinkPlan, Netns, Route, VethEnd},
    sys::{
        batch::{self, BATCH, Stamped},
        packet::force_receive_buffer,
    },
};

/// The tunnel's ends.
const ENDPOINTS: Ends = (Ipv4Addr::new(10, 255, 0, 1), Ipv4Addr::new(10, 255, 0, 2));
/// The link, and its ends' addresses.
const LINK: &str = "lk0";
const LINK_ENDS: Ends = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
/// The addresses of the IVCs, of which the receiver does not know the last, and what the scheduler takes them to carry in bits a second. That is
/// less than they are given, so they share by it: one piece in 200 is lost.
const IVCS: [(Ends, u64); 3] = [
    ((address(1), address(101)), 100_000_000),
    ((address(2), address(102)), 100_000_000),
    ((address(3), address(103)), 1_000_000),
];
/// What a full packet of a private network becomes in ESP.
const LENGTH: u16 = 1554;
/// Where a packet's payload begins.
const HEADER: usize = 20;
/// What may wait for the receiver, in bytes.
const BUFFER: usize = 16 << 20;
/// Packets of a case are sent for so long: numbers come again several times.
const TIME: Duration = Duration::from_secs(4);
/// How many are split each second.
const CASES: [(&str, &str, u32); 4] = [
    (
        "numbers.10k",
        "packets spoiled by a lost piece, 10,000 split a second",
        10_000,
    ),
    ("numbers.30k", "the same, 30,000", 30_000),
    ("numbers.65k", "the same, 65,000", 65_000),
    ("numbers.100k", "the same, 100,000", 100_000),
];

const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}

/// Two gateways with a link between them, and the sockets at both ends.
pub(super) struct Numbers {
    tables: Tables,
    out: Socket,
    arrived: Socket,
    figures: Vec<Vec<f64>>,
    // They hold what the rest works with.
    _programs: [Dataplane; 2],
    _gateways: [Netns; 2],
}

impl Numbers {
    pub(super) fn new(home: &Home) -> Result<Self> {
        let gateways = [Netns::new("splitter")?, Netns::new("joiner")?];
        let [near, far] = &gateways;
        join(near, far)?;
        let dirs = [home.gateway("splitter")?, home.gateway("joiner")?];
        let mut programs = [
            Dataplane::load(&dirs[0].bpf(), LIMITS)?,
            Dataplane::load(&dirs[1].bpf(), LIMITS)?,
        ];
        let tables = state(&mut programs, near)?;
        let device = bundle(near)?;
        attach(&mut programs[0], near, &dirs[0], Hook::BundleTx, &device)?;
        let receive = Hook::LinkRx(Receive::Tc);
        attach(&mut programs[1], far, &dirs[1], receive, LINK)?;
        let out = raw(near, Protocol::from(255))?;
        out.connect(&SocketAddrV4::new(ENDPOINTS.1, 0).into())?;
        Ok(Self {
            tables,
            out,
            arrived: raw(far, Protocol::from(50))?,
            figures: vec![Vec::new(); CASES.len()],
            _programs: programs,
            _gateways: gateways,
        })
    }

    /// Measures every case once.
    pub(super) fn measure(&mut self) -> Result<()> {
        for (at, (name, _, rate)) in CASES.iter().enumerate() {
            // Nothing waits any more of the case before.
            thread::sleep(Duration::from_secs(u64::from(REASSEMBLY_SECONDS) + 1));
            let figure = self.one(*rate).with_context(|| (*name).to_owned())?;
            self.figures[at].push(figure);
        }
        Ok(())
    }

    /// Sends so many packets a second; returns how many are lost or spoiled for each piece that is lost.
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand packets")]
    fn one(&self, rate: u32) -> Result<f64> {
        let before = self.tables.counters(2)?.tx.pieces;
        let (start, mut sent, mut intact) = (Instant::now(), 0_u32, 0_u32);
        let mut receiver = Receiver::new(&self.arrived);
        while start.elapsed() < TIME {
            let due = start.elapsed().as_secs_f64() * f64::from(rate);
            if due < f64::from(sent) {
                std::hint::spin_loop();
                continue;
            }
            sent += self.send(sent)?;
            intact += receiver.drain()?;
        }
        // What is under way arrives.
        thread::sleep(Duration::from_millis(100));
        intact += receiver.drain()?;
        let pace = f64::from(sent) / start.elapsed().as_secs_f64();
        ensure!(
            pace > 0.95 * f64::from(rate),
            "only {pace:.0} packets a second"
        );
        let lost = self.tables.counters(2)?.tx.pieces - before;
        ensure!(lost > 0, "no piece was lost");
        Ok(f64::from(sent - intact) / lost as f64)
    }

    /// Sends a batch of packets with numbers from `first` on; returns how many.
    fn send(&self, first: u32) -> Result<u32> {
        let numbers = (first..).take(BATCH);
        let packets: Vec<_> = numbers.map(packet).collect::<Result<_>>()?;
        let sent = batch::send(&self.out, packets.iter().map(Vec::as_slice))?;
        Ok(u32::try_from(sent)?)
    }

    /// Sums up.
    pub(super) fn results(self) -> Result<Vec<Measurement>> {
        CASES
            .iter()
            .zip(self.figures)
            .map(|((name, about, _), figures)| {
                Measurement::new(*name, *about, Unit::Ratio, figures)
            })
            .collect()
    }
}

/// Tells packets that are what was sent from others.
struct Receiver<'a> {
    socket: &'a Socket,
    buffers: Vec<Box<[u8]>>,
}

impl<'a> Receiver<'a> {
    fn new(socket: &'a Socket) -> Self {
        let buffer = || vec![0; usize::from(LENGTH) + 1].into_boxed_slice();
        Self {
            socket,
            buffers: (0..BATCH).map(|_| buffer()).collect(),
        }
    }

    /// Takes all that has come; returns how many are intact.
    fn drain(&mut self) -> Result<u32> {
        let (mut came, mut intact) = ([Stamped::default(); BATCH], 0);
        loop {
            let count = match batch::receive(self.socket, &mut self.buffers, &mut came) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(intact),
                count => count?,
            };
            for (message, buffer) in came.iter().zip(&self.buffers).take(count) {
                let packet = &buffer[..message.length.min(buffer.len())];
                let whole = packet.len() == usize::from(LENGTH);
                intact +=
                    u32::from(whole && packet[HEADER..].first_chunk::<4>() == packet.last_chunk());
            }
        }
    }
}

/// A packet that bears its number in front and at the end.
fn packet(number: u32) -> Result<Vec<u8>> {
    let mut packet = frames::esp(ENDPOINTS.0, ENDPOINTS.1, LENGTH)?.split_off(14);
    let end = packet.len() - 4;
    for at in [HEADER, end] {
        packet[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    Ok(packet)
}

/// Makes the link, over which all IVCs lead.
fn join(near: &Netns, far: &Netns) -> Result<()> {
    let mac = |side| [2, 0, 0, 0, side, 0];
    let end = |netns, side| VethEnd {
        netns,
        name: LINK,
        mac: mac(side),
    };
    let mtu = LINK_MTU.into();
    Netns::join(end(near, 0), end(far, 1), LinkPlan { mtu })?;
    near.add_address(LINK, LINK_ENDS.0, 24)?;
    far.add_address(LINK, LINK_ENDS.1, 24)?;
    near.set_neighbour(LINK, LINK_ENDS.1, mac(1))?;
    far.add_address("lo", ENDPOINTS.1, 32)?;
    let seconds = REASSEMBLY_SECONDS.to_string();
    far.set_sysctl("net.ipv4.ipfrag_time", &seconds)?;
    far.set_sysctl("net.ipv4.ipfrag_max_dist", "0")?;
    far.set_sysctl("net.ipv4.ipfrag_high_thresh", &(64 << 20).to_string())
}

/// Tells both gateways of the IVCs, the receiver not of the last; returns the sender's tables.
fn state([sender, receiver]: &mut [Dataplane; 2], near: &Netns) -> Result<Tables> {
    let ifindex = near.link_index(LINK)?;
    let next_hop = LINK_ENDS.1;
    let way = |rate| Way {
        ifindex,
        next_hop,
        rate,
    };
    let ivcs = (0..).zip(IVCS);
    let ivcs: Vec<_> = ivcs
        .map(|(counters, (ends, rate))| ivc(ends, way(rate), counters))
        .collect();
    let mut tables = sender.tables()?;
    tables.set_svcs(&[(ENDPOINTS.1, svc(ENDPOINTS.0, 0, Split::Mtu, &ivcs))])?;
    let known = (0..).zip(&IVCS[..2]);
    let known: Vec<_> = known
        .map(|(counters, (ends, _))| arriving(*ends, ENDPOINTS, counters))
        .collect();
    receiver.tables()?.set_ivcs(&known)?;
    Ok(tables)
}

/// Makes a bundle device as the product does, with a route; returns its name.
fn bundle(near: &Netns) -> Result<String> {
    let device = BundleDevice {
        name: InterfaceName::new("withy0")?,
        peer: InterfaceName::new("withy0p")?,
        mtu: BundleMtu::new(9000)?,
    };
    near.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async { Ok(Netlink::open()?.create_bundle(&device).await?) })
    })?;
    near.add_address(device.name.as_str(), ENDPOINTS.0, 32)?;
    near.set_route(&Route::to((ENDPOINTS.1, 32), device.name.as_str()))?;
    Ok(device.name.as_str().to_owned())
}

fn attach(
    programs: &mut Dataplane,
    netns: &Netns,
    dirs: &GatewayDirs,
    hook: Hook,
    interface: &str,
) -> Result<()> {
    let wanted = [Attachment {
        hook,
        interface: interface.to_owned(),
        ifindex: netns.link_index(interface)?,
    }];
    let notes = dirs.run().join("clsact");
    for result in netns.enter(|| Ok(programs.attach(&wanted, &notes)))? {
        result?;
    }
    Ok(())
}

fn raw(netns: &Netns, protocol: Protocol) -> Result<Socket> {
    let socket = netns.enter(|| Ok(Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?))?;
    socket.set_nonblocking(true)?;
    force_receive_buffer(&socket, BUFFER)?;
    Ok(socket)
}
