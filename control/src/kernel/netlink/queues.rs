//! The queueing disciplines at the roots of interfaces.

use netlink_packet_core::{
    DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla as _, NlasIterator,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use rustix::io::Errno;

use super::{Netlink, NetlinkError, gone};
use crate::reconcile::objects::{InterfaceName, Pacer};

/// The queueing discipline that keeps departure times.
const FQ: &str = "fq";
/// Attributes of `fq` (`linux/pkt_sched.h`): `TCA_FQ_PLIMIT`, `TCA_FQ_FLOW_PLIMIT` and `TCA_FQ_HORIZON_DROP`.
const LIMIT: u16 = 1;
const FLOW_LIMIT: u16 = 2;
const HORIZON_DROP: u16 = 15;

/// What is at the root of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootQueue {
    /// The interface's number.
    pub index: u32,
    /// Its kind: `fq`, `noqueue` and so on.
    pub kind: String,
    /// The upper half of its handle; 0 for what the kernel has put there by default (`qdisc_create_dflt`), and nothing else.
    pub major: u16,
    /// How many packets an `fq` holds of all flows, and of one.
    pub limits: Option<(u32, u32)>,
}

impl RootQueue {
    /// Whether Withy has put it there.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.kind == FQ && self.major == Pacer::MAJOR
    }

    /// Whether it holds as many packets as Withy's does.
    pub(crate) fn is_as_made(&self) -> bool {
        self.limits == Some((Pacer::LIMIT, Pacer::FLOW_LIMIT))
    }
}

impl Netlink {
    /// Reads what is at the roots of all interfaces that have a queueing discipline; those that are down may have none.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or the answer cannot be read.
    pub async fn root_queues(&self) -> Result<Vec<RootQueue>, NetlinkError> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let answer = self.dump_route("list queueing disciplines", request).await;
        let answer = match answer {
            // A kernel without traffic control.
            Err(error) if error.refused_with(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            answer => answer?,
        };
        let queues = answer.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewQueueDiscipline(queue) => read(&queue),
            _ => None,
        });
        Ok(queues.collect())
    }

    /// Puts a queueing discipline that keeps departure times at the root of an interface, in the place of the kernel's default.
    ///
    /// # Errors
    ///
    /// The kernel has none such, there is another that somebody has put there, or the interface is missing.
    pub async fn add_pacer(&self, pacer: &Pacer) -> Result<(), NetlinkError> {
        let message =
            RouteNetlinkMessage::NewQueueDiscipline(self.pacer(&pacer.device, true).await?);
        self.execute_route(
            "add a queueing discipline",
            NLM_F_CREATE | NLM_F_EXCL,
            message,
        )
        .await
    }

    /// Gives Withy's queueing discipline its limits back.
    ///
    /// # Errors
    ///
    /// It is gone, or the kernel refuses.
    pub async fn change_pacer(&self, pacer: &Pacer) -> Result<(), NetlinkError> {
        let message =
            RouteNetlinkMessage::NewQueueDiscipline(self.pacer(&pacer.device, true).await?);
        self.execute_route("change a queueing discipline", NLM_F_REPLACE, message)
            .await
    }

    /// Removes Withy's queueing discipline, and the kernel puts its default there; that it is gone is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_pacer(&self, device: &InterfaceName) -> Result<(), NetlinkError> {
        let message = match self.pacer(device, false).await {
            Ok(message) => RouteNetlinkMessage::DelQueueDiscipline(message),
            Err(error) => return gone(Err(error)),
        };
        let removed = self
            .execute_route("remove a queueing discipline", 0, message)
            .await;
        match removed {
            // Another is there now: the handle is not the one that is asked for.
            Err(error) if error.refused_with(Errno::INVAL) => Ok(()),
            result => gone(result),
        }
    }

    async fn pacer(
        &self,
        device: &InterfaceName,
        options: bool,
    ) -> Result<TcMessage, NetlinkError> {
        let mut message = TcMessage::default();
        // The kernel takes the index for signed, and hands out positive ones.
        message.header.index = self.index_of(device).await?.cast_signed();
        message.header.handle = TcHandle {
            major: Pacer::MAJOR,
            minor: 0,
        };
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind(FQ.to_owned()));
        if options {
            message.attributes.push(self::options());
        }
        Ok(message)
    }
}

/// The options of Withy's own `fq`.
fn options() -> TcAttribute {
    let number = |kind, value: u32| DefaultNla::new(kind, value.to_ne_bytes().to_vec());
    let options = [
        number(LIMIT, Pacer::LIMIT),
        number(FLOW_LIMIT, Pacer::FLOW_LIMIT),
        // What is to leave in more than ten seconds leaves then, and is not dropped.
        DefaultNla::new(HORIZON_DROP, vec![0]),
    ];
    TcAttribute::Options(options.into_iter().map(TcOption::Other).collect())
}

/// Reads what is at a root; nothing of what is elsewhere.
fn read(message: &TcMessage) -> Option<RootQueue> {
    if message.header.parent != TcHandle::ROOT {
        return None;
    }
    let (mut kind, mut options) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(name) => kind = Some(name.clone()),
            TcAttribute::Options(found) => options = Some(found),
            _ => {}
        }
    }
    let kind = kind?;
    let limits = options
        .filter(|_| kind == FQ)
        .and_then(|options| limits(options));
    Some(RootQueue {
        index: message.header.index.cast_unsigned(),
        major: message.header.handle.major,
        kind,
        limits,
    })
}

/// Reads the limits of an `fq`: the crate hands out the options of what it does not know as they came.
fn limits(options: &[TcOption]) -> Option<(u32, u32)> {
    let (mut limit, mut flow_limit) = (None, None);
    for option in options {
        let TcOption::Other(options) = option else {
            continue;
        };
        let mut bytes = vec![0; options.value_len()];
        options.emit_value(&mut bytes);
        for option in NlasIterator::new(&bytes[..]).filter_map(Result::ok) {
            let value = option
                .value()
                .first_chunk()
                .copied()
                .map(u32::from_ne_bytes);
            match option.kind() {
                LIMIT => limit = value,
                FLOW_LIMIT => flow_limit = value,
                _ => {}
            }
        }
    }
    Some((limit?, flow_limit?))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable as _, Parseable as _};

    use super::*;

    /// What the kernel would answer.
    fn parsed(kind: &str, handle: u32, parent: TcHandle) -> Option<RootQueue> {
        let mut message = TcMessage::with_index(7);
        message.header.handle = TcHandle::from(handle);
        message.header.parent = parent;
        message.attributes.push(TcAttribute::Kind(kind.to_owned()));
        if kind == FQ {
            message.attributes.push(options());
        }
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        read(&TcMessage::parse(&bytes[..]).unwrap())
    }

    #[test]
    fn roots_are_read_as_they_are_told() {
        let own = parsed("fq", 0x5749_0000, TcHandle::ROOT).unwrap();
        assert_eq!((own.index, own.limits), (7, Some((20_000, 10_000))));
        assert!(own.is_ours() && own.is_as_made());
        let default = parsed("noqueue", 0, TcHandle::ROOT).unwrap();
        assert_eq!((&*default.kind, default.major), ("noqueue", 0));
        assert!(!default.is_ours() && default.limits.is_none());
        assert!(
            !parsed("htb", 0x5749_0000, TcHandle::ROOT)
                .unwrap()
                .is_ours()
        );
        assert!(!parsed("fq", 0x8001_0000, TcHandle::ROOT).unwrap().is_ours());
        // A queue of a card that has several.
        assert_eq!(parsed("fq", 0, TcHandle::from(1)), None);
    }
}
