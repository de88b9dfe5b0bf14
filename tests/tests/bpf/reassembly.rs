//! Pieces that a lost one has left waiting, and later packets whose pieces bear the same number.

use std::{io, net::SocketAddrV4, time::Duration};

use aya::maps::{Array, Map, MapData};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use withy::{
    dataplane::{Attachment, Hook, Receive, wire},
    kernel::netlink::Netlink,
    reconcile::objects::{BundleDevice, BundleMtu, InterfaceName},
};
use withy_common::maps::{IvcKey, IvcRx, LAYOUT, Split, SvcState};
use withy_tests::netns::{Netns, Route};

use crate::{
    clones::{FAR, LINK, link},
    packets::Frame,
    rig::{ENDPOINTS, Rig, local, remote},
};

/// The protocol of ESP, and that of packets that bring their own header.
const ESP: i32 = 50;
const RAW: i32 = 255;
/// An ESP packet around a full one of the private network, from the IP header on.
const LENGTH: usize = 1554;
/// What is waited for and has not come by then does not come.
const PATIENCE: Duration = Duration::from_millis(200);
/// The SVC's place among the states.
const INDEX: u32 = 3;

/// A gateway that sends, one that receives, and two IVCs between them.
struct Path {
    _near: Netns,
    _far: Netns,
    sender: Rig,
    receiver: Rig,
    out: Socket,
    arrived: Socket,
}

impl Path {
    fn new() -> Self {
        let (near, far) = link();
        // So fast that both are idle again for each packet: the first piece takes the one, the second the other.
        let mut sender = Rig::new(&[(100_000_000_000, 1); 2], Split::Mtu);
        sender.lead_to(near.link_index(LINK).unwrap(), FAR);
        let mut receiver = Rig::new(&[], Split::Mtu);
        let device = bundle(&near);
        near.set_route(&Route::to((ENDPOINTS.1, 32), &device))
            .unwrap();
        attach(&mut sender, &near, Hook::BundleTx, &device);
        attach(&mut receiver, &far, Hook::LinkRx(Receive::Tc), LINK);
        far.add_address("lo", ENDPOINTS.1, 32).unwrap();
        let socket = |netns: &Netns, protocol: i32| {
            netns
                .enter(|| {
                    let protocol = Some(Protocol::from(protocol));
                    Ok(Socket::new(Domain::IPV4, Type::RAW, protocol)?)
                })
                .unwrap()
        };
        let (out, arrived) = (socket(&near, RAW), socket(&far, ESP));
        arrived.set_read_timeout(Some(PATIENCE)).unwrap();
        // Nothing that waits is given up before the test has ended.
        far.set_sysctl("net.ipv4.ipfrag_time", "60").unwrap();
        let mut path = Self {
            _near: near,
            _far: far,
            sender,
            receiver,
            out,
            arrived,
        };
        path.deliver(&[0, 1]);
        path
    }

    /// Has the pieces of these IVCs arrive, and no others.
    fn deliver(&mut self, slots: &[u8]) {
        let arriving = slots.iter().map(|slot| {
            let key = IvcKey {
                source: wire(local(*slot)),
                destination: wire(remote(*slot)),
            };
            let value = IvcRx {
                source: wire(ENDPOINTS.0),
                destination: wire(ENDPOINTS.1),
                counters: u32::from(*slot),
                slot: u32::from(*slot),
            };
            (key, value)
        });
        let arriving: Vec<_> = arriving.collect();
        self.receiver.tables.set_ivcs(&arriving).unwrap();
    }

    /// Has so many packets be split already.
    fn count_from(&self, split: u64) {
        let pin = self
            .sender
            .base()
            .join(format!("v{LAYOUT}/maps/SVC_STATES"));
        let map = Map::Array(MapData::from_pin(pin).unwrap());
        let mut states: Array<_, SvcState> = Array::try_from(map).unwrap();
        let state = states.get(&INDEX, 0).unwrap();
        states.set(INDEX, SvcState { split, ..state }, 0).unwrap();
    }

