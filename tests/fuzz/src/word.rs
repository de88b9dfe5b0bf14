//! Any bytes as what one ESP engine tells the other of packets.

use withy::resend::{MOST_NUMBERS, MOST_RUNS, Word};

/// Reads `bytes`, and writes what they say again.
///
/// # Panics
///
/// What is written is something else, or it says more than it may.
pub fn run(bytes: &[u8]) {
    let Ok(word) = Word::read(bytes) else { return };
    assert!(word.runs().len() <= MOST_RUNS && word.len() <= MOST_NUMBERS);
    let mut again = Word::new(word.kind(), word.spi());
    for number in word.runs().iter().flat_map(|run| run.numbers()) {
        assert!(again.add(number), "{word:?}");
    }
    assert_eq!(again, word);
    let mut room = [0; Word::LONGEST];
    let length = word.write(&mut room);
    assert_eq!(length.and_then(|length| room.get(..length)), Some(bytes));
}
