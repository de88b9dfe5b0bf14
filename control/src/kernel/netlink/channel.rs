//! Requests and answers over one netlink socket.
//!
//! The crate netlink-proto would do this too, but it prints messages that it cannot decode, whole,
//! at level error, and all others at level trace; those of XFRM carry keys. This channel prints
//! nothing, clears its buffers, asks again where a table changed while it was read, and needs no
//! task of its own.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use tokio::io::unix::AsyncFd;
use zeroize::Zeroize;

use super::NetlinkError;
use crate::kernel::socket;

/// The kernel's datagrams are of at most 32 KiB (`netlink_dump`).
const RECEIVE_BYTES: usize = 64 * 1024;
/// How often a dump is asked for anew when the table changed meanwhile.
const DUMP_ATTEMPTS: u32 = 8;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
/// The dump is inconsistent: `NLM_F_DUMP_INTR`.
const DUMP_INTERRUPTED: u16 = 0x10;
/// The original request is left out of the error message: `NLM_F_CAPPED`.
const CAPPED: u16 = 0x100;
/// Attributes follow in the error message: `NLM_F_ACK_TLVS`.
const ACK_ATTRIBUTES: u16 = 0x200;
/// The attribute with the kernel's words: `NLMSGERR_ATTR_MSG`.
const ACK_ATTRIBUTE_MESSAGE: u16 = 1;
/// The length of a netlink header in bytes.
const HEADER_BYTES: usize = 16;
/// The length of the error number before everything else in an error message, in bytes.
const ERROR_BYTES: usize = 4;

/// One netlink socket with at most one request under way.
#[derive(Debug)]
pub(super) struct Channel {
    socket: AsyncFd<Socket>,
    sequence: u32,
    buffer: Vec<u8>,
    /// A request was given up before all of its answer was read.
    abandoned: bool,
}

/// A message that may hold secrets.
pub(super) trait Clear {
    /// Overwrites the secrets.
    fn clear(&mut self);
}

/// What one datagram did for a request.
enum Progress {
    More,
    Finished,
}

impl Channel {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let socket = socket::open(protocol)?;
        let options = socket.get_ref();
        options.connect(&SocketAddr::new(0, 0))?;
        // The kernel then explains errors, and does not send requests back with them.
        options.set_ext_ack(true)?;
        options.set_cap_ack(true)?;
        if protocol == netlink_sys::protocols::NETLINK_ROUTE {
            // The kernel then filters dumps by what the request says.
            options.set_netlink_get_strict_chk(true)?;
        }
        let buffer = Vec::with_capacity(RECEIVE_BYTES);
        Ok(Self {
            socket,
            sequence: 0,
            buffer,
            abandoned: false,
        })
    }

    /// Sends a request that changes something, and waits for the acknowledgement.
    pub(super) async fn execute<T>(
        &mut self,
        operation: &'static str,
        flags: u16,
        message: T,
    ) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clear,
    {
        let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        self.exchange(operation, flags, message, &mut |_: T| {})
            .await
            .map(drop)
    }

    /// Sends a request for one object, and returns it.
    pub(super) async fn get<T>(
        &mut self,
        operation: &'static str,
        message: T,
    ) -> Result<Option<T>, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clear,
    {
        let mut found = None;
        self.exchange(operation, NLM_F_REQUEST | NLM_F_ACK, message, &mut |part| {
            found = Some(part);
        })
        .await?;
        Ok(found)
    }

    /// Reads a whole table.
    ///
    /// Entries that the message crates cannot decode are left out: they have features that Withy
    /// does not use, so they are not Withy's.
    pub(super) async fn dump<T>(
        &mut self,
        operation: &'static str,
        message: T,
    ) -> Result<Vec<T>, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clear + Clone,
    {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let consistent = self
                .exchange(
                    operation,
                    NLM_F_REQUEST | NLM_F_DUMP,
                    message.clone(),
                    &mut |part| {
                        found.push(part);
                    },
                )
                .await?;
            if consistent {
                return Ok(found);
            }
        }
        Err(NetlinkError::Unsteady {
            operation,
            attempts: DUMP_ATTEMPTS,
        })
    }

    /// Sends a request and hands on the parts of the answer. Returns whether they are consistent.
    async fn exchange<T>(
        &mut self,
        operation: &'static str,
        flags: u16,
        message: T,
        part: &mut impl FnMut(T),
    ) -> Result<bool, NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clear,
    {
        let failed = |source| NetlinkError::Socket { operation, source };
        if self.abandoned {
            self.drain().map_err(failed)?;
        }
        self.abandoned = true;
        self.send(flags, message).await.map_err(failed)?;
        let mut consistent = true;
        loop {
            self.receive().await.map_err(failed)?;
            let answer = read_answer(
                &self.buffer,
                self.sequence,
                operation,
                &mut consistent,
                part,
            );
            self.buffer.zeroize();
            match answer {
                Ok(Progress::More) => {}
                Ok(Progress::Finished) => {
                    self.abandoned = false;
                    return Ok(consistent);
                }
                Err(error) => {
                    // An error ends a request, except that more may be queued behind a malformed
                    // part; `abandoned` stays set for that.
                    self.abandoned = matches!(error, NetlinkError::Malformed { .. });
                    return Err(error);
                }
            }
        }
    }

    async fn send<T>(&mut self, flags: u16, message: T) -> io::Result<()>
    where
        T: NetlinkSerializable + Clear,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        if let NetlinkPayload::InnerMessage(message) = &mut message.payload {
            message.clear();
        }
        let sent = loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| socket.get_ref().send(&bytes, 0)) {
                break sent;
            }
        };
        bytes.zeroize();
        sent.map(drop)
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.reserve(RECEIVE_BYTES);
        let buffer = &mut self.buffer;
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(received) = ready.try_io(|socket| socket.get_ref().recv(buffer, 0)) {
                return received.map(drop);
            }
        }
    }

    /// Reads what is left of an answer that nobody waited for.
    ///
    /// A dump goes on with each reading, so it is over when there is nothing to read.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(RECEIVE_BYTES);
            let received = self.socket.get_ref().recv(&mut self.buffer, 0);
            self.buffer.zeroize();
            match received {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.abandoned = false;
        Ok(())
    }
}

