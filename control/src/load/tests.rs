use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(tunnel: u8, link: &str) -> IvcId {
    let remote = [198, 51, 100, 1].into();
    ([10, 255, 0, tunnel].into(), link.parse().unwrap(), remote)
}

fn target(tunnel: u8, only: Option<&str>) -> Target {
    Target {
        tunnel: [10, 255, 0, tunnel].into(),
        only: only.map(|link| BTreeSet::from([id(tunnel, link)])),
    }
}

/// What is loaded.
fn loaded(loads: &mut Loads, now: Duration) -> Option<Target> {
    loads.sending(now).map(|sending| sending.target)
}

#[test]
fn load_is_sent_as_long_as_it_is_wanted_and_little_longer() {
    let (mut here, mut there) = (Loads::default(), Loads::default());
    here.want(target(1, None), ms(5000), ms(0)).unwrap();
    let mut spans = Vec::new();
    for now in (0..9000).step_by(100).map(ms) {
        for link in ["dsl", "lte"] {
            there.heard(&id(1, link), here.say(&id(1, link), now), now);
            here.heard(&id(1, link), there.say(&id(1, link), now), now);
        }
        if loaded(&mut there, now).is_some() {
            spans.push(now);
        }
    }
    assert_eq!(
        (spans.first(), spans.last()),
        (Some(&ms(0)), Some(&ms(4900)))
    );
    assert_eq!(here.reply(), Some(Reply::Loading));
    // Who wants it has gone without a word.
    let word = Word(900);
    there.heard(&id(1, "dsl"), word, ms(10_000));
    assert_eq!(loaded(&mut there, ms(10_899)), Some(target(1, None)));
    assert_eq!(loaded(&mut there, ms(10_900)), None);
}

#[test]
fn no_wish_is_too_long() {
    let mut loads = Loads::default();
    let endless = Word(TIME);
    let mut sent = 0;
    for now in (0..55_000).step_by(100).map(ms) {
        loads.heard(&id(1, "dsl"), endless, now);
        sent += u32::from(loaded(&mut loads, now).is_some());
    }
    assert_eq!(sent, 300, "30 s and no more, then half a minute of rest");
    assert_eq!(
        loads.say(&id(1, "dsl"), ms(55_000)).reply(),
        Some(Reply::Busy)
    );
    loads.heard(&id(1, "dsl"), endless, ms(61_000));
    assert!(loaded(&mut loads, ms(61_500)).is_some());
    assert!(
        loaded(&mut loads, ms(62_000)).is_none(),
        "it was a second's"
    );
}

#[test]
fn one_ivc_alone_is_loaded_alone() {
    let (mut here, mut there) = (Loads::default(), Loads::default());
    here.want(target(1, Some("lte")), ms(500), ms(0)).unwrap();
    assert_eq!(here.say(&id(1, "dsl"), ms(0)), Word(0));
    let word = here.say(&id(1, "lte"), ms(0));
    there.heard(&id(1, "lte"), word, ms(0));
    assert_eq!(loaded(&mut there, ms(1)), Some(target(1, Some("lte"))));
    assert_eq!(there.say(&id(1, "dsl"), ms(1)), Word(0));
    assert_eq!(
        there.say(&id(1, "lte"), ms(1)).reply(),
        Some(Reply::Loading)
    );
}

#[test]
fn one_load_at_a_time() {
    let mut loads = Loads::default();
    loads.send(target(1, None), ms(1000), ms(0)).unwrap();
    assert_eq!(loads.send(target(2, None), ms(1000), ms(5)), Err(Busy));
    assert_eq!(loads.want(target(2, None), ms(1000), ms(5)), Err(Busy));
    loads.heard(&id(2, "dsl"), Word(1000), ms(10));
    assert_eq!(loaded(&mut loads, ms(10)), Some(target(1, None)));
    assert_eq!(loads.say(&id(2, "dsl"), ms(10)).reply(), Some(Reply::Busy));
    assert_eq!(loads.say(&id(1, "dsl"), ms(10)).reply(), None);
    loads.end();
    assert_eq!(loaded(&mut loads, ms(20)), None);
    // What the other side wants is not this side's to end.
    loads.heard(&id(2, "dsl"), Word(1000), ms(20));
    loads.end();
    assert_eq!(loaded(&mut loads, ms(21)), Some(target(2, None)));
    loads.want(target(1, None), ms(2000), ms(1500)).unwrap();
    // While load is awaited none is sent.
    loads.heard(&id(2, "dsl"), Word(1000), ms(1600));
    assert_eq!(loaded(&mut loads, ms(1600)), None);
    assert_eq!(loads.reply(), None);
}