    /// Sends a packet full of `mark`; tells what arrives: the marks of both of its ends.
    fn send(&self, mark: u8) -> Option<(u8, u8)> {
        let mut frame = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, LENGTH - 20);
        frame.payload.fill(mark);
        let packet = frame.bytes().split_off(crate::packets::ETHERNET);
        let to = SockAddr::from(SocketAddrV4::new(ENDPOINTS.1, 0));
        assert_eq!(self.out.send_to(&packet, &to).unwrap(), LENGTH);
        let mut buffer = [0; 2 * LENGTH];
        match io::Read::read(&mut &self.arrived, &mut buffer) {
            Ok(length) => {
                assert_eq!(length, LENGTH);
                Some((buffer[20], buffer[LENGTH - 1]))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Makes a bundle device, and returns its name.
fn bundle(netns: &Netns) -> String {
    let device = BundleDevice {
        name: InterfaceName::new("withy0").unwrap(),
        peer: InterfaceName::new("withy0p").unwrap(),
        mtu: BundleMtu::new(9000).unwrap(),
    };
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async { Ok(Netlink::open()?.create_bundle(&device).await?) })
    };
    netns.enter(make).unwrap();
    netns.add_address("withy0", ENDPOINTS.0, 32).unwrap();
    device.name.as_str().to_owned()
}

fn attach(rig: &mut Rig, netns: &Netns, hook: Hook, device: &str) {
    let attachment = Attachment {
        hook,
        interface: device.to_owned(),
        ifindex: netns.link_index(device).unwrap(),
    };
    let notes = rig.base().with_extension("clsact");
    let attached = netns.enter(|| Ok(rig.dataplane.attach(&[attachment], &notes)));
    attached.unwrap().into_iter().for_each(|result| {
        result.unwrap();
    });
}

/// Sends packets of one number, each a round later than the one before, after one of which a piece is lost; returns what becomes of them.
fn after_a_loss(path: &mut Path, lost: u8, rounds: &[u64], number: u64) -> Vec<Option<(u8, u8)>> {
    // Whatever a test before has left waiting bears another number.
    let count = |path: &Path, round: u64| path.count_from(round << 16 | number);
    let (first, later) = rounds.split_first().unwrap();
    count(path, *first);
    path.deliver(&[1 - lost]);
    assert_eq!(path.send(0xff), None);
    path.deliver(&[0, 1]);
    (1..)
        .zip(later)
        .map(|(mark, round)| {
            count(path, *round);
            path.send(mark)
        })
        .collect()
}

fn mixed(became: &[Option<(u8, u8)>]) -> usize {
    became.iter().flatten().filter(|(a, b)| a != b).count()
}

#[test]
fn a_lost_piece_spoils_no_more_than_two_packets_of_its_number() {
    let mut path = Path::new();
    assert_eq!(path.send(9), Some((9, 9)));
    for lost in [0, 1] {
        for first in 0..4 {
            let rounds: Vec<_> = (first..=first + 6).collect();
            let number = 1 + 10 * u64::from(lost) + first;
            let became = after_a_loss(&mut path, lost, &rounds, number);
            println!("piece {lost} lost in round {first}: {became:?}");
            assert_eq!(mixed(&became), 0, "put together wrongly: {became:?}");
            let lost = became.iter().filter(|packet| packet.is_none()).count();
            assert!(lost <= 2, "{lost} were lost: {became:?}");
            assert!(became[2..].iter().all(Option::is_some), "{became:?}");
        }
    }
    // What it would be if all were cut at the same place: what is left of each packet is put together with the next.
    let became = after_a_loss(&mut path, 0, &[4; 7], 50);
    println!("piece 0 lost, always cut alike: {became:?}");
    assert_eq!(mixed(&became), became.len(), "{became:?}");
}
