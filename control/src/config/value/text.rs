use std::{fmt, str::FromStr};

use serde::Serialize;

use super::ValueError;

/// A line of description for people: 1 to 200 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    const MAX_CHARS: usize = 200;

    /// Returns the line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Text {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let legal = (1..=Self::MAX_CHARS).contains(&text.chars().count())
            && !text.chars().any(char::is_control);
        if legal {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::Malformed {
            text: text.to_owned(),
            what: "a description",
            form: "one line of 1 to 200 printable characters",
        })
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
