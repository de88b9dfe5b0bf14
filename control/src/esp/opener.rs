//! Inbound SAs.

use std::{
    net::Ipv4Addr,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Tally, Traffic, Window,
    cipher::{Cipher, Unusable},
    ecn,
    inner::{self, Inner},
    layout::{
        ALIGNMENT, ESP_HEADER, ICV, IV, NEXT_IPV4, NEXT_IPV6, NEXT_NONE, OUTER, TRAILER, associated,
    },
    refused::Refused,
};
use crate::reconcile::objects::{EspKey, Spi};

/// An inbound SA: it takes ESP packets between tunnel endpoints apart, for several threads at once.
#[derive(Debug)]
pub struct Opener {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    spi: u32,
    cipher: Cipher,
    window: Mutex<Window>,
    tally: Tally,
}

impl Opener {
    /// Makes an SA from endpoint `source` to endpoint `destination` with an anti-replay window of `window` packets.
    ///
    /// # Errors
    ///
    /// The engine does not have the key's suite.
    pub fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        spi: Spi,
        key: &EspKey,
        window: u32,
    ) -> Result<Self, Unusable> {
        Ok(Self {
            source,
            destination,
            spi: spi.get(),
            cipher: Cipher::new(key)?,
            window: Mutex::new(Window::new(window)),
            tally: Tally::default(),
        })
    }

    /// Takes every packet up to a sequence number for one that has come.
    pub fn resume(&self, last: u64) {
        self.window().resume(last);
    }

    /// What was opened.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.tally.read()
    }

    /// Returns the SPI of a packet that begins with an IPv4 header, if it is long enough to have one.
    #[must_use]
    pub fn spi_of(packet: &[u8]) -> Option<u32> {
        let esp = packet.get(outer_len(packet)?..)?;
        Some(u32::from_be_bytes(*esp.first_chunk()?))
    }

    /// Opens an ESP packet in place, outer IPv4 header included and whole: fragments are put together before. Returns where the packet
    /// lies that was inside.
    ///
    /// # Errors
    ///
    /// Says why it is not believed. What is in `packet` then is of no use.
    pub fn open(&self, packet: &mut [u8]) -> Result<Range<usize>, Refused> {
        match self.open_any(packet)?.content {
            Content::Packet(range) => Ok(range),
            Content::Dummy(_) => Err(Refused::Dummy),
        }
    }

    /// Does the same also with packets whose next header says that there is none (RFC 4303 section 2.6).
    ///
    /// # Errors
    ///
    /// As above.
    pub fn open_any(&self, packet: &mut [u8]) -> Result<Contained, Refused> {
        let outer = self.outer(packet)?;
        let (number, text) = self.authenticate(&mut packet[outer..])?;
        self.accept(number)?;
        let text = outer + text.start..outer + text.end;
        let inside = take_trailer(&packet[text.clone()])?;
        if inside.next_header == NEXT_NONE {
            self.tally.add(inside.length);
            let content = Content::Dummy(text.start..text.start + inside.length);
            return Ok(Contained { number, content });
        }
        let inner = Inner::read(&packet[text.start..text.start + inside.length])?;
        if inner.next_header != inside.next_header {
            return Err(Refused::NextHeader);
        }
        // What is behind the packet is padding that hides its length (RFC 4303 section 2.7).
        let range = text.start..text.start + inner.length;
        let class = ecn::decapsulate(packet[1], inner.traffic_class)?;
        if class != inner.traffic_class {
            inner::set_traffic_class(&mut packet[range.clone()], class);
        }
        self.tally.add(inner.length);
        let content = Content::Packet(range);
        Ok(Contained { number, content })
    }

    /// Checks the outer header, and returns its length in bytes.
    fn outer(&self, packet: &[u8]) -> Result<usize, Refused> {
        let outer = outer_len(packet).ok_or(Refused::Length)?;
        let (source, destination) = packet[12..OUTER].split_at(4);
        if source != self.source.octets() || destination != self.destination.octets() {
            return Err(Refused::UnknownSpi);
        }
        Ok(outer)
    }

    /// Decrypts what begins with SPI and sequence number. Returns that number, and where payload, padding and trailer lie.
    fn authenticate(&self, esp: &mut [u8]) -> Result<(u64, Range<usize>), Refused> {
        const BEFORE: usize = ESP_HEADER + IV;
        let text = esp.len().checked_sub(BEFORE + ICV).ok_or(Refused::Length)?;
        if text < ALIGNMENT || text % ALIGNMENT != 0 {
            return Err(Refused::Length);
        }
        let (before, sealed) = esp.split_at_mut(BEFORE);
        let word =
            |at| u32::from_be_bytes([before[at], before[at + 1], before[at + 2], before[at + 3]]);
        if word(0) != self.spi {
            return Err(Refused::UnknownSpi);
        }
        let number = self.expect(word(4))?;
        let mut iv = [0; IV];
        iv.copy_from_slice(&before[ESP_HEADER..]);
        self.cipher
            .open(iv, &associated(self.spi, number), sealed)?;
        Ok((number, BEFORE..BEFORE + text))
    }
}

impl Opener {
    fn window(&self) -> MutexGuard<'_, Window> {
        // The window is whole between any two of its calls.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the whole sequence number of a packet that may well be new, before the work of decrypting it.
    fn expect(&self, low: u32) -> Result<u64, Refused> {
        let window = self.window();
        let number = window.infer(low)?;
        window.check(number).map(|()| number)
    }

    /// Moves the window, which only what is authentic may do (RFC 4303 section 3.4.3). While it was decrypted another thread may
    /// have had the same packet.
    fn accept(&self, number: u64) -> Result<(), Refused> {
        let mut window = self.window();
        window.check(number)?;
        window.mark(number);
        Ok(())
    }
}

/// What an ESP packet has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// Its sequence number, in full.
    pub number: u64,
    /// What was inside.
    pub content: Content,
}

/// What was inside an ESP packet, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A packet.
    Packet(Range<usize>),
    /// Nothing that goes anywhere.
    Dummy(Range<usize>),
}

/// What the trailer says.
struct Inside {
    /// The payload's length in bytes.
    length: usize,
    next_header: u8,
}

/// Reads the trailer at the end of what was decrypted, and checks the padding before it.
fn take_trailer(text: &[u8]) -> Result<Inside, Refused> {
    let (rest, &[padding, next_header]) =
        text.split_last_chunk::<TRAILER>().ok_or(Refused::Length)?;
    let length = rest
        .len()
        .checked_sub(padding.into())
        .ok_or(Refused::Padding)?;
    // RFC 4303 section 2.4: a receiver should inspect it.
    if (1_u8..)
        .zip(&rest[length..])
        .any(|(number, byte)| number != *byte)
    {
        return Err(Refused::Padding);
    }
    match next_header {
        NEXT_IPV4 | NEXT_IPV6 | NEXT_NONE => Ok(Inside {
            length,
            next_header,
        }),
        _ => Err(Refused::NextHeader),
    }
}

/// Returns the length in bytes of the IPv4 header, if there is one.
fn outer_len(packet: &[u8]) -> Option<usize> {
    let length = usize::from(packet.first()? & 0xf) * 4;
    let whole = packet[0] >> 4 == 4 && length >= OUTER && packet.len() >= length;
    whole.then_some(length)
}
