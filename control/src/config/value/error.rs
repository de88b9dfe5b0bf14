use std::fmt::Write as _;

/// Says why a text is not the value that a field needs.
///
/// `Display` tells what is wrong, [`ValueError::help`] what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The text has not the form of this kind of value.
    #[error("{} is not {what}", quote(.text))]
    Malformed {
        /// What stands there.
        text: String,
        /// The kind of value, with its article.
        what: &'static str,
        /// The right form, in words or as an example.
        form: &'static str,
    },
    /// The text is none of the words that a field allows.
    #[error("{} is not {what}", quote(.text))]
    UnknownChoice {
        /// What stands there.
        text: String,
        /// The kind of value, with its article.
        what: &'static str,
        /// The words that are allowed.
        choices: Vec<String>,
    },
    /// A number stands without its unit.
    #[error("{} has no unit", quote(.text))]
    NoUnit {
        /// What stands there.
        text: String,
        /// The units that there are.
        units: &'static str,
    },
    /// The unit is not one of those that the format knows.
    #[error("{} is not a unit of {what}", quote(.unit))]
    UnknownUnit {
        /// The unit that stands there.
        unit: String,
        /// What is measured.
        what: &'static str,
        /// What was probably meant.
        hint: String,
    },
    /// The value is finer than the format's resolution.
    #[error("{} is finer than 1 {resolution}", quote(.text))]
    TooFine {
        /// What stands there.
        text: String,
        /// The smallest unit.
        resolution: &'static str,
    },
    /// The value is of the right form, but too small or too large.
    #[error("{text} is out of range")]
    OutOfRange {
        /// The value, as it stands there.
        text: String,
        /// The smallest legal value.
        low: String,
        /// The largest legal value.
        high: String,
    },
    /// An address that no single host in a network can have.
    #[error("{address} is {kind}")]
    Unusable {
        /// The address or subnet.
        address: String,
        /// Which kind of special address it is, with its article.
        kind: &'static str,
        /// What is wanted instead.
        wanted: &'static str,
    },
    /// A subnet whose address has bits set beyond its prefix.
    #[error("{subnet} has host bits set")]
    HostBits {
        /// The subnet as it stands there.
        subnet: String,
        /// The subnet that it lies in.
        network: String,
    },
}

impl ValueError {
    /// Makes an [`UnknownChoice`](Self::UnknownChoice).
    pub(crate) fn unknown_choice<T: ToString>(
        text: &str,
        what: &'static str,
        choices: &[T],
    ) -> Self {
        let choices = choices.iter().map(ToString::to_string).collect();
        Self::UnknownChoice {
            text: text.to_owned(),
            what,
            choices,
        }
    }

    /// Returns what would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Malformed { form, .. } => format!("write {form}"),
            Self::UnknownChoice { text, choices, .. } => suggest(text, choices),
            Self::NoUnit { units, .. } => format!("add one of the units {units}"),
            Self::UnknownUnit { hint, .. } => hint.clone(),
            Self::TooFine { resolution, .. } => {
                format!("write a whole number of {resolution}")
            }
            Self::OutOfRange { low, high, .. } => format!("write {low} to {high}"),
            Self::Unusable { wanted, .. } => format!("write {wanted}"),
            Self::HostBits { network, .. } => format!("write {network}"),
        }
    }
}

/// Returns the advice for a word that is none of `choices`: the likely one, or all of them if
/// they are few.
pub(crate) fn suggest(text: &str, choices: &[impl AsRef<str>]) -> String {
    const MAX_LISTED: usize = 12;
    if let Some(near) = nearest(text, choices) {
        return format!("did you mean {}?", quote(near));
    }
    let listed: Vec<&str> = choices.iter().take(MAX_LISTED).map(AsRef::as_ref).collect();
    let more = if choices.len() > MAX_LISTED {
        ", …"
    } else {
        ""
    };
    match listed.as_slice() {
        [] => "there is none yet: define it".to_owned(),
        [one] => format!("the only one is {one}"),
        _ => format!("write one of {}{more}", listed.join(", ")),
    }
}

/// Returns the choice that a slip of the keyboard could have turned into `text`.
pub(crate) fn nearest<'a>(text: &str, choices: &'a [impl AsRef<str>]) -> Option<&'a str> {
    /// No name of the format is longer; a longer text is no slip of one.
    const MAX_BYTES: usize = 64;
    if text.len() > MAX_BYTES {
        return None;
    }
    let allowed = text.chars().count().div_ceil(3);
    let distance = |choice: &str| strsim::damerau_levenshtein(&text.to_lowercase(), choice);
    let near = choices
        .iter()
        .map(|choice| (distance(choice.as_ref()), choice.as_ref()));
    let (_, choice) = near
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|near| near.0)?;
    Some(choice)
}

/// Returns `text` fit for a message: between backticks, without control characters (a file must
/// not steer the terminal that shows its errors), and of bounded length.
pub(crate) fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 48;
    let mut quoted = String::from("`");
    for character in text.chars().take(MAX_CHARS) {
        if character == '"' || character == '\'' {
            quoted.push(character);
        } else {
            let _ = write!(quoted, "{}", character.escape_debug());
        }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        quoted.push('…');
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let choices = ["interface", "isp", "rate", "latency"];
        assert_eq!(suggest("interfcae", &choices), "did you mean `interface`?");
        assert_eq!(suggest("ISP", &choices), "did you mean `isp`?");
        let all = "write one of interface, isp, rate, latency";
        assert_eq!(suggest("speed", &choices), all);
        assert_eq!(suggest("", &choices), all);
        assert_eq!(suggest("x", &["dsl"; 0]), "there is none yet: define it");
    }

    #[test]
    fn quoting_disarms_control_characters_and_bounds_length() {
        assert_eq!(quote("dsl"), "`dsl`");
        assert_eq!(quote("a\u{1b}[31m'\n"), "`a\\u{1b}[31m'\\n`");
        assert_eq!(quote(&"x".repeat(1000)), format!("`{}…`", "x".repeat(48)));
    }
}
