//! Paths of every size, with probes that are lost.

use proptest::prelude::*;

use super::*;

const PATIENCE_HERE: Duration = Duration::from_millis(50);

/// A path that carries packets up to a size, and loses some of those that fit.
struct Path {
    carries: u16,
    /// Whether the next probes are lost; the last but one in a row never is.
    losses: Vec<bool>,
    in_a_row: u32,
    now: Duration,
    sent: usize,
}

impl Path {
    fn new(carries: u16, losses: &[bool]) -> Self {
        Self {
            carries,
            losses: losses.to_vec(),
            in_a_row: 0,
            now: Duration::from_secs(1),
            sent: 0,
        }
    }

    fn loses(&mut self) -> bool {
        let lost = self.losses.pop().unwrap_or(false) && self.in_a_row + 1 < TRIES;
        self.in_a_row = if lost { self.in_a_row + 1 } else { 0 };
        lost
    }

    /// Lets a search go on until a moment; returns the largest size in use meanwhile.
    fn run(&mut self, search: &mut Search, until: Duration) -> u16 {
        let mut largest = search.used;
        loop {
            let due = search.due();
            if due > until {
                self.now = until;
                return largest;
            }
            self.now = self.now.max(due);
            if let Some((size, number)) = search.poll(self.now, PATIENCE_HERE) {
                self.sent += 1;
                assert!((LEAST..=search.most).contains(&size), "{size}");
                if size <= self.carries && !self.loses() {
                    self.now += Duration::from_millis(20);
                    search.acknowledged(number, false, self.now);
                }
            }
            largest = largest.max(search.used);
        }
    }

    fn settle(&mut self, search: &mut Search) -> u16 {
        self.run(search, self.now + Duration::from_mins(2))
    }
}

proptest! {
    /// Whatever the path carries is found, with a bounded number of probes, and nothing larger is ever used, except for what
    /// is assumed until the first answers.
    #[test]
    fn the_path_mtu_is_found(
        carries in LEAST..=9216,
        most in LEAST..=9216_u16,
        losses in prop::collection::vec(any::<bool>(), 0..40),
    ) {
        let mut search = Search::new(most, None, 7);
        let mut path = Path::new(carries, &losses);
        let largest = path.settle(&mut search);
        let found = carries.min(most);
        prop_assert_eq!(search.used, found);
        prop_assert!(search.is_settled());
        prop_assert!(path.sent <= 120, "{} probes", path.sent);
        prop_assert_eq!(largest, found.max(BASE.min(most)));
    }

    /// A path that becomes narrower, or wider, is followed.
    #[test]
    fn changes_are_followed(before in LEAST..=9216, after in LEAST..=9216, losses in prop::collection::vec(any::<bool>(), 0..40)) {
        let mut search = Search::new(9216, None, 7);
        let mut path = Path::new(before, &losses);
        path.settle(&mut search);
        prop_assert_eq!(search.used, before);
        path.carries = after;
        let narrower = path.now + Duration::from_mins(1);
        path.run(&mut search, narrower);
        prop_assert!(search.used <= after.max(before));
        if after < before {
            prop_assert_eq!(search.used, after);
        } else {
            let wider = path.now + Duration::from_mins(12);
            path.run(&mut search, wider);
            prop_assert_eq!(search.used, after);
        }
    }

    /// What an earlier run found stays in use while it is confirmed.
    #[test]
    fn a_restart_does_not_flap(carries in LEAST..=9216) {
        let mut search = Search::new(9216, Some(carries), 7);
        let mut path = Path::new(carries, &[]);
        let mut smallest = search.used;
        while !search.is_settled() {
            path.now = path.now.max(search.due());
            if let Some((size, number)) = search.poll(path.now, PATIENCE_HERE)
                && size <= carries
            {
                search.acknowledged(number, false, path.now);
            }
            smallest = smallest.min(search.used);
        }
        prop_assert_eq!((smallest, search.used), (carries, carries));
    }
}

#[test]
fn every_path_mtu_is_found() {
    for carries in LEAST..=9216 {
        let mut search = Search::new(9216, None, 1);
        let mut path = Path::new(carries, &[]);
        path.settle(&mut search);
        assert_eq!(search.used, carries);
    }
}

#[test]
fn a_settled_search_is_quiet() {
    let mut search = Search::new(1500, None, 1);
    let mut path = Path::new(1492, &[]);
    path.settle(&mut search);
    assert_eq!(search.used, 1492);
    println!("{} probes", path.sent);
    path.sent = 0;
    let day = path.now + Duration::from_hours(1);
    path.run(&mut search, day);
    // One each half minute, and one byte more each ten minutes.
    assert!(path.sent <= 2 * 60 + 6 * 4 + 1, "{}", path.sent);
}

#[test]
fn other_interfaces_bring_another_size() {
    let mut search = Search::new(1500, None, 1);
    let mut path = Path::new(9000, &[]);
    path.settle(&mut search);
    search.set_most(1400);
    assert_eq!(search.used, 1400);
    path.settle(&mut search);
    search.set_most(9216);
    assert_eq!(search.used, 1400);
    path.settle(&mut search);
    assert_eq!(search.used, 9000);
}
