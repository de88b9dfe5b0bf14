use super::*;
use crate::api::ping::PingedIvc;

/// Ping `number` of a link; the ways are in seconds, by clocks of which one is 86 s ahead.
fn ping(number: u32, link: &str, ways: Option<(f64, f64)>) -> Pinged {
    let remote_link = (link == "dsl").then(|| "fibre".to_owned());
    Pinged {
        number,
        ivc: PingedIvc {
            link: link.to_owned(),
            remote: [198, 51, 100, 10].into(),
            remote_link,
        },
        sent: link != "cable",
        rtt_seconds: ways.map(|(out, back)| out + back),
        out_seconds: ways.map(|(out, _)| out + 86.0),
        back_seconds: ways.map(|(_, back)| back - 86.0),
    }
}

fn pings() -> Vec<Pinged> {
    vec![
        ping(1, "dsl", Some((0.012, 0.013))),
        ping(1, "lte", Some((0.060, 0.002))),
        ping(2, "dsl", Some((0.0107, 0.0135))),
        ping(2, "lte", Some((0.160, 0.0025))),
        ping(1, "cable", None),
        ping(3, "dsl", Some((0.012, 0.0125))),
        ping(2, "cable", None),
        ping(3, "lte", None),
    ]
}

fn figures() -> Figures {
    let mut figures = Figures::default();
    for ping in pings() {
        figures.note(&ping);
    }
    figures
}

#[test]
fn pings_and_their_summary_are_this_text() {
    let (mut figures, mut text) = (Figures::default(), String::new());
    for ping in pings() {
        figures.note(&ping);
        text.push_str(&figures.line(&ping));
    }
    text.push_str(&figures.table(false));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/ping/pings.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
    let width = text
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!(width <= Some(80), "{width:?} columns");
}

#[test]
fn the_summary_compares_ivcs_and_not_clocks() {
    let line = json(&Line::Summary {
        schema: SCHEMA,
        ivcs: figures().summaries(),
    });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&value["what"], &value["schema"]),
        (&"summary".into(), &SCHEMA.into())
    );
    let near = |place: usize, key: &str, wanted: f64| {
        let found = value["ivcs"][place][key].as_f64().unwrap();
        assert!((found - wanted).abs() < 1e-9, "{key}: {found}");
    };
    // In the order of their names: cable, dsl, lte.
    assert!(value["ivcs"][0]["rtt_min_seconds"].is_null());
    assert_eq!(
        (&value["ivcs"][2]["sent"], &value["ivcs"][2]["answered"]),
        (&3.into(), &2.into())
    );
    near(1, "rtt_median_seconds", 0.0245);
    near(1, "out_lag_seconds", 0.0);
    near(1, "back_lag_seconds", 0.0105);
    near(2, "out_lag_seconds", 0.0493);
    near(2, "rtt_max_seconds", 0.1625);
}

#[test]
fn nothing_that_comes_back_is_hopeless() {
    assert!(!figures().is_hopeless());
    let mut figures = Figures::default();
    assert!(figures.is_hopeless() && figures.table(false).is_empty());
    figures.note(&ping(1, "lte", None));
    assert!(figures.is_hopeless());
}