/// Reads one datagram of an answer.
fn read_answer<T: NetlinkDeserializable>(
    mut datagram: &[u8],
    sequence: u32,
    operation: &'static str,
    consistent: &mut bool,
    part: &mut impl FnMut(T),
) -> Result<Progress, NetlinkError> {
    let malformed = |detail: String| NetlinkError::Malformed { operation, detail };
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(|e| malformed(e.to_string()))?;
        let length = message.length() as usize;
        let (flags, payload) = (message.flags(), &datagram[HEADER_BYTES..length]);
        if message.sequence_number() == sequence {
            *consistent &= flags & DUMP_INTERRUPTED == 0;
            match message.message_type() {
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Err(malformed("data was lost".into())),
                NLMSG_DONE | NLMSG_ERROR => {
                    return read_verdict(message.message_type(), flags, payload, operation);
                }
                _ => {
                    let mut header = NetlinkHeader::default();
                    header.message_type = message.message_type();
                    header.flags = flags;
                    if let Ok(entry) = T::deserialize(&header, payload) {
                        part(entry);
                    }
                }
            }
        }
        // Messages begin at multiples of four.
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(Progress::More)
}

/// Reads the end of an answer: an acknowledgement, an error or the end of a dump.
fn read_verdict(
    kind: u16,
    flags: u16,
    payload: &[u8],
    operation: &'static str,
) -> Result<Progress, NetlinkError> {
    let Some(code) = payload.first_chunk::<ERROR_BYTES>() else {
        // The kernel may end a dump without a code.
        return Ok(Progress::Finished);
    };
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(Progress::Finished);
    }
    let mut attributes = ERROR_BYTES;
    if kind == NLMSG_ERROR {
        // The header of the request follows, and all the rest of it unless it is left out.
        let request = payload
            .get(ERROR_BYTES..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |length: &[u8; 4]| u32::from_ne_bytes(*length) as usize);
        attributes += if flags & CAPPED == 0 {
            request.next_multiple_of(4)
        } else {
            HEADER_BYTES
        };
    }
    let explanation = (flags & ACK_ATTRIBUTES != 0)
        .then(|| read_explanation(payload.get(attributes..).unwrap_or_default()))
        .flatten();
    let source = io::Error::from_raw_os_error(code.saturating_neg());
    Err(NetlinkError::Refused {
        operation,
        source,
        explanation,
    })
}

fn read_explanation(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ACK_ATTRIBUTE_MESSAGE)
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value())
                .trim_end_matches('\0')
                .to_owned()
        })
}
