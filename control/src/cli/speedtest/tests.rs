use super::*;
use crate::api::{ping::PingedIvc, speed::SpeedIvc};

#[test]
fn what_came_through_is_this_text() {
    let ivc = |link: &str, rate_bps, loaded: Option<f64>| SpeedIvc {
        ivc: PingedIvc {
            link: link.to_owned(),
            remote: [198, 51, 100, 10].into(),
            remote_link: (link == "dsl").then(|| "fibre".to_owned()),
        },
        rate_bps,
        loss_ratio: loaded.map(|_| 0.012),
        rtt_idle_seconds: Some(0.0204),
        rtt_loaded_seconds: loaded,
        rtt_max_seconds: loaded.map(|loaded| loaded * 3.0),
    };
    let speed = Speed {
        direction: Direction::Down,
        seconds: 6.96,
        rate_bps: 28_400_000,
        ivcs: vec![
            ivc("dsl", 19_400_000, Some(0.0461)),
            ivc("lte", 9_000_000, None),
        ],
    };
    let text = text(&speed, false);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/speedtest/speed.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}
