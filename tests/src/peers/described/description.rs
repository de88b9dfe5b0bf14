//! What a description says, as `tests/peers/README.md` documents it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::fill::{self, Scope};

/// Largest MTU of a tunnel's device, in bytes.
const LARGEST_MTU: u32 = 65_535;

/// Nothing puts more around a packet, in bytes.
const LARGEST_OVERHEAD: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// By what figures call it.
    pub(super) name: String,
    /// What it is, for people.
    pub(super) about: String,
    /// The programs that it takes; without them it is skipped.
    pub(super) needs: Vec<String>,
    /// A line for the shell that fails where something else is missing; then it is skipped, too.
    pub(super) probe: Option<String>,
    /// The device that it makes at both sites.
    pub(super) device: String,
    /// What the device carries, in bytes.
    #[serde(default = "usual_mtu")]
    pub(super) mtu: u32,
    /// What it adds to each packet, the outer IP header included, in bytes.
    #[serde(default)]
    pub(super) overhead: u32,
    /// Whether it gives its device addresses and sets it up.
    #[serde(default)]
    pub(super) configures_itself: bool,
    /// How it shows that it is up.
    #[serde(default)]
    pub(super) up: Sign,
    pub(super) sides: Sides,
}

/// How a system shows that it is up. A ping must get from host to host in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sign {
    /// By that ping.
    #[default]
    Ping,
    /// By what it prints first.
    Log(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sides {
    pub(super) a: Side,
    pub(super) b: Side,
}

/// What happens in the gateway of one site, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Side {
    /// Lines for the shell that are run to their ends, at both sites before anything below.
    #[serde(default)]
    pub(super) prepare: Vec<String>,
    /// Files to write into the side's folder.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// What `%{links}` in a file becomes: this text, once for each link.
    pub(super) each_link: Option<String>,
    /// The line for the shell that starts it, in the foreground.
    pub(super) start: String,
}

const fn usual_mtu() -> u32 {
    1400
}

impl Description {
    /// Reads a description. Errors name the field.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let description: Self = serde_yaml::from_str(text)?;
        let Self {
            name,
            device,
            mtu,
            overhead,
            ..
        } = &description;
        let word = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !text.is_empty() && text.chars().all(fits)
        };
        ensure!(
            word(name),
            "name: {name:?} is not made of letters, digits and hyphens"
        );
        ensure!(
            word(device) && device.len() <= 15,
            "device: {device:?} is no name of an interface"
        );
        ensure!(
            (576..=LARGEST_MTU).contains(mtu),
            "mtu: {mtu} is not 576 to {LARGEST_MTU}"
        );
        ensure!(
            *overhead <= LARGEST_OVERHEAD,
            "overhead: {overhead} is more than {LARGEST_OVERHEAD}"
        );
        for (at, side) in [("a", &description.sides.a), ("b", &description.sides.b)] {
            side.check().with_context(|| format!("sides.{at}"))?;
        }
        Ok(description)
    }
}

impl Side {
    fn check(&self) -> Result<()> {
        for line in &self.prepare {
            fill::check(line, Scope::Line).context("prepare")?;
        }
        for (name, text) in &self.files {
            let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
            ensure!(
                plain,
                "files: {name:?} is no name of a file in the side's folder"
            );
            fill::check(text, Scope::File).with_context(|| format!("files: {name}"))?;
        }
        if let Some(text) = &self.each_link {
            fill::check(text, Scope::Link).context("each_link")?;
        }
        ensure!(
            !self.start.trim().is_empty(),
            "start: there is nothing to start"
        );
        fill::check(&self.start, Scope::Line).context("start")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "
name: fine
about: a fine one
needs: [sh]
device: tun0
sides:
  a:
    start: run %{address}
    files: {conf: '%{links}'}
    each_link: 'to %{peer_address}'
  b: {start: 'run %{peer_address}'}
";

    /// What is said of a description in which one text is replaced.
    fn problem(from: &str, to: &str) -> String {
        assert!(FINE.contains(from), "{from}");
        format!(
            "{:#}",
            Description::parse(&FINE.replace(from, to)).unwrap_err()
        )
    }

    #[test]
    fn what_is_left_out_is_usual() {
        let fine = Description::parse(FINE).unwrap();
        assert_eq!(
            (fine.mtu, fine.overhead, fine.up, fine.configures_itself),
            (1400, 0, Sign::Ping, false)
        );
        let other =
            format!("{FINE}mtu: 1300\noverhead: 52\nup: !log ready\nconfigures_itself: true\n");
        let other = Description::parse(&other).unwrap();
        assert_eq!(other.overhead, 52);
        assert_eq!((other.mtu, other.up), (1300, Sign::Log("ready".into())));
        assert!(other.configures_itself);
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            ("name: fine", "name: not fine", "name: \"not fine\""),
            ("device: tun0", "device: tun0-is-too-long", "device: "),
            ("device: tun0", "device: tun0\nmtu: 100", "mtu: 100 is not"),
            (
                "device: tun0",
                "device: tun0\noverhead: 1001",
                "overhead: 1001 is more",
            ),
            ("needs: [sh]", "", "missing field `needs`"),
            ("needs: [sh]", "needs: 5", "needs: invalid type"),
            (
                "{start: 'run %{peer_address}'}",
                "{}",
                "missing field `start`",
            ),
            (
                "{start: 'run %{peer_address}'}",
                "{start: ' '}",
                "sides.b: start: ",
            ),
            ("start: run %{address}", "begin: x", "unknown field `begin`"),
            (
                "run %{address}",
                "run %{adress}",
                "sides.a: start: %{adress} means nothing",
            ),
            (
                "'to %{peer_address}'",
                "'%{links}'",
                "sides.a: each_link: %{links} means nothing",
            ),
            ("conf:", "../conf:", "files: \"../conf\""),
            ("'%{links}'", "'%{links'", "files: conf: `%{` without a `}`"),
        ];
        for (from, to, expected) in cases {
            let problem = problem(from, to);
            assert!(
                problem.contains(expected),
                "{problem} instead of {expected}"
            );
        }
    }
}
