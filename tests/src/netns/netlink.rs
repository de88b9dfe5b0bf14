//! Running rtnetlink requests inside a namespace.

use anyhow::{Context, Result};
use futures::StreamExt;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};
use rtnetlink::Handle;

use super::Netns;

/// `TCA_OPTIONS` (include/uapi/linux/rtnetlink.h).
const TCA_OPTIONS: u16 = 2;

impl Netns {
    /// Opens a netlink socket in the namespace, runs `work` with it and closes it.
    ///
    /// The lab changes devices a few times a second at most, so a runtime for each call costs less
    /// than keeping one alive for each namespace would cost in code.
    pub(crate) fn netlink<T: Send>(
        &self,
        work: impl AsyncFnOnce(Handle) -> Result<T> + Send,
    ) -> Result<T> {
        self.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                let connection = tokio::spawn(connection);
                let result = work(handle).await;
                connection.abort();
                result
            })
        })
    }
}

/// Makes `kind`, with the raw bytes of its `TCA_OPTIONS`, the root qdisc of a device, or changes
/// the options of the one that is there without losing what it holds.
pub(crate) fn set_root_qdisc(
    netns: &Netns,
    device: &str,
    kind: &str,
    options: Vec<u8>,
) -> Result<()> {
    let mut message = TcMessage::with_index(netns.link_index(device)?.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
        .attributes
        .push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    netns
        .netlink(async |mut handle| {
            let mut answers = handle.request(request)?;
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload
                    && error.code.is_some()
                {
                    return Err(error.to_io().into());
                }
            }
            Ok(())
        })
        .with_context(|| format!("cannot set the qdisc {kind} on {device}"))
}

/// Returns whether the kernel has netem, by putting one on the `lo` of a scratch namespace. The
/// kernel loads the module by itself if there is one.
pub(crate) fn has_netem(options: Vec<u8>) -> Result<bool> {
    let scratch = Netns::new("netem-probe")?;
    match set_root_qdisc(&scratch, "lo", "netem", options) {
        Ok(()) => Ok(true),
        Err(error) => match error.root_cause().downcast_ref::<std::io::Error>() {
            Some(cause) if cause.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            _ => Err(error),
        },
    }
}
