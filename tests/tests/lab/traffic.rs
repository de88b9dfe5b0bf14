//! What transfers, streams and captures measure.

use std::time::Instant;

use anyhow::Result;
use withy_tests::{
    capture::{CapturePlan, Ipv4Fields, Needle, ethernet, inject, ipv4},
    lab::{Lab, Link, LinkSpec},
    peers::{Mptcp, System as _},
    shape::{Shape, port::Emulation},
    traffic::{
        bulk::{Bulk, Flavour, Flow},
        icmp::ping,
        pings::Pings,
        stream::StreamPlan,
        tcp::{Transfer, Volume},
        udp::Probe,
    },
    wait::wait_until,
};

use crate::{ms, turn};

#[test]
fn transfers_run_both_ways_at_once() -> Result<()> {
    let _turn = turn();
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(10_000_000, ms(5)))]).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
    let there =
        Transfer::new(a.host(), b.host(), b.lan().host, Volume::Bytes(2_000_001)).start()?;
    let back = Transfer::new(b.host(), a.host(), a.lan().host, Volume::Time(ms(2_000)))
        .connections(3)
        .start()?;
    for transfer in [there, back] {
        let report = transfer.finish()?;
        assert!(report.contents_equal());
        // 1448 bytes of contents in a frame of 1514. How much the other direction's
        // acknowledgements leave, in a queue that counts packets, is TCP's affair.
        let ratio = report.goodput_bps() / (10e6 * 1448.0 / 1514.0);
        println!(
            "{ratio:.3} of the rate, {} connections",
            report.connections.len()
        );
        assert!(ratio > 0.5 && ratio < 1.01, "{ratio}");
        let sent: u64 = report
            .connections
            .iter()
            .map(|connection| connection.sent)
            .sum();
        assert_eq!(sent, report.timeline.bytes());
        assert!(report.connections.len() == 3 || sent == 2_000_001);
    }
    Ok(())
}

#[test]
fn links_without_limits_are_as_fast_as_the_machine() -> Result<()> {
    let _turn = turn();
    // What the shape says is for those who configure themselves by it.
    let slow = Shape::new(100_000, ms(500));
    let lab = Lab::paired(&[LinkSpec::new("wan0", slow)]).emulation(Emulation::Unlimited);
    let lab = lab.build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
    let flow = Flow {
        from: a.host().clone(),
        to: b.host().clone(),
        address: b.lan().host,
        flavour: Flavour::Tcp,
    };
    // Cards that segment and join or not, every byte arrives.
    for offload in [false, true] {
        if offload {
            a.offload_lan()?;
            b.offload_lan()?;
        }
        let bulk = Bulk::start(&flow, 2)?;
        wait_until(ms(10_000), "ten megabytes", || {
            Ok(bulk.received() > 10_000_000)
        })?;
        // A path of 1500 bytes, less the headers of IPv4 and TCP with timestamps.
        assert_eq!(bulk.finish()?, Some(1448));
        let report =
            Transfer::new(a.host(), b.host(), b.lan().host, Volume::Bytes(1_000_001)).run()?;
        assert!(report.contents_equal());
    }
    Ok(())
}

#[test]
fn one_stream_of_multipath_tcp_uses_every_link() -> Result<()> {
    let _turn = turn();
    if let Some(reason) = Mptcp.absent() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let link = |name| LinkSpec::new(name, Shape::new(5_000_000, ms(5)));
    let lab = Lab::paired(&[link("wan0"), link("wan1")]).build()?;
    let running = Mptcp.start(&lab)?;
    let bulk = Bulk::start(&running.flow()?, 1)?;
    let links = lab.site("b")?.links();
    wait_until(ms(10_000), "half a megabyte over each link", || {
        let counters = links.iter().map(Link::counters);
        let counters = counters.collect::<Result<Vec<_>>>()?;
        Ok(counters.iter().all(|link| link.rx_bytes > 500_000))
    })?;
    bulk.finish()?;
    Ok(())
}

#[test]
fn pings_tell_how_long_a_queue_is() -> Result<()> {
    let _turn = turn();
    // A queue of 100 ms behind 5 ms each way.
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(2_000_000, ms(5)))]).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
    let pings = Pings::start(a.host(), b.lan().host)?;
    let flood = Probe::new(a.host(), b.host(), b.lan().host).flood(1_000, 300)?;
    let start = Instant::now();
    wait_until(ms(10_000), "a second of pings", || {
        Ok(start.elapsed() > ms(1_000))
    })?;
    flood.finish()?;
    let pinged = pings.finish()?;
    assert!(pinged.len() > 15, "{pinged:?}");
    assert!(pinged.is_sorted_by_key(|ping| ping.sent));
    let answered: Vec<_> = pinged.iter().filter_map(|ping| ping.round_trip).collect();
    let (least, most) = (answered.iter().min(), answered.iter().max());
    assert!(least.is_some_and(|least| *least >= ms(10)), "{least:?}");
    assert!(most.is_some_and(|most| *most > ms(60)), "{most:?}");
    Ok(())
}

