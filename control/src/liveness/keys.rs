//! The keys of a tunnel's keepalives, while its SAs come and go.

use std::{net::Ipv4Addr, sync::Arc};

use withy_common::keepalive::LEN;

use super::{KeepaliveKey, Message, Rejected};

/// The keys of a tunnel's keepalives: of the newest SA to send with, of all SAs to believe, because
/// two gateways do not change theirs at the same moment.
#[derive(Debug)]
pub struct TunnelKeys {
    outbound: Option<Arc<KeepaliveKey>>,
    inbound: Vec<Arc<KeepaliveKey>>,
}

impl TunnelKeys {
    /// Takes the keys of the SAs of both directions, the newest last.
    #[must_use]
    pub fn new(mut outbound: Vec<Arc<KeepaliveKey>>, mut inbound: Vec<Arc<KeepaliveKey>>) -> Self {
        // The newest is the likeliest.
        inbound.reverse();
        Self {
            outbound: outbound.pop(),
            inbound,
        }
    }

    /// Writes a message from one link address to the other, if there is an SA that way.
    #[must_use]
    pub fn seal(
        &self,
        message: &Message,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Option<[u8; LEN]> {
        let key = self.outbound.as_ref()?;
        Some(key.seal(message, source, destination))
    }

    /// Reads a message that came from `source` to `destination` in an IP packet of `length` bytes.
    ///
    /// # Errors
    ///
    /// The message was made with none of the keys, for another IVC, or in a packet of another length.
    pub fn open(
        &self,
        bytes: &[u8; LEN],
        length: u32,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Result<Message, Rejected> {
        self.inbound
            .iter()
            .find_map(|key| key.open(bytes, length, source, destination).ok())
            .ok_or(Rejected::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: (Ipv4Addr, Ipv4Addr) =
        (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));
    fn message() -> Message {
        Message {
            hears: true,
            time: 7,
            length: 100,
            ..Message::default()
        }
    }

    fn keys(outbound: &[&'static [u8]], inbound: &[&'static [u8]]) -> TunnelKeys {
        let derive = |materials: &[&[u8]]| {
            let keys = materials.iter().map(|bytes| KeepaliveKey::derive(bytes));
            keys.map(Arc::new).collect()
        };
        TunnelKeys::new(derive(outbound), derive(inbound))
    }

    #[test]
    fn the_newest_key_sends_and_every_key_is_believed() {
        let both = keys(&[b"old", b"new"], &[]);
        let bytes = both.seal(&message(), ENDS.0, ENDS.1).unwrap();
        let open = |inbound: &[&'static [u8]]| keys(&[], inbound).open(&bytes, 100, ENDS.0, ENDS.1);
        assert_eq!(open(&[b"new"]), Ok(message()));
        assert_eq!(open(&[b"old", b"new"]), Ok(message()));
        assert_eq!(open(&[b"new", b"newer"]), Ok(message()));
        assert_eq!(open(&[b"old"]), Err(Rejected::Forged));
        assert_eq!(open(&[]), Err(Rejected::Forged));
    }

    #[test]
    fn without_an_association_nothing_is_sent() {
        assert_eq!(keys(&[], &[b"one"]).seal(&message(), ENDS.0, ENDS.1), None);
    }
}
