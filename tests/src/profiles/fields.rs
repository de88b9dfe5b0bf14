//! The file as it is written.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use withy::config::{Delay, Rate, ValueError};

use super::Load;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(deserialize_with = "loads")]
    pub(super) loads: Vec<Load>,
    #[serde(deserialize_with = "in_order")]
    pub(super) profiles: Vec<(String, Profile)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) about: String,
    pub(super) links: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) count: Option<usize>,
    #[serde(default, deserialize_with = "some_rate")]
    pub(super) rate: Option<Rate>,
    pub(super) trace: Option<String>,
    #[serde(deserialize_with = "delay")]
    pub(super) latency: Duration,
    #[serde(default, deserialize_with = "some_delay")]
    pub(super) jitter: Option<Duration>,
    #[serde(default, deserialize_with = "some_percentage")]
    pub(super) loss: Option<f64>,
    pub(super) burst: Option<f64>,
    #[serde(default, deserialize_with = "some_delay")]
    pub(super) queue: Option<Duration>,
    pub(super) mtu: Option<u32>,
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from)
}

fn told<E: de::Error>(error: &ValueError) -> E {
    E::custom(format_args!("{error}; {}", error.help()))
}

fn some_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    text(from)?.parse().map(Some).map_err(|error| told(&error))
}

fn delay<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let delay: Delay = text(from)?.parse().map_err(|error| told(&error))?;
    Ok(delay.duration())
}

fn some_delay<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    delay(from).map(Some)
}

fn some_percentage<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let text = text(from)?;
    let part = percentage(&text);
    part.map(Some)
        .ok_or_else(|| de::Error::custom(format_args!("{text:?} is not a part; write 0% to 100%")))
}

fn percentage(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

fn loads<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Load>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    words
        .iter()
        .map(|word| {
            load(word).ok_or_else(|| {
                de::Error::custom(format_args!(
                    "{word:?} is no load; write `tcp` and a number of connections, or `udp` and a percentage"
                ))
            })
        })
        .collect()
}

fn load(word: &str) -> Option<Load> {
    /// More would be a load of the machine only.
    const MOST_CONNECTIONS: usize = 1_000;
    match word.split_once(' ')? {
        ("tcp", connections) => {
            let connections = connections.parse().ok()?;
            (1..=MOST_CONNECTIONS)
                .contains(&connections)
                .then_some(Load::Tcp(connections))
        }
        ("udp", part) => percentage(part).filter(|part| *part > 0.0).map(Load::Udp),
        _ => None,
    }
}

/// Keeps the order of a mapping, and refuses a key that is there twice.
fn in_order<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Profile)>, D::Error> {
    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(String, Profile)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("profiles by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut profiles: Self::Value = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                if profiles.iter().any(|(known, _)| *known == name) {
                    return Err(de::Error::custom(format_args!("{name:?} is there twice")));
                }
                profiles.push((name, map.next_value()?));
            }
            Ok(profiles)
        }
    }

    from.deserialize_map(InOrder)
}
