//! What one engine tells the other of packets, as bytes.
//!
//! ```text
//!  0        4         5      6       8      12       16       18
//!  ├ "wity" ┼ version ┼ kind ┼ count ┼ SPI ─┼ first ─┼ length ┼ first …
//! ```
//!
//! `kind` is 1 for [`Kind::Wanted`], 2 for [`Kind::Gone`], and 16 more than the lane for [`Kind::Apart`].
//!
//! All big-endian. It is the payload of an ESP packet whose next header says that there is none (RFC 4303 section 2.6), which every other
//! implementation discards. `count` runs follow, each of `length` numbers from `first` on: the lower halves of the sequence numbers of
//! packets of the SA with this SPI. Runs are in the order of their numbers and do not overlap.

/// How many runs a word has at most.
pub const MOST_RUNS: usize = 64;
/// How many numbers it has at most.
pub const MOST_NUMBERS: usize = 1_024;

const MAGIC: [u8; 4] = *b"wity";
const VERSION: u8 = 1;
const HEADER: usize = 12;
/// The kind of what goes apart by the first lane.
const APART: u8 = 16;
/// How many lanes there are.
pub const LANES: u8 = 16;
const RUN: usize = 6;

/// What a word says of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whoever receives by the SA misses them.
    Wanted,
    /// Whoever sends by the SA will not send them.
    Gone,
    /// Whoever sends by the SA has sent them by another way, so that they come later, and nobody is to wait for them. What goes by one lane comes
    /// in the order of its numbers; lanes are numbered from 0, below [`LANES`].
    Apart(u8),
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Wanted => 1,
            Self::Gone => 2,
            Self::Apart(lane) => APART + lane % LANES,
        }
    }

    fn read(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Wanted),
            2 => Some(Self::Gone),
            _ => {
                let lane = code.checked_sub(APART).filter(|lane| *lane < LANES);
                lane.map(Self::Apart)
            }
        }
    }
}

/// Numbers that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u32,
    /// How many they are; at least 1.
    pub count: u16,
}

impl Run {
    /// All of them.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u32::from(self.count)).map(move |step| self.first.wrapping_add(step))
    }

    /// The number that follows.
    fn end(self) -> u32 {
        self.first.wrapping_add(self.count.into())
    }
}

/// Something said of packets of an SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    kind: Kind,
    spi: u32,
    runs: Vec<Run>,
}

/// Why bytes are no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are something else: whoever hides how much traffic there is fills packets with anything.
    #[error("no word of an engine's")]
    Other,
    /// They are of another version.
    #[error("version {0}")]
    Version(u8),
    /// They are not as long as they say, or say too much.
    #[error("a wrong length")]
    Length,
    /// The numbers are not in order.
    #[error("numbers that are not in order")]
    Order,
}

impl Word {
    /// How long a word may be, in bytes.
    pub const LONGEST: usize = HEADER + MOST_RUNS * RUN;

    /// Begins a word about packets of the SA with this SPI.
    #[must_use]
    pub const fn new(kind: Kind, spi: u32) -> Self {
        let runs = Vec::new();
        Self { kind, spi, runs }
    }

    /// What it says.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Of which SA.
    #[must_use]
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// Of which packets.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Adds a number that is higher than those before; returns whether there was room.
    pub fn add(&mut self, number: u32) -> bool {
        if self.len() >= MOST_NUMBERS {
            return false;
        }
        if let Some(last) = self.runs.last_mut() {
            if last.end() == number {
                last.count += 1;
                return true;
            }
            if !follows(*last, number) || self.runs.len() >= MOST_RUNS {
                return false;
            }
        }
        self.runs.push(Run {
            first: number,
            count: 1,
        });
        true
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| usize::from(run.count)).sum()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes it; returns how many bytes it takes, nothing if there is no room.
    pub fn write(&self, room: &mut [u8]) -> Option<usize> {
        let length = HEADER + self.runs.len() * RUN;
        let (header, rest) = room.get_mut(..length)?.split_at_mut(HEADER);
        header[..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&[VERSION, self.kind.code()]);
        let count = u16::try_from(self.runs.len()).ok()?;
        header[6..8].copy_from_slice(&count.to_be_bytes());
        header[8..].copy_from_slice(&self.spi.to_be_bytes());
        for (bytes, run) in rest.chunks_exact_mut(RUN).zip(&self.runs) {
            bytes[..4].copy_from_slice(&run.first.to_be_bytes());
            bytes[4..].copy_from_slice(&run.count.to_be_bytes());
        }
        Some(length)
    }

