//! Outbound SAs.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use withy_common::{
    checksum, header,
    label::{HASTE, Label},
};

use super::{
    Tally, Traffic,
    cipher::{Cipher, Unusable},
    ecn,
    inner::Inner,
    layout::{ALIGNMENT, ESP_HEADER, HEADROOM, ICV, IV, NEXT_NONE, OUTER, TRAILER, associated},
    refused::Refused,
};
use crate::reconcile::objects::{EspKey, Spi};

/// The time to live of outer headers, as the kernel's.
const TTL: u8 = 64;

/// An outbound SA: it makes ESP packets between tunnel endpoints, for several threads at once.
#[derive(Debug)]
pub struct Sealer {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    spi: u32,
    cipher: Cipher,
    /// What makes an initialisation vector of a sequence number. Drawn at random, so that an SA that is made a second time with the
    /// same key, as manual ones are, begins elsewhere.
    mask: u64,
    /// The last sequence number that was used.
    sequence: AtomicU64,
    tally: Tally,
}

impl Sealer {
    /// Makes an SA from endpoint `source` to endpoint `destination`.
    ///
    /// # Errors
    ///
    /// The engine does not have the key's suite.
    pub fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        spi: Spi,
        key: &EspKey,
    ) -> Result<Self, Unusable> {
        let mut mask = [0; IV];
        aws_lc_rs::rand::fill(&mut mask).map_err(|_| Unusable::Random)?;
        Ok(Self {
            source,
            destination,
            spi: spi.get(),
            cipher: Cipher::new(key)?,
            mask: u64::from_be_bytes(mask),
            sequence: AtomicU64::new(0),
            tally: Tally::default(),
        })
    }

    /// Goes on behind a sequence number; never backwards.
    pub fn resume(&self, last: u64) {
        self.sequence.fetch_max(last, Relaxed);
    }

    /// What was sealed.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.tally.read()
    }

    /// The SPI.
    #[must_use]
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// The remote endpoint.
    #[must_use]
    pub const fn remote(&self) -> Ipv4Addr {
        self.destination
    }

    /// The last sequence number that was used; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Relaxed)
    }

    /// Makes an ESP packet, outer IPv4 header included, of the `length` bytes that lie [`HEADROOM`] bytes behind the buffer's
    /// beginning, with [`super::TAILROOM`] bytes behind them. Returns its length; it begins with the buffer.
    ///
    /// The outer header has no DF bit and no identification: the programs fill that in.
    ///
    /// # Errors
    ///
    /// It is no IP packet, or too long, or the SA has no sequence number left. None was used then.
    pub fn seal(&self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let packet = buffer.get(HEADROOM..HEADROOM + length);
        let inner = Inner::read(packet.ok_or(Refused::Oversized)?)?;
        self.seal_inner(buffer, inner)
    }

    /// Does the same with what is no packet: every implementation but Withy's own discards it (RFC 4303 section 2.6).
    ///
    /// # Errors
    ///
    /// As above.
    pub fn seal_dummy(&self, buffer: &mut [u8], length: usize) -> Result<usize, Refused> {
        let inner = Inner {
            next_header: NEXT_NONE,
            length,
            traffic_class: 0,
        };
        self.seal_inner(buffer, inner)
    }

    fn seal_inner(&self, buffer: &mut [u8], inner: Inner) -> Result<usize, Refused> {
        let end = HEADROOM + (inner.length + TRAILER).next_multiple_of(ALIGNMENT);
        let total = u16::try_from(end + ICV).map_err(|_| Refused::Oversized)?;
        if buffer.len() < usize::from(total) {
            return Err(Refused::Oversized);
        }
        // From here on the number is used, whatever happens: RFC 4303 section 3.3.3.
        let sequence = self.take_number()?;

        self.write_headers(buffer, total, sequence, inner.traffic_class);
        let iv = (sequence ^ self.mask).to_be_bytes();
        buffer[OUTER + ESP_HEADER..HEADROOM].copy_from_slice(&iv);
        write_trailer(&mut buffer[HEADROOM + inner.length..end], inner.next_header);
        let icv = self.cipher.seal(
            iv,
            &associated(self.spi, sequence),
            &mut buffer[HEADROOM..end],
        )?;
        buffer[end..end + ICV].copy_from_slice(&icv);
        self.tally.add(inner.length);
        Ok(usize::from(total))
    }

    /// Leaves word in a sealed packet what it is taken for, for the programs.
    pub fn label(packet: &mut [u8], label: Label) {
        identify(packet, label.identification());
    }

    /// Leaves word there that it must not be late.
    pub fn hasten(packet: &mut [u8]) {
        identify(packet, HASTE);
    }

    /// Takes the next sequence number, which no other packet of the SA has or will have.
    fn take_number(&self) -> Result<u64, Refused> {
        let taken = self
            .sequence
            .fetch_update(Relaxed, Relaxed, |last| last.checked_add(1));
        taken.map(|last| last + 1).map_err(|_| Refused::Exhausted)
    }

    fn write_headers(&self, buffer: &mut [u8], total: u16, sequence: u64, traffic_class: u8) {
        let [high, low] = total.to_be_bytes();
        let class = ecn::encapsulate(traffic_class);
        buffer[..12].copy_from_slice(&[0x45, class, high, low, 0, 0, 0, 0, TTL, header::ESP, 0, 0]);
        buffer[12..16].copy_from_slice(&self.source.octets());
        buffer[16..OUTER].copy_from_slice(&self.destination.octets());
        let checksum = !checksum::fold(checksum::sum_bytes(&buffer[..OUTER]));
        buffer[10..12].copy_from_slice(&checksum.to_ne_bytes());
        buffer[OUTER..OUTER + 4].copy_from_slice(&self.spi.to_be_bytes());
        // The low half of the number travels (RFC 4303 section 2.2.1).
        buffer[OUTER + 4..OUTER + ESP_HEADER].copy_from_slice(&sequence.to_be_bytes()[4..]);
    }
}

/// Replaces the identification of an IPv4 header.
fn identify(packet: &mut [u8], identification: u16) {
    let word = identification.to_be_bytes();
    let before = [packet[4], packet[5]];
    if word == before {
        return;
    }
    let mut change = checksum::Change::of(u16::from_ne_bytes([packet[10], packet[11]]));
    change.replace(u16::from_ne_bytes(before), u16::from_ne_bytes(word));
    packet[4..6].copy_from_slice(&word);
    packet[10..12].copy_from_slice(&change.checksum().to_ne_bytes());
}

/// Padding of 1, 2, 3, …, its length, and what is inside (RFC 4303 section 2.4).
fn write_trailer(trailer: &mut [u8], next_header: u8) {
    let end = trailer.len() - TRAILER;
    let (padding, fields) = trailer.split_at_mut(end);
    let mut count = 0;
    for byte in padding {
        count += 1;
        *byte = count;
    }
    fields.copy_from_slice(&[count, next_header]);
}
