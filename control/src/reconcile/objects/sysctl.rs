use std::{fmt, path::PathBuf};

use super::InterfaceName;

/// A setting under `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Which one.
    pub path: SysctlPath,
    /// What it should be.
    pub value: SysctlValue,
}

impl Sysctl {
    /// States an exact value.
    #[must_use]
    pub fn exactly(path: SysctlPath, value: impl fmt::Display) -> Self {
        Self {
            path,
            value: SysctlValue::Exactly(value.to_string()),
        }
    }

    /// States the least value.
    #[must_use]
    pub fn at_least(path: SysctlPath, value: u64) -> Self {
        Self {
            path,
            value: SysctlValue::AtLeast(value),
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sysctl {} {}", self.path, self.value)
    }
}

/// What a setting should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlValue {
    /// This text, white space at its ends aside.
    Exactly(String),
    /// A number that is not smaller: whoever has raised it further is left alone.
    AtLeast(u64),
}

impl SysctlValue {
    /// Whether the value that the kernel reports will do.
    #[must_use]
    pub fn accepts(&self, current: &str) -> bool {
        match self {
            Self::Exactly(value) => value == current.trim(),
            Self::AtLeast(least) => current.trim().parse::<u64>().is_ok_and(|now| now >= *least),
        }
    }

    /// The text to write.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Exactly(value) => value.clone(),
            Self::AtLeast(least) => least.to_string(),
        }
    }
}

impl fmt::Display for SysctlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "= {value}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// The place of a setting below `/proc/sys`, its parts divided by slashes, since the names of
/// interfaces may hold dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlPath(String);

/// A path that does not lead to a network setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a network setting: it must be net/..., without empty parts, . or ..")]
pub struct IllegalSysctlPath(pub String);

impl SysctlPath {
    /// Checks a path such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    ///
    /// The path does not begin with `net/`, or could lead out of `/proc/sys/net`.
    pub fn new(path: impl Into<String>) -> Result<Self, IllegalSysctlPath> {
        let path = path.into();
        let legal = path.starts_with("net/")
            && path
                .split('/')
                .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
        if legal {
            Ok(Self(path))
        } else {
            Err(IllegalSysctlPath(path))
        }
    }

    /// The IPv4 setting of one interface, for example `rp_filter`.
    ///
    /// # Errors
    ///
    /// The setting's name is not one part of a path.
    pub fn ipv4_interface(
        device: &InterfaceName,
        setting: &str,
    ) -> Result<Self, IllegalSysctlPath> {
        Self::new(format!("net/ipv4/conf/{device}/{setting}"))
    }

    /// The IPv6 setting of one interface, for example `disable_ipv6`.
    ///
    /// # Errors
    ///
    /// The setting's name is not one part of a path.
    pub fn ipv6_interface(
        device: &InterfaceName,
        setting: &str,
    ) -> Result<Self, IllegalSysctlPath> {
        Self::new(format!("net/ipv6/conf/{device}/{setting}"))
    }

    /// Whether this is a setting of that interface, so that it comes and goes with it.
    #[must_use]
    pub fn belongs_to(&self, device: &InterfaceName) -> bool {
        let mut parts = self.0.split('/');
        parts.any(|part| part == "conf" || part == "neigh") && parts.next() == Some(device.as_str())
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        PathBuf::from("/proc/sys").join(&self.0)
    }
}

impl TryFrom<String> for SysctlPath {
    type Error = IllegalSysctlPath;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        Self::new(path)
    }
}

impl From<SysctlPath> for String {
    fn from(path: SysctlPath) -> Self {
        path.0
    }
}

impl fmt::Display for SysctlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_settings_have_a_path() {
        for bad in [
            "",
            "net",
            "net/",
            "kernel/hostname",
            "/net/x",
            "net/../kernel/x",
            "net//x",
        ] {
            assert_eq!(SysctlPath::new(bad), Err(IllegalSysctlPath(bad.to_owned())));
        }
    }

    #[test]
    fn a_dot_in_an_interface_name_is_no_divider() {
        let vlan = InterfaceName::new("eth0.100").expect("legal");
        let path = SysctlPath::ipv4_interface(&vlan, "rp_filter").expect("legal");
        assert_eq!(
            path.file(),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.100/rp_filter")
        );
        assert!(path.belongs_to(&vlan));
        assert!(!path.belongs_to(&InterfaceName::new("eth0").expect("legal")));
    }

    #[test]
    fn least_values_accept_larger_ones() {
        let least = SysctlValue::AtLeast(10);
        assert!(least.accepts("10\n") && least.accepts("11"));
        assert!(!least.accepts("9") && !least.accepts("many"));
        assert!(SysctlValue::Exactly("2".into()).accepts("2\n"));
    }
}
