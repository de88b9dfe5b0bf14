use super::{
    cells::{ivc_rate, rate},
    *,
};
use crate::{
    api::status::{IvcStatus, ProbesOnly, RateSource, TunnelState, TunnelStatus},
    metrics::sample,
};

/// A status with a bit of everything, of which nothing has an age.
fn ageless() -> Status {
    let mut status = sample();
    status.started = u64::MAX;
    for link in &mut status.links {
        link.since = u64::MAX;
    }
    for ivc in status
        .tunnels
        .iter_mut()
        .flat_map(|tunnel| &mut tunnel.ivcs)
    {
        ivc.since = u64::MAX;
    }
    let paris = &mut status.tunnels[0];
    paris.ivcs[0].remote_link = Some("fibre".to_owned());
    paris.ivcs[0].flows = None;
    paris.ivcs.push(IvcStatus {
        link: "lte".to_owned(),
        remote_link: Some("fibre".to_owned()),
        lag_seconds: Some(0.25),
        flows: Some(0),
        probes_only: Some(ProbesOnly::TooSlow),
        rate_source: RateSource::Assumed,
        rate_cap_bps: None,
        ..paris.ivcs[0].clone()
    });
    paris.ivcs.push(IvcStatus {
        link: "sat".to_owned(),
        flows: Some(2),
        probes_only: None,
        ..paris.ivcs[2].clone()
    });
    status
}

fn is(text: &str, file: &str) {
    let path = format!("{}/src/cli/show/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
    let width = text
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!(width <= Some(80), "{width:?} columns");
}

#[test]
fn a_status_is_this_text() {
    is(&status(&ageless(), false), "status.txt");
}

#[test]
fn an_ivc_is_this_text() {
    let paris = &ageless().tunnels[0];
    let ivcs = paris.ivcs.iter().map(|one| ivc("paris", one));
    is(&ivcs.collect::<Vec<_>>().join("\n"), "ivcs.txt");
}

#[test]
fn a_tunnel_that_is_not_negotiated_has_one_line() {
    let mut paris = ageless().tunnels.remove(1);
    paris.trouble = None;
    let paris = TunnelStatus {
        state: TunnelState::Down,
        ..paris
    };
    assert_eq!(
        tunnel(&paris, false),
        "tunnel rome is down: not negotiated yet\n"
    );
}

#[test]
fn rates_have_three_digits() {
    for (bits, text) in [
        (0, "0 bit/s"),
        (999, "999 bit/s"),
        (19_400_000, "19.4 Mbit/s"),
        (100_000, "100 kbit/s"),
        (1_234_567, "1.23 Mbit/s"),
        (999_960, "1 Mbit/s"),
        (2_000_000_000, "2 Gbit/s"),
    ] {
        assert_eq!(rate(bits), text);
    }
}

#[test]
fn a_rate_says_how_sure_it_is() {
    let ivc = |rate_bps, rate_source, rate_cap_bps| IvcStatus {
        rate_bps,
        rate_source,
        rate_cap_bps,
        ..ageless().tunnels[0].ivcs[0].clone()
    };
    let cap = Some(20_000_000);
    for (ivc, text) in [
        (ivc(0, RateSource::Assumed, None), "-"),
        (ivc(1_000_000, RateSource::Assumed, None), "1 Mbit/s?"),
        (ivc(18_234_567, RateSource::Measured, None), "18.2 Mbit/s"),
        (ivc(18_234_567, RateSource::Old, None), "18.2 Mbit/s (old)"),
        (ivc(19_400_000, RateSource::Stated, cap), "20 Mbit/s stated"),
        (
            ivc(18_234_567, RateSource::Measured, cap),
            "18.2 of 20 Mbit/s",
        ),
        (
            ivc(900_000, RateSource::Measured, cap),
            "900 kbit/s of 20 Mbit/s",
        ),
    ] {
        assert_eq!(ivc_rate(&ivc), text);
    }
}
