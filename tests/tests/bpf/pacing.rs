//! When pieces leave: `bundle_tx` gives them times that a link's queue keeps.

use rustix::time::{ClockId, clock_gettime};
use withy_common::maps::{Split, Svc};

use crate::{
    packets::Frame,
    rig::{ENDPOINTS, REDIRECT, Rig},
};

/// The links' rate, so slow that a burst is over before its second packet may leave: a thousand bytes take 80 ms.
const RATE: u64 = 100_000;
/// The time that an IP packet takes on such a link, in nanoseconds, with its Ethernet header.
const fn cost(len: u64) -> u64 {
    (len + 14) * 80_000
}

/// What makes the tunnel another.
type Change = fn(&mut Svc);

/// Two links that are paced, or as `change` has it.
fn rig(change: Change) -> Rig {
    let mut rig = Rig::new(&[(RATE, 0), (RATE, 0)], Split::Mtu);
    rig.change(|svc| {
        svc.horizon_ns = 10_000_000_000;
        for ivc in &mut svc.ivcs[..2] {
            ivc.spacing = ivc.byte_time;
        }
        change(svc);
    });
    rig
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// Sends ESP packets of these IP lengths; returns when each is to leave.
fn departures(rig: &Rig, lengths: &[usize]) -> Vec<u64> {
    let run = |len: &usize| {
        let packet = Frame::esp(ENDPOINTS.0, ENDPOINTS.1, len - 20).bytes();
        let outcome = rig.run("bundle_tx", &packet);
        assert_eq!(outcome.verdict, REDIRECT);
        outcome.departure
    };
    lengths.iter().map(run).collect()
}

/// Both links are free, so the first two leave at once, one by each; then one follows the other by the time that this takes.
#[test]
fn a_burst_is_spaced_out_link_by_link() {
    let rig = rig(|_| {});
    let before = now();
    let found = departures(&rig, &[1000, 1000, 500, 1500, 40, 40]);
    let after = now();
    for first in &found[..2] {
        assert!((before..=after).contains(first), "{found:?} after {before}");
    }
    // The link with the shorter packet takes the next; the times of one link are exact.
    let follows = |of: usize, len, by: usize| {
        let behind = found[by].wrapping_sub(found[of]);
        assert_eq!(behind, cost(len), "{by} behind {of} in {found:?}");
    };
    follows(0, 1000, 2);
    follows(1, 1000, 3);
    follows(2, 500, 4);
    follows(4, 40, 5);
}

/// The kernel's clone has its time noted where it is met again (`clones`), and the last piece comes right behind it.
#[test]
fn pieces_of_one_packet_follow_each_other() {
    let rig = rig(|svc| {
        svc.ivcs[1].mtu = 0;
        *svc = Svc {
            until_ns: svc.until_ns,
            ..Svc::new(svc.local, svc.index, Split::Mtu, svc.horizon_ns, svc.ivcs)
        };
    });
    let before = now();
    let found = departures(&rig, &[1520, 1000]);
    let after = now();
    // 752 bytes and a header leave first.
    let first = found[0] - cost(772);
    assert!(
        (before..=after).contains(&first),
        "{found:?} after {before}"
    );
    assert_eq!(found[1] - found[0], cost(768));
}

#[test]
fn without_a_rate_that_somebody_vouches_for_all_leave_at_once() {
    let cases: [(&str, Change); 2] = [
        ("links that are not paced", |svc| {
            for ivc in &mut svc.ivcs {
                ivc.spacing = 0;
            }
        }),
        ("no controller", |svc| svc.until_ns = 1),
    ];
    for (name, change) in cases {
        let rig = rig(change);
        assert_eq!(departures(&rig, &[1000, 1000, 1520]), [0; 3], "{name}");
        assert_eq!(rig.tables.state(3).unwrap().departures[0], 0, "{name}");
    }
}
