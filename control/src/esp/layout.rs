//! Where what is in a packet.

/// The outer IPv4 header, in bytes.
pub(super) const OUTER: usize = 20;
/// SPI and the low half of the sequence number, in bytes.
pub(super) const ESP_HEADER: usize = 8;
/// The initialisation vector of all suites here, in bytes (RFC 4106 section 3.1, RFC 7634 section 2).
pub(super) const IV: usize = 8;
/// The integrity check value of all suites here, in bytes.
pub(super) const ICV: usize = 16;
/// Pad length and next header, in bytes.
pub(super) const TRAILER: usize = 2;
/// What payload, padding and trailer are aligned to, in bytes (RFC 4303 section 2.4).
pub(super) const ALIGNMENT: usize = 4;

/// How much room a packet needs in front of it to be sealed, in bytes.
pub const HEADROOM: usize = OUTER + ESP_HEADER + IV;
/// How much room a packet needs behind it to be sealed, in bytes.
pub const TAILROOM: usize = ALIGNMENT - 1 + TRAILER + ICV;

/// The next header of an IPv4 packet.
pub(super) const NEXT_IPV4: u8 = 4;
/// The next header of an IPv6 packet.
pub(super) const NEXT_IPV6: u8 = 41;
/// The next header of a packet that is there for nothing but its length (RFC 4303 section 2.6).
pub(super) const NEXT_NONE: u8 = 59;

/// What is authenticated beside the ciphertext: SPI and the whole sequence number (RFC 4106 section 5).
pub(super) fn associated(spi: u32, sequence: u64) -> [u8; 12] {
    let mut data = [0; 12];
    data[..4].copy_from_slice(&spi.to_be_bytes());
    data[4..].copy_from_slice(&sequence.to_be_bytes());
    data
}
