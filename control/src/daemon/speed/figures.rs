//! What the answers to pings under load come to.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    api::{
        ping::PingedIvc,
        speed::{Direction, Speed, SpeedIvc},
    },
    bundle::IvcId,
    liveness::{Answer, Counted},
};

/// The answers that have come over an IVC.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Before there was load.
    pub(super) idle: Vec<Answer>,
    /// While the rates of links are found out.
    pub(super) early: Vec<Answer>,
    /// When there had been load for a while.
    pub(super) loaded: Vec<Answer>,
}

/// Reads from them what came through one way.
pub(super) fn speed(
    direction: Direction,
    ivcs: &[(IvcId, PingedIvc)],
    answers: &BTreeMap<IvcId, Answers>,
) -> Speed {
    let none = Answers::default();
    let read: Vec<_> = ivcs
        .iter()
        .map(|(id, shown)| read(direction, shown, answers.get(id).unwrap_or(&none)))
        .collect();
    let seconds = read.iter().map(|(_, time)| time.as_secs_f64());
    Speed {
        direction,
        seconds: seconds.fold(0.0, f64::max),
        rate_bps: read.iter().map(|(ivc, _)| ivc.rate_bps).sum(),
        ivcs: read.into_iter().map(|(ivc, _)| ivc).collect(),
    }
}

fn read(direction: Direction, shown: &PingedIvc, answers: &Answers) -> (SpeedIvc, Duration) {
    let (bytes, time) = carried(direction, &answers.loaded).unwrap_or_default();
    let mut trips: Vec<_> = trips(&answers.loaded).collect();
    trips.sort_by(f64::total_cmp);
    let ivc = SpeedIvc {
        ivc: shown.clone(),
        rate_bps: rate(bytes, time),
        loss_ratio: lost(direction, &answers.loaded),
        rtt_idle_seconds: trips_least(&answers.idle),
        rtt_loaded_seconds: trips.get(trips.len() / 2).copied(),
        rtt_max_seconds: trips.last().copied(),
    };
    (ivc, time)
}

fn trips(answers: &[Answer]) -> impl Iterator<Item = f64> {
    answers.iter().map(|answer| answer.trip.as_secs_f64())
}

fn trips_least(answers: &[Answer]) -> Option<f64> {
    trips(answers).reduce(f64::min)
}

/// The bytes that came through between the first answer and the last, and the time between these by the receiver's clock.
fn carried(direction: Direction, answers: &[Answer]) -> Option<(u64, Duration)> {
    let counted = |answer: &Answer| match direction {
        Direction::Down => answer.counts.ours,
        Direction::Up => answer.counts.theirs,
    };
    let mut known = answers
        .iter()
        .map(counted)
        .filter(|count| count.arrived > 0);
    let first = known.next()?;
    let last = known.next_back()?;
    let at = |count: Counted| {
        Duration::from_nanos(count.arrived) + Duration::from_micros(count.lag.into())
    };
    // A receiver that begins to count anew has received nothing that is known of.
    let bytes = last.bytes.checked_sub(first.bytes)?;
    Some((bytes, at(last).checked_sub(at(first))?))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate"
)]
fn rate(bytes: u64, time: Duration) -> u64 {
    if time.is_zero() {
        return 0;
    }
    (bytes as f64 * 8.0 / time.as_secs_f64()) as u64
}

fn lost(direction: Direction, answers: &[Answer]) -> Option<f64> {
    let counts = |answer: &Answer| match direction {
        Direction::Down => answer.counts.heard,
        Direction::Up => answer.counts.sent,
    };
    let (first, last) = (counts(answers.first()?), counts(answers.last()?));
    let sent = last.0.wrapping_sub(first.0);
    let received = last.1.wrapping_sub(first.1).min(sent);
    (sent > 0).then(|| 1.0 - f64::from(received) / f64::from(sent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::Counts;

    /// An answer after `ms`, by when 1000 bytes a millisecond have come from the other side, and 500 there; of its keepalives every tenth
    /// is lost.
    fn answer(ms: u64, trip: u64) -> Answer {
        let counted = |ahead: u64, bytes: u64| Counted {
            arrived: (ahead + ms) * 1_000_000,
            bytes: 7_000_000 + bytes * ms,
            pieces: 0,
            lag: 0,
        };
        let number = u32::try_from(ms / 10).unwrap().wrapping_sub(50);
        Answer {
            trip: Duration::from_millis(trip),
            ways: None,
            counts: Counts {
                theirs: counted(90_000, 500),
                ours: counted(1, 1000),
                sent: (number, number),
                heard: (
                    number,
                    number.wrapping_sub(u32::try_from(ms / 100).unwrap()),
                ),
            },
        }
    }

    fn ivc(link: &str) -> (IvcId, PingedIvc) {
        let remote = [198, 51, 100, 1].into();
        let shown = PingedIvc {
            link: link.to_owned(),
            remote,
            remote_link: None,
        };
        (
            ([10, 255, 0, 2].into(), link.parse().unwrap(), remote),
            shown,
        )
    }

    #[test]
    fn what_came_through_is_what_the_receiver_counted_by_its_own_clock() {
        let dsl = Answers {
            idle: vec![answer(0, 22), answer(100, 20)],
            early: vec![answer(500, 900)],
            loaded: [(1000, 40), (2000, 90), (3000, 45)]
                .map(|(ms, trip)| answer(ms, trip))
                .into(),
        };
        let ivcs = ["dsl", "lte"].map(ivc);
        let answers = [(ivcs[0].0.clone(), dsl)].into();
        let down = speed(Direction::Down, &ivcs, &answers);
        assert_eq!((down.rate_bps, down.seconds), (8_000_000, 2.0));
        let loss = down.ivcs[0].loss_ratio.unwrap();
        assert!((loss - 0.1).abs() < 1e-9, "{loss}");
        let trips = |ivc: &SpeedIvc| {
            (
                ivc.rtt_idle_seconds,
                ivc.rtt_loaded_seconds,
                ivc.rtt_max_seconds,
            )
        };
        assert_eq!(trips(&down.ivcs[0]), (Some(0.02), Some(0.045), Some(0.09)));
        assert_eq!(
            (down.ivcs[1].rate_bps, trips(&down.ivcs[1])),
            (0, (None, None, None))
        );
        let up = speed(Direction::Up, &ivcs, &answers);
        assert_eq!((up.rate_bps, up.ivcs[0].loss_ratio), (4_000_000, Some(0.0)));
    }

    #[test]
    fn a_receiver_that_counts_anew_tells_nothing() {
        let mut anew = answer(2000, 40);
        anew.counts.ours.bytes = 5;
        assert_eq!(carried(Direction::Down, &[answer(1000, 40), anew]), None);
        assert_eq!(carried(Direction::Down, &[answer(1000, 40)]), None);
    }
}
