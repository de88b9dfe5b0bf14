//! Any bytes as a keepalive.

use std::{net::Ipv4Addr, sync::LazyLock};

use withy::liveness::{KeepaliveKey, Message, Rejected};
use withy_common::keepalive::LEN;

/// The link addresses of the IVC.
const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));

static KEY: LazyLock<KeepaliveKey> = LazyLock::new(|| KeepaliveKey::derive(b"one"));

/// Opens `bytes`, whatever their length, and says what is inside again.
///
/// # Panics
///
/// What is believed is not what was sealed, or is believed on another IVC.
pub fn run(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<LEN>() else {
        return;
    };
    // The length that the message itself tells.
    let length = u32::from(u16::from_be_bytes([bytes[34], bytes[35]]));
    if let Ok(message) = KEY.open(bytes, length, ENDS.0, ENDS.1) {
        assert_eq!(seal(&message), *bytes, "{message:?}");
        let longer = KEY.open(bytes, length + 1, ENDS.0, ENDS.1);
        assert_eq!(longer, Err(Rejected::Forged));
        let elsewhere = KEY.open(bytes, length, ENDS.1, ENDS.0);
        assert_eq!(elsewhere, Err(Rejected::Forged));
    }
}

/// Writes a message that [`run`] believes.
#[must_use]
pub fn seal(message: &Message) -> [u8; LEN] {
    KEY.seal(message, ENDS.0, ENDS.1)
}
