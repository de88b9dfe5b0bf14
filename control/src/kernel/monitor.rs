//! Word from the kernel that its configuration has changed.

use std::{io, time::Duration};

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_xfrm::{
    XFRM_MSG_DELPOLICY, XFRM_MSG_DELSA, XFRM_MSG_EXPIRE, XFRM_MSG_FLUSHPOLICY, XFRM_MSG_FLUSHSA,
    XFRM_MSG_NEWPOLICY, XFRM_MSG_NEWSA, XFRM_MSG_POLEXPIRE, XFRM_MSG_UPDPOLICY, XFRM_MSG_UPDSA,
    XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA,
};
use netlink_sys::{
    Socket,
    protocols::{NETLINK_ROUTE, NETLINK_XFRM},
};
use rustix::io::Errno;
use tokio::io::{Interest, unix::AsyncFd};
use zeroize::Zeroize;

use super::{netlink::NetlinkError, socket};
use crate::reconcile::objects::PROTOCOL;

/// How long events are gathered after the first: one change, such as an interface that comes up,
/// makes a handful of them.
const SETTLING: Duration = Duration::from_millis(20);
/// The largest datagram.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Multicast groups, `RTNLGRP_*`: links, IPv4 addresses, IPv4 routes, IPv4 rules.
const ROUTE_GROUPS: [u32; 4] = [1, 5, 7, 8];
const XFRM_GROUPS: [u32; 3] = [XFRMNLGRP_EXPIRE, XFRMNLGRP_SA, XFRMNLGRP_POLICY];

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Topic {
    /// An interface came, went or changed its state.
    Links = 1 << 0,
    /// An IPv4 address came or went.
    Addresses = 1 << 1,
    /// A default route or a route of Withy's came or went.
    Routes = 1 << 2,
    /// A rule came or went.
    Rules = 1 << 3,
    /// A security association came, went or was changed.
    Associations = 1 << 4,
    /// A policy came, went or was changed.
    Policies = 1 << 5,
    /// A security association or a policy has reached a limit of its life.
    Expiries = 1 << 6,
}

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u8);

impl Change {
    /// All topics: events were lost.
    pub const EVERYTHING: Self = Self(0x7f);

    /// Whether the topic is in the set.
    #[must_use]
    pub fn contains(self, topic: Topic) -> bool {
        self.0 & topic as u8 != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl From<Topic> for Change {
    fn from(topic: Topic) -> Self {
        Self(topic as u8)
    }
}

/// What a [`Monitor`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An interface came, went or changed its state; what else has changed is told in a moment.
    Links,
    /// Everything that has changed.
    Change(Change),
}

/// Subscriptions to the kernel's tables.
///
/// It hears of the network namespace in which the thread was that opened it.
#[derive(Debug)]
pub struct Monitor {
    route: AsyncFd<Socket>,
    xfrm: Option<AsyncFd<Socket>>,
    buffer: Vec<u8>,
    /// What was heard and not yet told.
    heard: Change,
    /// Whether it was told that links are among that.
    told: bool,
}

impl Monitor {
    /// Subscribes, inside a tokio runtime with I/O and time enabled.
    ///
    /// A change after this call is told, so a caller that subscribes first and reads the tables
    /// then misses nothing.
    ///
    /// # Errors
    ///
    /// A socket cannot be opened. A kernel without XFRM is no error.
    pub fn open() -> Result<Self, NetlinkError> {
        let route =
            subscribe(NETLINK_ROUTE, &ROUTE_GROUPS).map_err(|source| NetlinkError::Open {
                protocol: "route",
                source,
            })?;
        let xfrm = match subscribe(NETLINK_XFRM, &XFRM_GROUPS) {
            Ok(socket) => Some(socket),
            Err(error) if error.raw_os_error() == Some(Errno::PROTONOSUPPORT.raw_os_error()) => {
                None
            }
            Err(source) => {
                return Err(NetlinkError::Open {
                    protocol: "xfrm",
                    source,
                });
            }
        };
        let buffer = Vec::with_capacity(RECEIVE_BYTES);
        Ok(Self {
            route,
            xfrm,
            buffer,
            heard: Change::default(),
            told: false,
        })
    }

    /// Waits until something has changed, and says what. Changes shortly after one another are
    /// told together.
    ///
    /// It may be given up and called again: what was heard meanwhile is not lost.
    ///
    /// # Errors
    ///
    /// A socket failed.
    pub async fn changed(&mut self) -> Result<Change, NetlinkError> {
        loop {
            if let Word::Change(change) = self.word().await? {
                return Ok(change);
            }
        }
    }

