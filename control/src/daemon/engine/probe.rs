//! Whether the kernel's ESP works: that it takes a state says nothing, so a packet must come out, and not in plain text.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use withy_common::header::{ESP, LEN, UDP};

use crate::{
    config::{Config, Keying},
    kernel::{
        namespace,
        netlink::{Netlink, NetlinkError},
    },
    reconcile::objects::{
        Address, Direction, EspKey, Outbound, Policy, PolicyDirection, Position, ReqId, Route,
        RouteMetrics, RouteTarget, SecurityAssociation, Spi, TABLE_MAIN, Template,
    },
    suite::Suite,
    vpn,
};

const FROM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const REQID: ReqId = ReqId(0);
/// What must not be seen.
const SECRET: &[u8] = b"what nobody but the other gateway may read";
/// How long a packet may take out of the kernel.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the kernel is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// There is no place to try it.
    #[error("{0}")]
    Untried(io::Error),
    /// It refuses something.
    #[error("{0}: {1}")]
    Refused(Suite, NetlinkError),
    /// A packet does not come out.
    #[error("{0}: no packet came out")]
    Nothing(Suite),
    /// A packet comes out as it went in.
    #[error("{0}: a packet came out in plain text")]
    Plain(Suite),
    /// What should always be possible is not.
    #[error("{0}: {1}")]
    Io(Suite, io::Error),
}

/// The suites that a configuration may need.
pub(super) fn suites(config: &Config) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    for tunnel in config.tunnels.values() {
        match &tunnel.keying {
            Keying::Manual(manual) => {
                names.insert(manual.suite.name());
            }
            Keying::Negotiated(negotiated) => {
                names.extend(negotiated.suites.iter().map(|suite| suite.name()));
            }
        }
    }
    if names.is_empty() {
        names.insert(Suite::AesGcm256.name());
    }
    names
}

/// Lets the kernel encrypt a packet with each suite, in a network namespace that is gone afterwards.
///
/// # Errors
///
/// It does not, or it cannot be tried.
pub(super) fn kernel(suites: &BTreeSet<&'static str>) -> Result<(), Failed> {
    let suites: Vec<Suite> = suites.iter().filter_map(|name| name.parse().ok()).collect();
    // The daemon's threads must not move.
    let tried = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::Untried)?;
        match namespace::enter_new() {
            Ok(()) => runtime.block_on(all(&suites)),
            // A kernel that takes no state has no ESP; of one that does nothing is known.
            Err(error) => runtime
                .block_on(states(&suites))
                .and(Err(Failed::Untried(error))),
        }
    });
    let lost = || Failed::Untried(io::Error::other("the attempt was lost"));
    tried.join().unwrap_or_else(|_| Err(lost()))
}

/// Adds and removes a state of each suite, between addresses that nothing uses and without a policy that leads there.
async fn states(suites: &[Suite]) -> Result<(), Failed> {
    for suite in suites {
        let refused = |error| Failed::Refused(*suite, error);
        let netlink = Netlink::open().map_err(refused)?;
        let association = association(*suite, 0x100)?;
        let added = netlink.add_association(&association, Position::default());
        added.await.map_err(refused)?;
        let removed = netlink.remove_association(TO, association.spi);
        removed.await.map_err(refused)?;
    }
    Ok(())
}

async fn all(suites: &[Suite]) -> Result<(), Failed> {
    for (number, suite) in (0x100..).zip(suites) {
        let netlink = Netlink::open().map_err(|error| Failed::Refused(*suite, error))?;
        if number == 0x100 {
            prepare(&netlink)
                .await
                .map_err(|error| Failed::Refused(*suite, error))?;
        }
        let association = association(*suite, number)?;
        netlink
            .add_association(&association, Position::default())
            .await
            .map_err(|error| Failed::Refused(*suite, error))?;
        let seen = exchange(number).map_err(|error| Failed::Io(*suite, error));
        let removed = netlink.remove_association(TO, association.spi).await;
        match seen? {
            Seen::Esp => removed.map_err(|error| Failed::Refused(*suite, error))?,
            Seen::Nothing => return Err(Failed::Nothing(*suite)),
            Seen::Plain => return Err(Failed::Plain(*suite)),
        }
    }
    Ok(())
}

/// Makes a way for packets, and the policy that none goes it in plain text.
async fn prepare(netlink: &Netlink) -> Result<(), NetlinkError> {
    let bundle = vpn::bundle_device();
    netlink.create_bundle(&bundle).await?;
    let address = Address {
        device: bundle.name.clone(),
        address: FROM.into(),
    };
    netlink.add_address(&address).await?;
    let route = Route {
        table: TABLE_MAIN,
        destination: TO.into(),
        priority: 0,
        target: RouteTarget::Device {
            device: bundle.name,
            gateway: None,
        },
        preferred_source: Some(FROM),
        metrics: RouteMetrics::default(),
    };
    netlink.add_route(&route).await?;
    let policy = Policy {
        direction: PolicyDirection::Out,
        source: FROM.into(),
        destination: TO.into(),
        template: Template {
            source: FROM,
            destination: TO,
            reqid: REQID,
        },
        priority: 1,
    };
    netlink.add_policy(&policy).await
}

fn association(suite: Suite, number: u32) -> Result<SecurityAssociation, Failed> {
    let failed = |text: &str| Failed::Io(suite, io::Error::other(text.to_owned()));
    let mut material = vec![0; suite.material_len()];
    aws_lc_rs::rand::fill(&mut material).map_err(|_| failed("no random numbers"))?;
    Ok(SecurityAssociation {
        source: FROM,
        destination: TO,
        spi: Spi::new(number).map_err(|error| failed(&error.to_string()))?,
        reqid: REQID,
        key: EspKey::new(suite, material).map_err(|error| failed(&error.to_string()))?,
        direction: Direction::Out(Outbound {
            udp_encapsulation: true,
            path_mtu_discovery: false,
        }),
    })
}

/// What came out of the kernel.
enum Seen {
    Esp,
    Plain,
    Nothing,
}

/// Sends a packet, and looks what passes on the wire.
fn exchange(spi: u32) -> io::Result<Seen> {
    // `ETH_P_ALL`, in wire order.
    let all = i32::from(3_u16.to_be());
    let wire = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all)))?;
    let sender = UdpSocket::bind(SocketAddrV4::new(FROM, 0))?;
    // That there is no algorithm may come to light here.
    sender.send_to(SECRET, SocketAddrV4::new(TO, 9))?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        wire.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = match rustix::net::recv(&wire, &mut buffer, rustix::net::RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        };
        let packet = &buffer[..length];
        if packet.windows(SECRET.len()).any(|part| part == SECRET) {
            return Ok(Seen::Plain);
        }
        if is_esp(packet, spi) {
            return Ok(Seen::Esp);
        }
    }
    Ok(Seen::Nothing)
}

/// Whether a packet is ESP of an SA, as it is or in UDP.
fn is_esp(packet: &[u8], spi: u32) -> bool {
    let header = usize::from(LEN);
    let at = match packet.get(9) {
        Some(&ESP) => header,
        Some(&UDP) => header + 8,
        _ => return false,
    };
    packet.get(at..at + 4) == Some(&spi.to_be_bytes())
}
