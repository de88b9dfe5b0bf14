//! From the file to links that can exist.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Profile, Profiles,
    fields::{self, File},
};
use crate::{
    lab::{LinkSpec, addressing::MOST_LINKS},
    shape::{QueueLength, Shape, Trace},
};

/// The smallest MTU of IPv4 that a gateway can work with, and the largest of an interface.
const MTUS: std::ops::RangeInclusive<u32> = 576..=65_535;

/// Where recordings are. They are no part of the program, for their licence is another.
const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/traces");

/// Reads the text of `file`. Errors name the file, and the line or else the profile and the link.
pub(super) fn parse(text: &str, file: &str) -> Result<Profiles> {
    let parsed: File = serde_yaml::from_str(text).with_context(|| format!("cannot read {file}"))?;
    let profiles = parsed
        .profiles
        .into_iter()
        .map(|(name, fields)| {
            profile(&name, fields).with_context(|| format!("{file}: profile {name:?}"))
        })
        .collect::<Result<_>>()?;
    Ok(Profiles {
        loads: parsed.loads,
        profiles,
    })
}

fn profile(name: &str, fields: fields::Profile) -> Result<Profile> {
    let mut links = Vec::new();
    for fields in &fields.links {
        let context = || format!("link {:?}", fields.name);
        links.extend(same_links(fields).with_context(context)?);
        ensure!(
            links.len() <= MOST_LINKS,
            "a site has at most {MOST_LINKS} links"
        );
    }
    ensure!(!links.is_empty(), "there is no link");
    let mut names = HashSet::new();
    for link in &links {
        ensure!(
            names.insert(&link.name),
            "two links are called {:?}",
            link.name
        );
    }
    Ok(Profile {
        name: name.to_owned(),
        about: fields.about,
        links,
    })
}

/// The links that one entry stands for.
fn same_links(fields: &fields::Link) -> Result<Vec<LinkSpec>> {
    let names = match fields.count {
        None => vec![fields.name.clone()],
        Some(count) if (1..=MOST_LINKS).contains(&count) => {
            let numbered = |number| format!("{}{number}", fields.name);
            (0..count).map(numbered).collect()
        }
        Some(count) => bail!("a count of {count} is not 1 to {MOST_LINKS}"),
    };
    let (up, down) = shapes(fields)?;
    names
        .iter()
        .map(|name| {
            check_name(name)?;
            let spec = LinkSpec::new(name, up).down(down);
            let mtu = fields.mtu.unwrap_or(spec.mtu);
            ensure!(
                MTUS.contains(&mtu),
                "an MTU of {mtu} is not {} to {}",
                MTUS.start(),
                MTUS.end()
            );
            Ok(spec.mtu(mtu))
        })
        .collect()
}

fn check_name(name: &str) -> Result<()> {
    // The lab's emulator appends two characters to the names of interfaces, of at most 15.
    let short = (1..=13).contains(&name.len());
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ensure!(
        short && plain,
        "{name:?} is no name for an interface here: write 1 to 13 lower-case letters and digits"
    );
    Ok(())
}

/// What the link is there and back.
fn shapes(fields: &fields::Link) -> Result<(Shape, Shape)> {
    let (up, down) = match (&fields.rate, &fields.trace) {
        (Some(rate), None) => {
            let shape = Shape::new(rate.bits_per_second(), fields.latency);
            (shape, shape)
        }
        (None, Some(name)) => {
            check_recording(name)?;
            let recorded = |way| {
                let path = Path::new(TRACES).join(format!("{name}.{way}"));
                Ok::<_, anyhow::Error>(Shape::recorded(Trace::read(&path)?, fields.latency))
            };
            (recorded("up")?, recorded("down")?)
        }
        _ => bail!("a link has either a rate or a trace"),
    };
    Ok((complete(up, fields)?, complete(down, fields)?))
}

/// The name becomes part of a path.
fn check_recording(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    ensure!(
        !name.is_empty() && name.chars().all(plain),
        "{name:?} is no name of a recording: write letters, digits and hyphens"
    );
    Ok(())
}