    /// Like [`Monitor::changed`], but says at once, before it gathers what else has changed, that links are among it: where one
    /// is down every millisecond costs packets.
    ///
    /// # Errors
    ///
    /// A socket failed.
    pub async fn word(&mut self) -> Result<Word, NetlinkError> {
        let failed = |source| NetlinkError::Socket {
            operation: "watch the kernel's tables",
            source,
        };
        while self.heard.is_empty() {
            match &self.xfrm {
                None => drop(self.route.readable().await.map_err(failed)?),
                Some(xfrm) => tokio::select! {
                    ready = self.route.readable() => drop(ready.map_err(failed)?),
                    ready = xfrm.readable() => drop(ready.map_err(failed)?),
                },
            }
            self.listen().map_err(failed)?;
        }
        if self.heard.contains(Topic::Links) && !std::mem::replace(&mut self.told, true) {
            return Ok(Word::Links);
        }
        tokio::time::sleep(SETTLING).await;
        self.listen().map_err(failed)?;
        self.told = false;
        Ok(Word::Change(std::mem::take(&mut self.heard)))
    }

    /// Reads what there is to read.
    fn listen(&mut self) -> io::Result<()> {
        let Self {
            route,
            xfrm,
            buffer,
            heard,
            ..
        } = self;
        listen_to(route, buffer, heard, route_topic)?;
        if let Some(xfrm) = xfrm {
            listen_to(xfrm, buffer, heard, xfrm_topic)?;
        }
        Ok(())
    }
}

fn subscribe(protocol: isize, groups: &[u32]) -> io::Result<AsyncFd<Socket>> {
    let mut socket = socket::open(protocol)?;
    for group in groups {
        socket.get_mut().add_membership(*group)?;
    }
    Ok(socket)
}

fn listen_to(
    socket: &AsyncFd<Socket>,
    buffer: &mut Vec<u8>,
    heard: &mut Change,
    topic: fn(u16, &[u8]) -> Option<Topic>,
) -> io::Result<()> {
    loop {
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        match socket.try_io(Interest::READABLE, |socket| socket.recv(buffer, 0)) {
            Ok(_) => classify(buffer, topic, heard),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // The socket's buffer overflowed: events are missing (netlink(7)).
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                heard.insert(Change::EVERYTHING);
            }
            Err(error) => return Err(error),
        }
    }
}

fn classify(datagram: &mut [u8], topic: fn(u16, &[u8]) -> Option<Topic>, heard: &mut Change) {
    let mut rest = &*datagram;
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        let length = message.length() as usize;
        if let Some(topic) = topic(message.message_type(), &rest[16..length]) {
            heard.insert(topic.into());
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // Word of a security association has its key in it.
    datagram.zeroize();
}

/// Classifies a message of the route protocol (`RTM_*` in `linux/rtnetlink.h`).
fn route_topic(kind: u16, payload: &[u8]) -> Option<Topic> {
    match kind {
        16 | 17 => Some(Topic::Links),
        20 | 21 => Some(Topic::Addresses),
        24 | 25 => {
            // `struct rtmsg`: the prefix length is byte 1, the protocol byte 5. A routing daemon
            // may change thousands of routes a second that are nothing to Withy.
            let (length, protocol) = (payload.get(1)?, payload.get(5)?);
            (*length == 0 || *protocol == PROTOCOL).then_some(Topic::Routes)
        }
        32 | 33 => Some(Topic::Rules),
        _ => None,
    }
}

/// Classifies a message of the XFRM protocol (`XFRM_MSG_*` in `linux/xfrm.h`).
fn xfrm_topic(kind: u16, _payload: &[u8]) -> Option<Topic> {
    match kind {
        XFRM_MSG_NEWSA | XFRM_MSG_DELSA | XFRM_MSG_UPDSA | XFRM_MSG_FLUSHSA => {
            Some(Topic::Associations)
        }
        XFRM_MSG_NEWPOLICY | XFRM_MSG_DELPOLICY | XFRM_MSG_UPDPOLICY | XFRM_MSG_FLUSHPOLICY => {
            Some(Topic::Policies)
        }
        XFRM_MSG_EXPIRE | XFRM_MSG_POLEXPIRE => Some(Topic::Expiries),
        _ => None,
    }
}