#[test]
fn a_transfer_gets_the_links_rate() -> Result<()> {
    let _turn = turn();
    // Where there is netem the machine may be a virtual one whose processor is emulated, and slow.
    let rates: &[u32] = match Emulation::probe()? {
        Emulation::Userspace => &[5_000_000, 50_000_000],
        Emulation::Netem | Emulation::Unlimited => &[5_000_000],
    };
    for &rate in rates {
        let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(rate.into(), ms(5)))]).build()?;
        let (a, b) = (lab.site("a")?, lab.site("b")?);
        let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
        let report =
            Transfer::new(a.host(), b.host(), b.lan().host, Volume::Time(ms(2_500))).run()?;
        assert!(report.contents_equal());
        let expected = f64::from(rate) * 1448.0 / 1514.0;
        let ratio = report.timeline.goodput_bps_after(ms(500)) / expected;
        println!("{rate} bit/s: {ratio:.3}");
        assert!((ratio - 1.0).abs() < 0.05, "{rate}: {ratio}");
    }
    Ok(())
}

#[test]
fn a_stream_meets_latency_jitter_and_loss() -> Result<()> {
    let _turn = turn();
    let shape = Shape::new(20_000_000, ms(30)).jitter(ms(10)).loss(0.05);
    let back = Shape::new(20_000_000, ms(30));
    let lab = Lab::paired(&[LinkSpec::new("wan0", shape).down(back)]).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
    let plan = StreamPlan {
        size: 200,
        per_second: 500,
        duration: ms(4_000),
    };
    let report = Probe::new(a.host(), b.host(), b.lan().host)
        .stream(plan)?
        .finish()?;
    println!("lost {} of {}", report.lost(), report.sent);
    // 2,000 datagrams, 5%: five standard deviations are 49.
    assert_eq!(report.sent, 2_000);
    assert!((51..=149).contains(&report.lost()), "{}", report.lost());
    assert_eq!(report.duplicates, 0);
    // The link keeps the order. The kernel may not, when a sender moves to another processor and
    // overtakes what waits for the softirq of the one before.
    assert!(report.reordered <= 20, "{}", report.reordered);
    let delay = |share| report.delay(share).expect("something arrived");
    println!(
        "delays {:?} {:?} {:?}",
        delay(0.01),
        delay(0.5),
        delay(0.95)
    );
    assert!(delay(0.0) >= ms(20), "{:?}", delay(0.0));
    // In order and with jitter, most wait for one before; how long the rest takes on a busy machine
    // is no fault of the link.
    let median = delay(0.5);
    assert!(median > ms(28) && median < ms(46), "{median:?}");
    assert!(delay(0.95) > ms(34), "{:?}", delay(0.95));

    let echo = Probe::new(b.host(), a.host(), a.lan().host);
    lab.site("a")?.link("wan0")?.set_shape(back, back)?;
    let report = echo.echo([1, 2, 700, 1_471, 1_472, 1_473, 4_000], ms(1_000))?;
    assert_eq!(
        (report.echoed.len(), report.missing.len(), report.wrong),
        (7, 0, 0)
    );
    Ok(())
}

#[test]
fn a_capture_finds_what_is_there_and_nothing_else() -> Result<()> {
    const MARKER: &[u8] = b"seven withies in a bundle";
    let _turn = turn();
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(20_000_000, ms(2)))]).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "wan0"))?;
    let (provider, device) = a.link("wan0")?.provider();
    let inner = (a.lan().host, b.lan().host);
    let capture = CapturePlan::new()
        .needle(Needle::bytes("marker", MARKER))
        .needle(Needle::bytes("absent", b"nobody ever sends this"))
        .needle(Needle::addresses(inner.0, inner.1))
        .keep(5)
        .start(provider, device)?;
    let volume = Volume::Bytes(1_000_000);
    let report = Transfer::new(a.host(), b.host(), b.lan().host, volume)
        .marker(MARKER)
        .run()?;
    assert!(report.contents_equal());
    ping(a.host(), b.lan().host, 56, true, ms(2_000))?;

    // A forged packet goes where it is told to, and no further than the gateway's stack.
    let (gateway_mac, provider_mac) = a.link("wan0")?.macs();
    let mut forged = Ipv4Fields::new([192, 0, 2, 99].into(), a.link("wan0")?.address(), 50);
    forged.identification = 0xabcd;
    let frame = ethernet(provider_mac, gateway_mac, &ipv4(&forged, &[0x5a; 40]));
    inject(provider, device, [frame.as_slice()])?;

    let tally = capture.finish()?;
    assert_eq!(tally.missed, 0);
    // 1,000,000 bytes are 691 segments, with a marker in each.
    assert!(tally.found("marker") >= Some(690), "{tally:?}");
    assert_eq!(tally.found("absent"), Some(0));
    assert!(tally.found(&format!("{} > {}", inner.0, inner.1)) >= Some(690));
    assert!(tally.pairs[&inner] >= 690);
    assert_eq!((tally.protocols[&50], tally.fragments), (1, 0));
    assert_eq!((tally.icmp[&(8, 0)], tally.icmp[&(0, 0)]), (1, 1));
    assert_eq!(tally.kept.len(), 5);
    Ok(())
}
