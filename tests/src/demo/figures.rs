//! The outcome: figures, what they mean, and their JSON form.

use std::time::Duration;

use serde::Serialize;

use super::units::{four_digits, share_of, whole};
use crate::lab::LinkSpec;

/// The version of the JSON form.
pub const SCHEMA: u32 = 1;

/// The tunnel must reach at least this part of the sum of its links.
pub const LEAST_RATIO: f64 = 0.85;

/// A link's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFigures {
    /// The link.
    pub link: LinkSpec,
    /// Bits a second of contents that one stream got through a tunnel over this link only.
    pub alone_bps: f64,
    /// What part of the tunnel's bytes arrived over it while all links were up, from 0 to 1.
    pub share: f64,
}

/// What happened while a link had half of its rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalvedFigures {
    /// The link's index.
    pub link: usize,
    /// Bits a second of contents that the stream got meanwhile.
    pub tunnel_bps: f64,
    /// What part of the tunnel's bytes arrived over the link meanwhile, from 0 to 1.
    pub share: f64,
}

/// All figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The kernel's release.
    pub kernel: String,
    /// Who encrypts: `kernel` or `userspace`.
    pub engine: String,
    /// Why.
    pub engine_reason: Option<String>,
    /// The name of the links' profile.
    pub profile: String,
    /// The links.
    pub links: Vec<LinkFigures>,
    /// Bits a second of contents that one stream got through the tunnel over all links, while
    /// they were all up.
    pub tunnel_bps: f64,
    /// What became of that while a link had half of its rate; nothing where none had.
    pub halved: Option<HalvedFigures>,
    /// Whether every byte of every transfer arrived as it was sent.
    pub contents_equal: bool,
    /// The longest time without new contents in the transfer through the tunnel, the cut included.
    pub longest_gap: Duration,
}

/// Whether the tunnel did what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Fine,
    /// What arrived is not what was sent.
    ContentsDiffer,
    /// It reached less than [`LEAST_RATIO`].
    TooSlow,
}

impl Figures {
    /// What the links give alone, added up, in bits a second.
    #[must_use]
    pub fn sum_bps(&self) -> f64 {
        self.links.iter().map(|link| link.alone_bps).sum()
    }

    /// What part of the sum the tunnel gives.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let sum = self.sum_bps();
        if sum > 0.0 {
            self.tunnel_bps / sum
        } else {
            0.0
        }
    }

    /// What the links would give alone while one of them has half of its rate, in bits a second, and what part of it the
    /// tunnel then gives; nothing where none had.
    #[must_use]
    pub fn halved_ratio(&self) -> Option<(f64, f64)> {
        let halved = self.halved?;
        let sum = self.sum_bps() - self.links.get(halved.link)?.alone_bps / 2.0;
        Some((sum, share_of(halved.tunnel_bps, sum)))
    }

    /// Judges the figures.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.contents_equal {
            Verdict::ContentsDiffer
        } else if self.ratio() < LEAST_RATIO {
            Verdict::TooSlow
        } else {
            Verdict::Fine
        }
    }

    /// The JSON form, on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Json {
            schema: SCHEMA,
            kernel: &self.kernel,
            engine: &self.engine,
            engine_reason: self.engine_reason.as_deref(),
            profile: &self.profile,
            links: self.links.iter().map(JsonLink::from).collect(),
            sum_bps: whole(self.sum_bps()),
            tunnel_bps: whole(self.tunnel_bps),
            ratio: four_digits(self.ratio()),
            halved: self.json_halved(),
            contents_equal: self.contents_equal,
            longest_gap_ms: self.longest_gap.as_millis(),
        })
    }
}

impl Figures {
    fn json_halved(&self) -> Option<JsonHalved<'_>> {
        let (halved, (sum, ratio)) = self.halved.zip(self.halved_ratio())?;
        Some(JsonHalved {
            link: &self.links.get(halved.link)?.link.name,
            sum_bps: whole(sum),
            tunnel_bps: whole(halved.tunnel_bps),
            ratio: four_digits(ratio),
            share: four_digits(halved.share),
        })
    }
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    kernel: &'a str,
    engine: &'a str,
    engine_reason: Option<&'a str>,
    profile: &'a str,
    links: Vec<JsonLink<'a>>,
    sum_bps: u64,
    tunnel_bps: u64,
    ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    halved: Option<JsonHalved<'a>>,
    contents_equal: bool,
    longest_gap_ms: u128,
}