    /// Reads one that takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .filter(|(header, _)| header[..4] == MAGIC)
            .ok_or(Malformed::Other)?;
        let [.., version, kind, high, low, a, b, c, d] = *header;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let kind = Kind::read(kind).ok_or(Malformed::Other)?;
        let count = usize::from(u16::from_be_bytes([high, low]));
        if count > MOST_RUNS || rest.len() != count * RUN {
            return Err(Malformed::Length);
        }
        let mut word = Self::new(kind, u32::from_be_bytes([a, b, c, d]));
        for bytes in rest.chunks_exact(RUN) {
            word.append(Run {
                first: u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                count: u16::from_be_bytes([bytes[4], bytes[5]]),
            })?;
        }
        Ok(word)
    }

    fn append(&mut self, run: Run) -> Result<(), Malformed> {
        let last = self.runs.last();
        if run.count == 0 || last.is_some_and(|last| !follows(*last, run.first)) {
            return Err(Malformed::Order);
        }
        self.runs.push(run);
        if self.len() > MOST_NUMBERS {
            return Err(Malformed::Length);
        }
        Ok(())
    }
}

/// Whether a number is behind a run; the next one would be part of it.
fn follows(run: Run, number: u32) -> bool {
    let ahead = number.wrapping_sub(run.end());
    ahead > 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn word()(
            kind in prop_oneof![Just(Kind::Wanted), Just(Kind::Gone), (0..LANES).prop_map(Kind::Apart)],
            spi: u32, first: u32, steps in prop::collection::vec(prop_oneof![Just(1_u32), 1_u32..1_000], 0..1_500),
        ) -> (Word, Vec<u32>) {
            let mut word = Word::new(kind, spi);
            let mut number = first;
            let mut numbers = Vec::new();
            for step in steps {
                number = number.wrapping_add(step);
                if !word.add(number) {
                    break;
                }
                numbers.push(number);
            }
            (word, numbers)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((word, numbers) in word(), cut in 1_usize..600, more in 1_usize..9) {
            let mut bytes = [0; Word::LONGEST + 9];
            let length = word.write(&mut bytes).unwrap();
            prop_assert!(length <= Word::LONGEST);
            prop_assert_eq!(Word::read(&bytes[..length]), Ok(word.clone()));
            let said: Vec<_> = word.runs().iter().flat_map(|run| run.numbers()).collect();
            prop_assert_eq!(word.len(), said.len());
            prop_assert_eq!(said, numbers);
            prop_assert!(Word::read(&bytes[..length.saturating_sub(cut)]).is_err());
            prop_assert!(Word::read(&bytes[..length + more]).is_err());
            prop_assert_eq!(word.write(&mut bytes[..length - 1]), None);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), genuine: bool) {
            let mut bytes = bytes;
            if genuine && bytes.len() >= 6 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[4..6].copy_from_slice(&[VERSION, 1]);
            }
            if let Ok(word) = Word::read(&bytes) {
                let mut room = [0; Word::LONGEST];
                let length = word.write(&mut room).unwrap();
                prop_assert_eq!(&room[..length], &bytes[..]);
            }
        }
    }

    #[test]
    fn what_says_too_much_or_in_disorder_is_refused() {
        let runs = |runs: &[(u32, u16)]| {
            let count = u16::try_from(runs.len()).unwrap();
            let mut bytes = [&MAGIC[..], &[VERSION, 1], &count.to_be_bytes(), &[0; 4]].concat();
            for (first, count) in runs {
                bytes.extend(first.to_be_bytes());
                bytes.extend(count.to_be_bytes());
            }
            Word::read(&bytes).map(|word| word.len())
        };
        assert_eq!(runs(&[(7, 2), (10, 1)]), Ok(3));
        assert_eq!(runs(&[(u32::MAX, 2), (2, 1)]), Ok(3), "halves go round");
        assert_eq!(runs(&[(7, 0)]), Err(Malformed::Order));
        assert_eq!(runs(&[(7, 2), (8, 1)]), Err(Malformed::Order));
        assert_eq!(runs(&[(7, 2), (9, 1)]), Err(Malformed::Order));
        assert_eq!(runs(&[(7, 2), (3, 1)]), Err(Malformed::Order));
        assert_eq!(runs(&[(7, 1_025)]), Err(Malformed::Length));
        let many: Vec<_> = (0..65).map(|number| (number * 2, 1)).collect();
        assert_eq!(runs(&many[..64]), Ok(64));
        assert_eq!(runs(&many), Err(Malformed::Length));
        assert_eq!(
            Word::read(b"wity\x02\x01\0\0\0\0\0\0"),
            Err(Malformed::Version(2))
        );
    }
}
