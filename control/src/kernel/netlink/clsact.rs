use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};

use super::{Netlink, NetlinkError, gone};

impl Netlink {
    /// Removes the clsact qdisc of an interface; that there is none is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_clsact(&self, index: u32) -> Result<(), NetlinkError> {
        let mut message = TcMessage::default();
        // The kernel takes the index for signed, and hands out positive ones.
        message.header.index = index.cast_signed();
        message.header.handle = TcHandle::from(0xffff_0000);
        message.header.parent = TcHandle::from(0xffff_fff1);
        message
            .attributes
            .push(TcAttribute::Kind("clsact".to_owned()));
        let request = RouteNetlinkMessage::DelQueueDiscipline(message);
        match self
            .execute_route("remove the clsact qdisc", 0, request)
            .await
        {
            // "There is no such qdisc", in the kernel's words.
            Err(error) if error.refused_with(rustix::io::Errno::INVAL) => Ok(()),
            result => gone(result),
        }
    }
}
