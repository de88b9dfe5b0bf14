use super::{
    super::{Place, Places, Term},
    *,
};

const CARRIES: f64 = 1_000_000.0;

type Key = &'static str;
type Loaded = BTreeMap<Explored<Key>, u32>;

/// A near IVC, and others of which nothing is known yet.
fn plan(unknown: &[Key]) -> Plan<Key> {
    let others = ["lte", "sat"];
    let ivcs = ["near", "cable"].into_iter().chain(others);
    Plan {
        carries: CARRIES,
        ivcs: ivcs.map(|key| (key, Term::default())).collect(),
        unknown: unknown.iter().copied().collect(),
        places: Places {
            bonded: Some(CARRIES),
            others: others.map(|key| (key, Place::default())).into(),
        },
        ..Plan::default()
    }
}

/// When packets are sent: the part of what the near ones carry, from and to when, in milliseconds; and whose turn it is, and what is known.
#[derive(Clone, Copy)]
struct Run {
    part: f64,
    from: u32,
    to: u32,
    count: usize,
    turn: bool,
    sized: bool,
}

const BUSY: Run = Run {
    part: 1.0,
    from: 0,
    to: 20_000,
    count: 4,
    turn: true,
    sized: false,
};
const IDLE: Run = Run {
    part: 0.0,
    sized: true,
    ..BUSY
};

/// Has them carry that; returns for how long what was loaded, in milliseconds.
fn run(
    explorer: &mut Explorer<Key>,
    how: Run,
    plan: impl Fn(Option<&Explored<Key>>) -> Plan<Key>,
    free: impl Fn(&Key) -> bool,
) -> Loaded {
    let mut loaded = BTreeMap::new();
    let mut now = None;
    for at in (how.from..how.to).step_by(25) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let bytes = (f64::from(at) / 1000.0 * CARRIES * how.part) as u64;
        let time = Duration::from_millis(at.into());
        let sent = [("near", bytes), ("cable", 5), ("sat", 7), ("lte", 9)];
        let present = |bytes| Present {
            at: time,
            bytes,
            ahead: 0,
            leaves: time,
        };
        let ground = Ground {
            presents: &sent.map(|(key, bytes)| (key, present(bytes))).into(),
            plan: &plan(now.as_ref()),
            count: how.count,
            turn: how.turn,
        };
        let careful = explorer.is_careful();
        now = explorer
            .follow(&ground, &free, |_| how.sized, time)
            .cloned();
        assert!(now != Some(Explored::Bonded) || careful);
        assert!(now.is_none() || explorer.is_busy());
        if let Some(key) = now.clone() {
            *loaded.entry(key).or_default() += 25;
        }
    }
    loaded
}

fn those(keys: &[Key], ms: u32) -> (Explored<Key>, u32) {
    (Explored::Those(keys.iter().copied().collect()), ms)
}

#[test]
fn what_is_unknown_is_found_out_once_the_others_are_full() {
    let mut explorer = Explorer::default();
    let unknown = |_: Option<&_>| plan(&["lte", "sat"]);
    let some = Run {
        part: 0.3,
        to: 10_000,
        ..BUSY
    };
    assert_eq!(run(&mut explorer, some, unknown, |_| true), [].into());
    let waits = Run {
        from: 10_000,
        turn: false,
        ..BUSY
    };
    assert_eq!(run(&mut explorer, waits, unknown, |_| true), [].into());
    // All together, and not again for long.
    let full = Run {
        from: 20_000,
        to: 60_000,
        ..BUSY
    };
    let loaded = run(&mut explorer, full, unknown, |_| true);
    assert_eq!(loaded, [those(&["lte", "sat"], 4_000)].into());
    let later = Run {
        from: 610_000,
        to: 660_000,
        ..BUSY
    };
    assert_eq!(run(&mut explorer, later, unknown, |_| true).len(), 1);
}

#[test]
fn it_ends_when_it_is_known_what_the_ivc_carries() {
    let mut explorer = Explorer::default();
    let found = |loaded: Option<&_>| plan(loaded.map_or(&["sat"], |_| &[]));
    let loaded = run(&mut explorer, BUSY, found, |_| true);
    assert_eq!(loaded, [those(&["sat"], 525)].into());
}

#[test]
fn nobody_pays_for_it() {
    let mut explorer = Explorer::default();
    let unknown = |_: Option<&_>| plan(&["lte", "sat"]);
    let loaded = run(&mut explorer, BUSY, unknown, |key| *key != "lte");
    assert_eq!(loaded, [those(&["sat"], 4_000)].into());
    let mut explorer = Explorer::default();
    let unknown = |_: Option<&_>| plan(&["near", "cable", "lte", "sat"]);
    let loaded = run(&mut explorer, IDLE, unknown, |key| {
        *key != "lte" && *key != "cable"
    });
    assert_eq!(loaded, [those(&["sat"], 4_000)].into());
}

#[test]
fn everything_is_loaded_before_anybody_sends() {
    let all = ["near", "cable", "lte", "sat"];
    let loaded = |how| {
        let mut explorer = Explorer::default();
        run(&mut explorer, how, |_: Option<&_>| plan(&all), |_| true)
    };
    let is_everything = |loaded: &Loaded| {
        let is = |(what, ms): (_, u32)| {
            // Times are not exact.
            let found = loaded.get(&what);
            found.is_some_and(|found| found.abs_diff(ms) <= 25)
        };
        is((Explored::Bonded, 3_000)) && is(those(&["lte", "sat"], 4_000))
    };
    assert!(is_everything(&loaded(IDLE)));
    // Who does not answer is waited for, but not for ever.
    let at = |to| Run {
        count: 5,
        to,
        ..IDLE
    };
    assert_eq!(loaded(at(2_900)), [].into());
    assert!(is_everything(&loaded(at(20_000))));
    // Others are being loaded, or the sizes of paths looked for.
    let waits = Run {
        turn: false,
        ..IDLE
    };
    assert_eq!(loaded(waits), [].into());
    let looks = Run {
        sized: false,
        ..IDLE
    };
    assert_eq!(loaded(looks), [].into());
    // Somebody sends already.
    let sends = Run {
        part: 0.3,
        from: 1_000,
        ..IDLE
    };
    assert_eq!(loaded(sends), [].into());
}

#[test]
fn nothing_is_loaded_that_is_known() {
    let mut explorer = Explorer::default();
    let loaded = run(&mut explorer, IDLE, |_| plan(&[]), |_| true);
    assert_eq!(loaded, [].into());
    // One is known at once.
    let mut explorer = Explorer::default();
    let found = |loaded: Option<&_>| plan(loaded.map_or(&["cable"], |_| &[]));
    let loaded = run(&mut explorer, IDLE, found, |_| true);
    assert_eq!(loaded, [(Explored::Bonded, 525)].into());
}

#[test]
fn who_is_not_quick_enough_waits_for_another_turn() {
    let mut explorer = Explorer::default();
    let mut follow = |ms, turn| {
        let ground = Ground {
            presents: &BTreeMap::new(),
            plan: &plan(&["near"]),
            count: 4,
            turn,
        };
        let time = Duration::from_millis(ms);
        let loaded = explorer.follow(&ground, |_| true, |_| true, time).cloned();
        (loaded, explorer.is_careful())
    };
    assert_eq!(follow(0, true), (None, false));
    assert_eq!(follow(400, true), (None, true));
    assert_eq!(follow(425, false), (None, false));
    assert_eq!(follow(900, true), (None, true));
    assert_eq!(follow(925, true), (Some(Explored::Bonded), true));
}
