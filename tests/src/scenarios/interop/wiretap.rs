//! ESP packets on their way, piece by piece, and what can be sent in their place.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    capture::{Capture, CapturePlan, Frame, ethernet, inject},
    lab::Site,
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const ESP: u8 = 50;
/// The bits of a fragment's offset.
const OFFSET: u16 = 0x1fff;
/// More frames than any scene here has on one link.
const FRAMES: usize = 10_000;

/// Captures on all links of a site, of what its gateway sends.
pub(super) struct Wiretap(Vec<Capture>);

/// An ESP packet: its pieces in order, each with the number of the link that it came by.
#[derive(Clone, Debug)]
pub(super) struct Packet(Vec<(usize, Vec<u8>)>);

impl Wiretap {
    pub(super) fn start(site: &Site) -> Result<Self> {
        let captures = site.links().iter().map(|link| {
            let (netns, device) = link.provider();
            CapturePlan::new().keep(FRAMES).start(netns, device)
        });
        Ok(Self(captures.collect::<Result<_>>()?))
    }

    /// Returns the packets of an SA, in the order in which they were sent.
    pub(super) fn finish(self, spi: u32) -> Result<Vec<Packet>> {
        // The pieces of a packet have one identification: the number that the SVC has given it.
        let mut packets: BTreeMap<u16, BTreeMap<u16, (usize, Vec<u8>)>> = BTreeMap::new();
        for (link, capture) in self.0.into_iter().enumerate() {
            let sent = capture.finish()?.kept.into_iter();
            for Frame { bytes, .. } in sent.filter(|frame| !frame.outgoing) {
                let Some((identification, offset)) = piece(&bytes, spi) else {
                    continue;
                };
                let pieces = packets.entry(identification).or_default();
                pieces.insert(offset, (link, bytes[ETHERNET..].to_vec()));
            }
        }
        let packets = packets.into_values();
        Ok(packets
            .map(|pieces| Packet(pieces.into_values().collect()))
            .collect())
    }
}

/// Identification and fragment offset of an ESP packet's piece; none if the frame is something else.
fn piece(frame: &[u8], spi: u32) -> Option<(u16, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    if word(12)? != 0x0800 || *frame.get(ETHERNET + 9)? != ESP {
        return None;
    }
    let offset = word(ETHERNET + 6)? & OFFSET;
    let first = frame.get(ETHERNET + IPV4..ETHERNET + IPV4 + 4)?;
    (offset > 0 || first == spi.to_be_bytes()).then_some((word(ETHERNET + 4)?, offset))
}

impl Packet {
    /// How many pieces it has.
    pub(super) fn pieces(&self) -> usize {
        self.0.len()
    }

    /// The same in as many pieces, with another content: from the SPI to the check value.
    pub(super) fn altered(&self, change: impl FnOnce(&mut [u8])) -> Self {
        let esp = |piece: &[u8]| piece[IPV4..].to_vec();
        let mut content: Vec<u8> = self.0.iter().flat_map(|(_, piece)| esp(piece)).collect();
        change(&mut content);
        let mut rest = content.as_slice();
        let mut altered = self.clone();
        for (_, piece) in &mut altered.0 {
            let (part, behind) = rest.split_at(piece.len() - IPV4);
            piece[IPV4..].copy_from_slice(part);
            rest = behind;
        }
        altered
    }

    /// Lets a site have it, each piece from the far end of the link that it was to come by.
    pub(super) fn send(&self, to: &Site) -> Result<()> {
        for (link, piece) in &self.0 {
            let link = &to.links()[*link];
            let (gateway, provider) = link.macs();
            let (netns, device) = link.provider();
            inject(
                netns,
                device,
                [ethernet(provider, gateway, piece).as_slice()],
            )?;
        }
        Ok(())
    }
}
