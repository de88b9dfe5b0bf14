use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::ValueError;

/// The longest name of a gateway, link, bundle or tunnel, in bytes.
const NAME_MAX: usize = 32;

/// The longest interface name in bytes: `IFNAMSIZ` (16) less the terminating zero, as in the
/// kernel's `include/uapi/linux/if.h`.
const INTERFACE_MAX: usize = 15;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $form:literal, $legal:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        // Shared: names are keys, and copied with every keepalive.
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                if $legal(text) {
                    return Ok(Self(text.into()));
                }
                Err(ValueError::Malformed { text: text.to_owned(), what: $what, form: $form })
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Sound for maps: the derived `Eq`, `Ord` and `Hash` are those of the one field.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a gateway: `[a-z0-9][a-z0-9-]*`, at most 32 characters.
    GatewayName,
    "a gateway name",
    "lower-case letters, digits and hyphens, at most 32, not a hyphen first",
    is_name
);
name!(
    /// The name of a link: `[a-z0-9][a-z0-9-]*`, at most 32 characters.
    LinkName,
    "a link name",
    "lower-case letters, digits and hyphens, at most 32, not a hyphen first",
    is_name
);
name!(
    /// The name of a bundle: `[a-z0-9][a-z0-9-]*`, at most 32 characters.
    BundleName,
    "a bundle name",
    "lower-case letters, digits and hyphens, at most 32, not a hyphen first",
    is_name
);
name!(
    /// The name of a tunnel: `[a-z0-9][a-z0-9-]*`, at most 32 characters.
    TunnelName,
    "a tunnel name",
    "lower-case letters, digits and hyphens, at most 32, not a hyphen first",
    is_name
);
name!(
    /// The name of a network interface that Withy may use: what the kernel allows, without the
    /// names that can never carry a link or a LAN (`lo`, and Withy's own `withy0`, `withy1`, …).
    InterfaceName,
    "a network interface that can be used here",
    "the name of an Ethernet interface, at most 15 characters",
    is_interface_name
);

fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= NAME_MAX && !text.starts_with('-') && text.bytes().all(legal)
}

/// Follows `dev_valid_name` of the kernel's `net/core/dev.c`, and allows printable ASCII only.
fn is_interface_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let own = text
        .strip_prefix("withy")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    (1..=INTERFACE_MAX).contains(&text.len())
        && text.bytes().all(legal)
        && !matches!(text, "." | ".." | "lo")
        && !own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_bounded() {
        for legal in ["a", "0", "dsl", "paris-2", &"x".repeat(32)] {
            assert!(legal.parse::<LinkName>().is_ok(), "{legal}");
        }
        for illegal in ["", "-a", "DSL", "a_b", "a.b", "é", "a b", &"x".repeat(33)] {
            assert!(illegal.parse::<LinkName>().is_err(), "{illegal}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for legal in [
            "eth0",
            "enp0s31f6",
            "br-lan",
            "eth0.100",
            "withy",
            "withyx0",
        ] {
            assert!(legal.parse::<InterfaceName>().is_ok(), "{legal}");
        }
        for illegal in [
            "",
            ".",
            "..",
            "a/b",
            "a:1",
            "a b",
            "lo",
            "withy0",
            "sixteen-letters-",
        ] {
            assert!(illegal.parse::<InterfaceName>().is_err(), "{illegal}");
        }
    }
}
