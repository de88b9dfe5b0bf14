//! Texts that others wrote, on this gateway's terminals.

/// Returns `text` with what could steer the terminal that shows it escaped: control characters, and those that turn the
/// direction of what follows.
pub(crate) fn disarm(text: String) -> String {
    if !text.contains(steers) {
        return text;
    }
    let mut disarmed = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            disarmed.extend(character.escape_debug());
        } else if steers(character) {
            disarmed.extend(character.escape_unicode());
        } else {
            disarmed.push(character);
        }
    }
    disarmed
}

fn steers(character: char) -> bool {
    character.is_ascii_control() || steers_beyond_ascii(character)
}

/// Whether a character beyond ASCII steers a terminal: some take U+009B for the beginning of an escape sequence, and those of
/// Unicode's bidirectional algorithm make a line look like another.
pub(crate) fn steers_beyond_ascii(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped() {
        for plain in ["", "dsl", "Straße 5 → 日本"] {
            assert_eq!(disarm(plain.to_owned()), plain);
        }
        let armed = "a\u{1b}[31m\n\u{9b}2J\u{202e}b\u{7f}".to_owned();
        assert_eq!(disarm(armed), "a\\u{1b}[31m\\n\\u{9b}2J\\u{202e}b\\u{7f}");
    }
}
