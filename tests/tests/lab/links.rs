//! How links behave and what befalls them.

use anyhow::Result;
use withy_tests::{
    lab::{Happening, Lab, LinkSpec, Site, SiteSpec},
    shape::Shape,
    traffic::icmp::{Ping, path_mtu, ping},
    wait::wait_until,
};

use crate::{fastest, ms, turn};

#[test]
fn hosts_reach_each_other_over_the_chosen_link_only() -> Result<()> {
    let _turn = turn();
    let links = [
        LinkSpec::new("wan0", Shape::new(10_000_000, ms(5))),
        LinkSpec::new("wan1", Shape::new(10_000_000, ms(20))),
    ];
    let lab = Lab::paired(&links).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    for (name, latency) in [("wan0", ms(5)), ("wan1", ms(20))] {
        let _plain = lab.plainly_over(("a", name), ("b", name))?;
        let rtt = fastest(a.host(), b.lan().host)?;
        assert!(
            rtt >= latency * 2 && rtt < latency * 2 + ms(8),
            "{name}: {rtt:?}"
        );
    }
    let unrouted = ping(a.host(), b.lan().host, 56, false, ms(300))?;
    assert!(!matches!(unrouted, Ping::Reply { .. }), "{unrouted:?}");
    Ok(())
}

#[test]
fn a_routed_internet_joins_any_link_with_any_other() -> Result<()> {
    let _turn = turn();
    let link = |name, latency| LinkSpec::new(name, Shape::new(10_000_000, latency));
    let lab = Lab::routed(&[
        SiteSpec::new("paris", &[link("dsl", ms(4)), link("lte", ms(12))]),
        SiteSpec::new("oslo", &[link("cable", ms(6))]),
        SiteSpec::new("rome", &[link("fibre", ms(1))]),
    ])
    .build()?;
    let oslo = lab.site("oslo")?;
    let _plain = lab.plainly_over(("paris", "lte"), ("oslo", "cable"))?;
    let host = lab.site("paris")?.host();
    let rtt = fastest(host, oslo.lan().host)?;
    assert!(rtt >= ms(36) && rtt < ms(46), "{rtt:?}");

    for target in lab.sites()[1..].iter().flat_map(Site::links) {
        let gateway = lab.site("paris")?.gateway();
        assert!(matches!(
            ping(gateway, target.address(), 56, true, ms(2_000))?,
            Ping::Reply { .. }
        ));
    }
    Ok(())
}

#[test]
fn a_link_survives_what_befalls_it() -> Result<()> {
    let _turn = turn();
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(10_000_000, ms(2)))]).build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let (ours, theirs) = (a.link("wan0")?, b.link("wan0")?);
    let reached = || {
        Ok(matches!(
            ping(a.gateway(), theirs.address(), 56, true, ms(500))?,
            Ping::Reply { .. }
        ))
    };
    let lost = || -> Result<bool> {
        // With its interface down a gateway knows no way; else nothing comes back.
        match ping(a.gateway(), theirs.address(), 56, true, ms(200)) {
            Ok(answer) => Ok(answer == Ping::Timeout),
            Err(_no_route) => Ok(true),
        }
    };
    wait_until(ms(3_000), "the first answer", reached)?;

    ours.cut()?;
    assert!(lost()?);
    ours.restore()?;
    wait_until(ms(3_000), "an answer after the cut", reached)?;

    theirs.blackhole(true)?;
    assert!(lost()?);
    let near = ping(a.gateway(), ours.next_hop(), 56, true, ms(500))?;
    assert!(
        matches!(near, Ping::Reply { .. }),
        "the near router still answers: {near:?}"
    );
    theirs.blackhole(false)?;
    wait_until(ms(3_000), "an answer after the blackhole", reached)?;

    let old = theirs.address();
    assert_ne!(theirs.renumber()?, old);
    wait_until(ms(3_000), "an answer from the new address", reached)?;

    let index = a.gateway().link_index("wan0")?;
    ours.unplug()?;
    assert!(!a.gateway().has_link("wan0")?);
    assert!(lost()?);
    ours.plug()?;
    assert_ne!(a.gateway().link_index("wan0")?, index);
    wait_until(ms(3_000), "an answer after the unplugging", reached)?;

    let slow = Shape::new(10_000_000, ms(40));
    ours.set_shape(slow, slow)?;
    assert!(fastest(a.gateway(), theirs.address())? >= ms(80));
    let events: Vec<_> = lab
        .events()
        .into_iter()
        .map(|event| (event.site, event.what))
        .collect();
    assert_eq!(events.len(), 8);
    assert_eq!(events[0], ("a".to_owned(), Happening::Cut));
    assert_eq!(events[4], ("b".to_owned(), Happening::Renumbered));
    Ok(())
}

#[test]
fn a_narrow_link_says_what_fits() -> Result<()> {
    let _turn = turn();
    let shape = Shape::new(10_000_000, ms(2));
    let lab = Lab::routed(&[
        SiteSpec::new("a", &[LinkSpec::new("wan0", shape)]),
        SiteSpec::new("b", &[LinkSpec::new("ppp", shape).mtu(1_400)]),
    ])
    .build()?;
    let (a, b) = (lab.site("a")?, lab.site("b")?);
    let _plain = lab.plainly_over(("a", "wan0"), ("b", "ppp"))?;
    let answer = |size| ping(a.host(), b.lan().host, size, true, ms(2_000));
    assert!(matches!(answer(1_372)?, Ping::Reply { .. }));
    let Ping::FragNeeded {
        mtu: 1_400,
        from: Some(_),
    } = answer(1_373)?
    else {
        panic!("a router should have refused the packet");
    };
    assert_eq!(path_mtu(a.host(), b.lan().host)?, 1_400);
    assert_eq!(
        answer(1_373)?,
        Ping::FragNeeded {
            mtu: 1_400,
            from: None
        }
    );
    let fragmented = ping(a.host(), b.lan().host, 1_472, false, ms(2_000))?;
    assert!(matches!(fragmented, Ping::Reply { .. }), "{fragmented:?}");
    Ok(())
}
