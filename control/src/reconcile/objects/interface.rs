use std::fmt;

/// The longest interface name, in bytes: `IFNAMSIZ` less the terminating zero.
const LONGEST: usize = 15;

/// The name of a network interface.
///
/// The rules are those of the kernel's `dev_valid_name`: 1 to 15 bytes, neither `.` nor `..`, no
/// slash, colon or white space. A dot inside is legal (`eth0.100`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// A name that no interface can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} cannot be the name of an interface: 1 to 15 bytes without slash, colon or white space"
)]
pub struct IllegalInterfaceName(pub String);

impl InterfaceName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// The name breaks the kernel's rules.
    pub fn new(name: impl Into<String>) -> Result<Self, IllegalInterfaceName> {
        let name = name.into();
        let legal = (1..=LONGEST).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
        if legal {
            Ok(Self(name))
        } else {
            Err(IllegalInterfaceName(name))
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_rules_hold() {
        for good in ["a", "eth0", "eth0.100", "fifteen-bytes-0"] {
            assert_eq!(
                InterfaceName::new(good).map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\t",
            "a\0",
            "sixteen-bytes-00",
        ] {
            assert_eq!(
                InterfaceName::new(bad),
                Err(IllegalInterfaceName(bad.to_owned()))
            );
        }
    }
}
