//! A thread's way into the bundle device.

use super::{Latest, repair::Words};
use crate::{
    esp::{HEADROOM, Outbound, Sealer, TAILROOM},
    kernel::esp::EspSender,
    resend::Word,
};

/// The way into the bundle device, also when that becomes another.
pub(super) struct Way {
    /// What leads into the device with this index.
    sender: Option<(u32, EspSender)>,
    word: Box<[u8]>,
}

impl Way {
    pub(super) fn new() -> Self {
        Self {
            sender: None,
            word: vec![0; HEADROOM + Word::LONGEST + TAILROOM].into(),
        }
    }

    /// Sends `count` sealed packets, no more than [`crate::kernel::esp::BATCH`], and tells which ones were refused. Returns how many of
    /// these nobody else has counted.
    pub(super) fn send<'p>(
        &mut self,
        device: u32,
        count: usize,
        packet: impl Fn(usize) -> &'p [u8],
        refused: impl FnMut(usize),
    ) -> u64 {
        if self.sender.as_ref().is_none_or(|(of, _)| *of != device) {
            self.sender = EspSender::open(device).ok().map(|sender| (device, sender));
        }
        let Some((_, sender)) = &mut self.sender else {
            (0..count).for_each(refused);
            return count as u64;
        };
        sender.send(count, packet, refused)
    }

    /// Seals words and sends them. One that does not leave is as good as lost.
    pub(super) fn say(&mut self, device: u32, words: &mut Words, table: &Latest<Outbound>) {
        if words.is_empty() {
            return;
        }
        let table = table.get();
        for (remote, word) in words.iter() {
            let mut bytes = std::mem::take(&mut self.word);
            let sealed = table.towards(remote).and_then(|sa| {
                let length = word.write(&mut bytes[HEADROOM..])?;
                let length = sa.seal_dummy(&mut bytes, length).ok()?;
                Sealer::hasten(&mut bytes);
                Some(length)
            });
            if let Some(length) = sealed {
                self.send(device, 1, |_| &bytes[..length], |_| {});
            }
            self.word = bytes;
        }
        words.clear();
    }
}
