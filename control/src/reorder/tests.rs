//! Links in virtual time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BOUND: Duration = Duration::from_millis(60);

const ON: Terms = terms(Resequence::On, None);

const fn terms(policy: Resequence, resend: Option<RoundTrip>) -> Terms {
    Terms {
        policy,
        ivcs: 1,
        resend,
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn other(number: u64, slot: usize, time: Duration) -> Arrival {
    Arrival {
        number,
        slot,
        time,
        kin: Kin {
            flow: 0,
            bytes: None,
        },
        waits: true,
    }
}

/// What is handed on while packets arrive, with the time.
fn play(arrivals: &[Arrival]) -> (Vec<(u64, Duration)>, Figures) {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    for arrival in arrivals {
        while let Some(deadline) = resequencer
            .deadline()
            .filter(|deadline| *deadline <= arrival.time)
        {
            resequencer.expire(deadline, |number| out.push((number, deadline)));
        }
        resequencer.push(ON, *arrival, arrival.number, |number| {
            out.push((number, arrival.time));
        });
    }
    while let Some(deadline) = resequencer.deadline() {
        resequencer.expire(deadline, |number| out.push((number, deadline)));
    }
    (out, resequencer.figures())
}

fn numbers(out: &[(u64, Duration)]) -> Vec<u64> {
    out.iter().map(|(number, _)| *number).collect()
}

#[test]
fn what_overtakes_waits_for_what_it_overtook() {
    let arrivals = [
        other(6, 1, ms(0)),
        other(7, 0, ms(0)),
        other(9, 0, ms(1)),
        other(10, 0, ms(2)),
        other(8, 1, ms(9)),
    ];
    let (out, figures) = play(&arrivals);
    assert_eq!(numbers(&out), [6, 7, 8, 9, 10]);
    assert_eq!(out[4].1, ms(9));
    assert_eq!((figures.late, figures.held, figures.lost), (1, 2, 0));
}

/// Nobody waits for what goes apart, it waits for nobody, and how late it comes means nothing.
#[test]
fn what_goes_apart_holds_up_nobody() {
    let mut resequencer = Resequencer::new(BOUND);
    let mut out = Vec::new();
    for number in 100..2_000_u64 {
        // Every fourth goes by a link that is as late as a thousand packets take.
        if number % 4 == 3 {
            let low = u32::try_from(number).unwrap();
            resequencer.part(0, std::iter::once(low), |number| out.push(number));
        } else {
            resequencer.push(ON, other(number, 0, ms(number)), number, |number| {
                out.push(number);
            });
        }
        if let Some(late) = number
            .checked_sub(1_001)
            .filter(|late| *late > 100 && late % 4 == 3)
        {
            let arrival = other(late, 1, ms(number));
            resequencer.push(ON, arrival, late, |number| out.push(number));
        }
    }
    let together: Vec<_> = (100..2_000).filter(|number| number % 4 != 3).collect();
    let apart: Vec<_> = (103..=998).filter(|number| number % 4 == 3).collect();
    let (late, in_order): (Vec<_>, Vec<_>) = out.iter().partition(|number| *number % 4 == 3);
    assert_eq!((in_order, late), (together, apart.clone()));
    let figures = resequencer.figures();
    assert_eq!(
        (figures.apart, figures.late, figures.held, figures.lost),
        (apart.len() as u64, 0, 0, 0)
    );
}

#[test]
fn what_must_not_wait_overtakes_and_is_waited_for() {
    let urgent = |number, slot, time| Arrival {
        waits: false,
        ..other(number, slot, time)
    };
    let arrivals = [
        other(0, 1, ms(0)),
        other(2, 0, ms(1)),
        urgent(4, 0, ms(2)),
        other(5, 0, ms(3)),
        // Late, as all that the slower link carries.
        urgent(1, 1, ms(8)),
        other(3, 1, ms(9)),
    ];
    let (out, _) = play(&arrivals);
    let expected = [(0, 0), (4, 2), (1, 8), (2, 8), (3, 9), (5, 9)];
    assert_eq!(out, expected.map(|(number, at)| (number, ms(at))));
}

#[test]
fn a_gap_is_given_up_when_every_live_ivc_has_passed_it() {
    let arrivals = [
        other(0, 0, ms(0)),
        other(1, 1, ms(0)),
        // Number 2 is lost.
        other(3, 0, ms(5)),
        other(4, 0, ms(6)),
        other(5, 1, ms(7)),
        // It comes all the same: by an IVC that does not keep the order.
        other(2, 1, ms(8)),
    ];
    let (out, figures) = play(&arrivals);
    assert_eq!(out[2..], [(3, ms(7)), (4, ms(7)), (5, ms(7)), (2, ms(8))]);
    assert_eq!((figures.lost, figures.too_late, figures.expired), (1, 1, 0));
}

#[test]
fn on_a_single_ivc_nothing_waits() {
    let arrivals = [other(0, 3, ms(0)), other(2, 3, ms(1)), other(9, 3, ms(2))];
    let (out, figures) = play(&arrivals);
    assert_eq!(out, [(0, ms(0)), (2, ms(1)), (9, ms(2))]);
    assert_eq!((figures.held, figures.lost), (0, 7));
}

#[test]
fn nothing_waits_for_an_ivc_that_is_silent_longer_than_the_bound() {
    let (out, figures) = play(&[
        other(0, 0, ms(0)),
        other(1, 1, ms(0)),
        other(3, 0, ms(5)),
        other(4, 0, ms(30)),
    ]);
    assert_eq!(out[2..], [(3, ms(5) + BOUND), (4, ms(5) + BOUND)]);
    assert_eq!(figures.expired, 1);
    let (out, _) = play(&[other(0, 0, ms(0)), other(1, 1, ms(0)), other(3, 0, ms(150))]);
    assert_eq!(
        out[2],
        (3, ms(150)),
        "an IVC that carries nothing is not waited for"
    );
}

#[test]
fn what_an_ivc_brings_after_a_rest_is_waited_for() {
    let mut resequencer = Resequencer::new(BOUND);
    let terms = Terms { ivcs: 2, ..ON };
    let mut out = Vec::new();
    let mut push = |arrival: Arrival, out: &mut Vec<u64>| {
        resequencer.push(terms, arrival, arrival.number, |number| {
            out.push(number);
        });
    };
    push(other(0, 1, ms(0)), &mut out);
    push(other(1, 0, ms(0)), &mut out);
    // The second IVC has been quiet when it is given number 302; number 305 is lost.
    for number in 2..302 {
        push(other(number, 0, ms(number)), &mut out);
    }
    push(other(303, 0, ms(303)), &mut out);
    assert_eq!(out.len(), 302);
    push(other(302, 1, ms(306)), &mut out);
    assert_eq!(out[302..], [302, 303]);
    push(other(304, 0, ms(306)), &mut out);
    for number in 306..500 {
        push(other(number, 0, ms(number)), &mut out);
    }
    // Until it has been quiet for long enough again, it may have been given number 305.
    let expected: Vec<_> = (0..305).chain(306..500).collect();
    push(other(500, 0, ms(500)), &mut out);
    assert_eq!(out[..expected.len()], expected);
}

#[test]
fn a_loss_of_one_connection_holds_up_no_other() {
    let segment = |number, slot, time, flow, first: u32| Arrival {
        number,
        slot,
        time: ms(time),
        kin: Kin {
            flow,
            bytes: Some((first, first + 100)),
        },
        waits: true,
    };
    let arrivals = [
        segment(0, 0, 0, 1, 1_000),
        segment(1, 1, 0, 2, 5_000),
        // Number 2, the first connection's, is lost.
        segment(3, 0, 2, 2, 5_100),
        segment(4, 0, 3, 1, 1_200),
        segment(5, 0, 4, 2, 5_200),
        segment(6, 1, 8, 2, 5_300),
    ];
    let (out, figures) = play(&arrivals);
    assert_eq!(out[2..], [(3, ms(2)), (5, ms(4)), (4, ms(8)), (6, ms(8))]);
    assert_eq!((figures.held, figures.lost), (1, 1));
}

#[test]
fn what_is_sent_again_does_not_wait() {
    let segment = |number, slot, time, first: u32| Arrival {
        number,
        slot,
        time: ms(time),
        kin: Kin {
            flow: 1,
            bytes: Some((first, first.wrapping_add(100))),
        },
        waits: true,
    };
    let arrivals = [
        segment(0, 0, 0, u32::MAX - 49),
        segment(1, 1, 0, 50),
        segment(3, 0, 2, u32::MAX - 49),
        segment(4, 0, 3, 150),
        // And what waits goes when what it wants is there.
        segment(6, 0, 4, 350),
        segment(5, 0, 5, 250),
    ];
    let (out, _) = play(&arrivals);
    assert_eq!(numbers(&out), [0, 1, 3, 4, 5, 6]);
    assert_eq!(out[2].1, ms(2));
}

#[test]
fn as_many_wait_as_may() {
    let first = [other(0, 0, ms(0)), other(1, 1, ms(0))];
    let rest = (3..)
        .take(MOST_HELD + 5)
        .map(|number| other(number, 0, ms(1)));
    let arrivals: Vec<_> = first.into_iter().chain(rest).collect();
    let (out, figures) = play(&arrivals);
    assert_eq!(out.len(), MOST_HELD + 7);
    assert_eq!(out.last().unwrap().1, ms(1));
    assert_eq!(figures.expired, 1);
}

/// One packet of a flow, and what became of it on its way.
#[derive(Clone, Debug)]
struct Sent {
    flow: u32,
    slot: usize,
    lost: bool,
    jitter: u64,
}

fn sent() -> impl Strategy<Value = Sent> {
    (0_u32..3, 0_usize..4, prop::bool::weighted(0.03), 0_u64..15).prop_map(
        |(flow, slot, lost, jitter)| Sent {
            flow,
            slot,
            lost,
            jitter,
        },
    )
}

/// Packets sent one each millisecond over links of these latencies, as they arrive: jitter does not reorder on a link.
fn arrivals(sent: &[Sent], latencies: &[u64; 4], tcp: bool) -> Vec<Arrival> {
    let mut bytes = [0_u32; 3];
    let mut link = [0; 4];
    let mut arrivals = Vec::new();
    for (number, packet) in (0_u64..).zip(sent) {
        // None is quiet for long.
        let slot = if number % 2 == 0 {
            packet.slot
        } else {
            usize::try_from(number / 2 % 4).unwrap()
        };
        let first = bytes[packet.flow as usize];
        bytes[packet.flow as usize] += 100;
        let at = (number + latencies[slot] + packet.jitter).max(link[slot]);
        link[slot] = at;
        let kin = Kin {
            flow: packet.flow,
            bytes: tcp.then_some((first, first + 100)),
        };
        let arrival = Arrival {
            number,
            slot,
            time: ms(at),
            kin,
            waits: true,
        };
        if !packet.lost {
            arrivals.push(arrival);
        }
    }
    arrivals.sort_by_key(|arrival| arrival.time);
    arrivals
}

proptest! {
    #[test]
    fn links_that_keep_their_order_deliver_all_in_order(
        sent in prop::collection::vec(sent(), 1..400), latencies in prop::array::uniform4(0_u64..25), tcp in any::<bool>(),
    ) {
        let arrivals = arrivals(&sent, &latencies, tcp);
        let (out, figures) = play(&arrivals);
        prop_assert_eq!(out.len(), arrivals.len());
        let came: BTreeMap<_, _> = arrivals.iter().map(|arrival| (arrival.number, arrival.time)).collect();
        let mut last = [None; 3];
        for (number, time) in out {
            // Nothing waits longer than it may.
            let waited = time.saturating_sub(came[&number]);
            prop_assert!(waited <= BOUND, "{number} waited {waited:?}");
            let flow = sent[usize::try_from(number).unwrap()].flow as usize;
            // Skew and jitter are within the bound, so that no flow is out of order; who has not been heard yet is not waited for.
            if came[&number] > ms(60) {
                prop_assert!(last[flow] < Some(number), "{number} after {:?}", last[flow]);
                last[flow] = Some(number);
            }
        }
        prop_assert_eq!(figures.in_order + figures.late, arrivals.len() as u64);
    }
}

#[test]
fn order_is_kept_once_it_is_disturbed() {
    // Two links, of which one is slower by more than anybody knows: every other packet comes 10 places late.
    let arrivals: Vec<_> = (0..400)
        .map(|number| {
            let slot = usize::from(number % 2 == 1);
            other(number, slot, ms(number + 10 * (number % 2)))
        })
        .collect();
    let mut sorted = arrivals;
    sorted.sort_by_key(|arrival| arrival.time);
    for (policy, kept) in [
        (Resequence::Off, false),
        (Resequence::On, true),
        (Resequence::Auto, true),
    ] {
        let mut resequencer = Resequencer::new(BOUND);
        let mut out = Vec::new();
        for arrival in &sorted {
            resequencer.push(terms(policy, None), *arrival, arrival.number, |number| {
                out.push(number);
            });
        }
        resequencer.flush(|number| out.push(number));
        assert_eq!(out.len(), 400);
        assert_eq!(out[200..].is_sorted(), kept, "{policy}");
    }
}

mod resend;
