//! Placeholders: `%{name}` in a description's texts.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::description::Description;
use crate::peers::device::End;

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A line for the shell.
    Line,
    /// A file.
    File,
    /// What is repeated for each link.
    Link,
}

/// What means something everywhere.
const EVERYWHERE: [&str; 16] = [
    "site",
    "dir",
    "peer_dir",
    "secret_file",
    "device",
    "mtu",
    "tunnel_address",
    "peer_tunnel_address",
    "lan",
    "peer_lan",
    "number",
    "interface",
    "address",
    "peer_address",
    "kbit",
    "bytes",
];

/// What stands for a text with one part for each link.
const LINKS: &str = "links";

/// What each placeholder means at one site.
#[derive(Debug)]
pub(super) struct Values {
    folder: PathBuf,
    common: Vec<(&'static str, String)>,
    /// Of each link.
    links: Vec<Vec<(&'static str, String)>>,
}

/// Fails unless every placeholder in `text` means something there.
pub(super) fn check(text: &str, scope: Scope) -> Result<()> {
    replace(text, |name| {
        let known = EVERYWHERE.contains(&name) || name == LINKS && scope == Scope::File;
        known.then(String::new)
    })
    .map(|_| ())
}

impl Values {
    /// The values at a site whose links are `links`, each with its end here and its end there.
    pub(super) fn new(description: &Description, links: &[(End<'_>, End<'_>)]) -> Result<Self> {
        let (here, there) = links.first().context("the lab has no links")?;
        let folder = |end: &End<'_>| end.site.dirs().etc().join(&description.name);
        let lan = |end: &End<'_>| {
            let (network, prefix_len) = end.site.lan().prefix();
            format!("{network}/{prefix_len}")
        };
        let shown = |path: PathBuf| path.display().to_string();
        let common = vec![
            ("site", here.site.name().to_owned()),
            ("dir", shown(folder(here))),
            ("peer_dir", shown(folder(there))),
            ("secret_file", shown(folder(here).join("secret"))),
            ("device", description.device.clone()),
            ("mtu", description.mtu.to_string()),
            ("tunnel_address", here.tunnel_address()?.to_string()),
            ("peer_tunnel_address", there.tunnel_address()?.to_string()),
            ("lan", lan(here)),
            ("peer_lan", lan(there)),
        ];
        let links = links.iter().map(|(here, there)| of_link(here, there));
        Ok(Self {
            folder: folder(here),
            common,
            links: links.collect(),
        })
    }

    /// The side's folder.
    pub(super) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// The file of a secret that both sides have.
    pub(super) fn secret_file(&self) -> PathBuf {
        self.folder.join("secret")
    }

    /// Puts values in for placeholders; those of links are the first link's.
    pub(super) fn fill(&self, text: &str) -> Result<String> {
        self.with_link(text, self.links.first().map_or(&[][..], Vec::as_slice))
    }

    /// A text for each link, one after the other.
    pub(super) fn each_link(&self, text: &str) -> Result<String> {
        let parts = self.links.iter().map(|link| self.with_link(text, link));
        parts.collect()
    }

    fn with_link(&self, text: &str, link: &[(&'static str, String)]) -> Result<String> {
        replace(text, |wanted| {
            let mut values = self.common.iter().chain(link);
            let found = values.find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.clone())
        })
    }
}

fn of_link(here: &End<'_>, there: &End<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("number", here.number.to_string()),
        ("interface", here.link.name().to_owned()),
        ("address", here.link.address().to_string()),
        ("peer_address", there.link.address().to_string()),
        ("kbit", (here.link.shapes().0.rate_bps / 1000).to_string()),
        ("bytes", (here.link.shapes().0.rate_bps / 8).to_string()),
    ]
}

/// Replaces every `%{name}` by what `value` says of the name.
fn replace(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("%{") {
        let (name, after) = after.split_once('}').context("`%{` without a `}`")?;
        let Some(value) = value(name) else {
            bail!("%{{{name}}} means nothing here");
        };
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_for_names() {
        let value = |name: &str| (name == "a").then(|| "%{b}".to_owned());
        // A value is not looked into.
        assert_eq!(
            replace("x %{a}%{a} {c} 5%", value).unwrap(),
            "x %{b}%{b} {c} 5%"
        );
        assert_eq!(replace("", value).unwrap(), "");
        assert!(replace("%{b}", value).is_err());
    }

    #[test]
    fn links_are_for_files() {
        assert!(check("%{links} %{address}", Scope::File).is_ok());
        assert!(check("%{links}", Scope::Line).is_err());
        assert!(check("%{links}", Scope::Link).is_err());
    }
}