/// The shape with everything that is not its rate or its latency.
fn complete(mut shape: Shape, fields: &fields::Link) -> Result<Shape> {
    shape.jitter = fields.jitter.unwrap_or(shape.jitter);
    if let Some(queue) = fields.queue {
        shape.queue = QueueLength::Time(queue);
    }
    shape = match (fields.loss, fields.burst) {
        (Some(mean), Some(length)) => shape.bursts(mean, length),
        (Some(probability), None) => shape.loss(probability),
        (None, Some(_)) => bail!("there is a burst, but no loss"),
        (None, None) => shape,
    };
    shape.check()?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a file that has this link.
    fn problem(link: &str) -> String {
        let text = format!(
            "loads: [tcp 1]\nprofiles:\n  odd:\n    about: x\n    links:\n      - {link}\n"
        );
        format!("{:#}", parse(&text, "p.yaml").unwrap_err())
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let fine = "name: a, rate: 1 Mbit/s, latency: 1 ms";
        let cases = [
            (
                "{name: a, rate: 1 Mbps, latency: 1 ms}".to_owned(),
                "p.yaml: ",
            ),
            (
                "{name: a, rate: 1 Mbps, latency: 1 ms}".to_owned(),
                "did you mean Mbit/s? at line 6",
            ),
            ("{name: a, rate: 1 Mbit/s, latency: 5}".to_owned(), "line 6"),
            (format!("{{{fine}, loss: 0.5}}"), "write 0% to 100%"),
            (format!("{{{fine}, loss: 101%}}"), "write 0% to 100%"),
            (format!("{{{fine}, los: 1%}}"), "unknown field `los`"),
            (
                format!("{{{fine}, jitter: 2 ms}}"),
                "p.yaml: profile \"odd\": link \"a\": the jitter exceeds",
            ),
            (format!("{{{fine}, trace: x}}"), "either a rate or a trace"),
            (
                "{name: a, latency: 1 ms}".to_owned(),
                "either a rate or a trace",
            ),
            (
                "{name: a, latency: 1 ms, trace: ../x}".to_owned(),
                "\"../x\" is no name of a recording",
            ),
            (
                "{name: a, latency: 1 ms, trace: none}".to_owned(),
                "traces/none.up",
            ),
            (format!("{{{fine}, burst: 2}}"), "a burst, but no loss"),
            (format!("{{{fine}, loss: 90%, burst: 2}}"), "cannot add up"),
            (format!("{{{fine}, count: 0}}"), "a count of 0"),
            (format!("{{{fine}, count: 33}}"), "a count of 33"),
            (format!("{{{fine}, mtu: 100}}"), "an MTU of 100"),
            (
                "{name: a b, rate: 1 Mbit/s, latency: 1 ms}".to_owned(),
                "\"a b\" is no name",
            ),
            (
                format!("{{{fine}}}\n      - {{{fine}}}"),
                "two links are called \"a\"",
            ),
        ];
        for (link, expected) in cases {
            let problem = problem(&link);
            assert!(
                problem.contains(expected),
                "{problem} instead of {expected}"
            );
        }
    }

    #[test]
    fn a_file_without_links_or_with_a_profile_twice_is_refused() {
        let refused = |text: &str| format!("{:#}", parse(text, "p.yaml").unwrap_err());
        let nothing = refused("loads: []\nprofiles: {x: {about: y, links: []}}\n");
        assert_eq!(nothing, "p.yaml: profile \"x\": there is no link");
        let one = "{about: y, links: [{name: a, rate: 1 Mbit/s, latency: 1 ms}]}";
        let twice = refused(&format!("loads: []\nprofiles:\n  x: {one}\n  x: {one}\n"));
        assert!(
            twice.contains("twice") || twice.contains("duplicate"),
            "{twice}"
        );
        for load in ["tcp", "tcp 0", "udp 0%", "udp 101%", "icmp 3"] {
            let problem = refused(&format!("loads: [{load}]\nprofiles: {{}}\n"));
            assert!(problem.contains("is no load"), "{problem}");
        }
    }

    #[test]
    fn fields_become_a_link() {
        let text = "
loads: []
profiles:
  x:
    about: y
    links:
      - {name: a, rate: 1 Mbit/s, latency: 5 ms, jitter: 2 ms, loss: 2.5%, burst: 3, queue: 50 ms, mtu: 1400}
";
        let profiles = parse(text, "p.yaml").unwrap();
        let ms = std::time::Duration::from_millis;
        let shape = Shape::new(1_000_000, ms(5))
            .jitter(ms(2))
            .bursts(0.025, 3.0)
            .queue(QueueLength::Time(ms(50)));
        assert_eq!(
            profiles.profiles[0].links,
            [LinkSpec::new("a", shape).mtu(1400)]
        );
    }
}
