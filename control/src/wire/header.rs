//! The bundle header: 16 bytes before each message.
//!
//! ```text
//!  0       4       8       12      16
//!  ├ mark ─┼ id ───┼ type ─┼ length ┤
//! ```
//!
//! All big-endian. The length is that of the message with this header.

/// What marks a valid message: the letters "WTHY".
pub const MARK: u32 = 0x5754_4859;
/// The length of the header in bytes.
pub const HEADER_LEN: usize = 16;
/// The longest message in bytes, header included: 16 KiB.
pub const MAX_LENGTH: u32 = 16 << 10;

/// A bundle header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Ties answers to requests.
    pub(super) id: u32,
    /// The message's type.
    pub(super) number: u32,
    /// The message's length in bytes with this header.
    pub(super) length: u32,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields = [MARK, self.id, self.number, self.length];
        for (field, place) in fields.iter().zip(bytes.chunks_exact_mut(4)) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// Reads a header; none without the mark.
    pub(super) fn from_bytes(bytes: [u8; HEADER_LEN]) -> Option<Self> {
        let [mark, id, number, length] = std::array::from_fn(|field| {
            u32::from_be_bytes(std::array::from_fn(|byte| bytes[4 * field + byte]))
        });
        (mark == MARK).then_some(Self { id, number, length })
    }
}