#[derive(Serialize)]
struct JsonHalved<'a> {
    link: &'a str,
    sum_bps: u64,
    tunnel_bps: u64,
    ratio: f64,
    share: f64,
}

#[derive(Serialize)]
struct JsonLink<'a> {
    name: &'a str,
    rate_bps: u64,
    latency_ms: u128,
    alone_bps: u64,
    share: f64,
}

impl<'a> From<&'a LinkFigures> for JsonLink<'a> {
    fn from(figures: &'a LinkFigures) -> Self {
        Self {
            name: &figures.link.name,
            rate_bps: figures.link.up.rate_bps,
            latency_ms: figures.link.up.latency.as_millis(),
            alone_bps: whole(figures.alone_bps),
            share: four_digits(figures.share),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::profiles::Profiles;

    /// The links that are shown in a virtual machine.
    pub(in crate::demo) fn links() -> Vec<LinkSpec> {
        let profiles = Profiles::bonding().unwrap();
        profiles.find("demo-vm").unwrap().links.clone()
    }

    /// Figures of a run in which the links give 10 Mbit/s in all.
    pub(in crate::demo) fn example(tunnel_bps: f64) -> Figures {
        let alone = [2.5e6, 5.0e6, 1.65e6, 0.85e6];
        let shares = [0.25, 0.5, 0.167_89, 0.082_11];
        let links = links().into_iter().zip(alone.into_iter().zip(shares));
        Figures {
            kernel: "6.12.1".into(),
            engine: "kernel".into(),
            engine_reason: Some("it can".into()),
            profile: "demo-vm".into(),
            links: links
                .map(|(link, (alone_bps, share))| LinkFigures {
                    link,
                    alone_bps,
                    share,
                })
                .collect(),
            tunnel_bps,
            halved: Some(HalvedFigures {
                link: 1,
                tunnel_bps: 7.2e6,
                share: 0.333_33,
            }),
            contents_equal: true,
            longest_gap: Duration::from_micros(212_900),
        }
    }

    #[test]
    fn the_verdict_is_about_contents_first_and_then_about_the_ratio() {
        assert_eq!(example(9.4e6).verdict(), Verdict::Fine);
        assert_eq!(example(8.5e6).verdict(), Verdict::Fine);
        assert_eq!(example(8.4999e6).verdict(), Verdict::TooSlow);
        let mut wrong = example(9.4e6);
        wrong.contents_equal = false;
        assert_eq!(wrong.verdict(), Verdict::ContentsDiffer);
        let mut nothing = example(0.0);
        nothing.links.clear();
        assert_eq!(nothing.verdict(), Verdict::TooSlow);
    }

    #[test]
    fn the_json_form_has_these_fields_and_no_others() {
        let text = example(9.43216e6).json().unwrap();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let link = |name, rate_bps: u64, latency_ms, alone_bps: u64, share| {
            json!({
                "name": name, "rate_bps": rate_bps, "latency_ms": latency_ms,
                "alone_bps": alone_bps, "share": share,
            })
        };
        let expected = json!({
            "schema": 1,
            "kernel": "6.12.1",
            "engine": "kernel",
            "engine_reason": "it can",
            "profile": "demo-vm",
            "links": [
                link("dsl", 3_000_000, 40, 2_500_000, 0.25),
                link("cable", 6_000_000, 15, 5_000_000, 0.5),
                link("lte", 2_000_000, 20, 1_650_000, 0.1679),
                link("leased", 1_000_000, 5, 850_000, 0.0821),
            ],
            "sum_bps": 10_000_000,
            "tunnel_bps": 9_432_160,
            "ratio": 0.9432,
            "halved": {
                "link": "cable", "sum_bps": 7_500_000, "tunnel_bps": 7_200_000, "ratio": 0.96, "share": 0.3333,
            },
            "contents_equal": true,
            "longest_gap_ms": 212,
        });
        assert_eq!(value, expected);
    }
}
