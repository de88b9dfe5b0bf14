//! Which distribution this is.

/// A distribution, as far as the set-up treats it differently.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Distro {
    /// Debian or a relative: packages come by apt.
    Debian,
    /// Anything else, by name: the set-up names what is missing.
    Other(String),
}

impl Distro {
    /// Reads `/etc/os-release`.
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(os_release: &str) -> Self {
        let value = |key: &str| {
            let mut lines = os_release.lines().filter_map(|line| line.split_once('='));
            lines
                .find(|(name, _)| *name == key)
                .map_or("", |(_, value)| value.trim_matches(['"', '\'']))
        };
        let relatives = value("ID_LIKE").split_whitespace();
        if relatives.chain([value("ID")]).any(|id| id == "debian") {
            return Self::Debian;
        }
        let name = [value("PRETTY_NAME"), value("ID"), "this system"];
        Self::Other(
            name.into_iter()
                .find(|name| !name.is_empty())
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_relatives_are_recognised() {
        assert_eq!(
            Distro::parse("PRETTY_NAME=\"Debian 12\"\nID=debian\n"),
            Distro::Debian
        );
        assert_eq!(
            Distro::parse("ID=mint\nID_LIKE=\"ubuntu debian\"\n"),
            Distro::Debian
        );
    }

    #[test]
    fn others_are_named() {
        let fedora = "NAME=Fedora\nID=fedora\nPRETTY_NAME='Fedora Linux 42'\n";
        assert_eq!(
            Distro::parse(fedora),
            Distro::Other("Fedora Linux 42".into())
        );
        assert_eq!(Distro::parse("ID=arch"), Distro::Other("arch".into()));
        assert_eq!(Distro::parse(""), Distro::Other("this system".into()));
    }
}
