//! Pings at regular times, and what becomes of them. Sans-IO: times come with the events.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    api::ping::{Pinged, PingedIvc},
    bundle::IvcId,
    liveness::{Answer, Echo, Fate},
};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How often is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// How many times in all; without end if that is not said.
    pub(super) count: Option<u32>,
    /// The time between two.
    pub(super) interval: Duration,
}

/// The pings of somebody.
#[derive(Debug)]
pub(super) struct Run {
    pace: Pace,
    ivcs: BTreeMap<IvcId, Ivc>,
    /// The number of the last, and when the next is due; none if there is none.
    number: u32,
    next: Option<Duration>,
}

#[derive(Debug)]
struct Ivc {
    shown: PingedIvc,
    awaited: VecDeque<Awaited>,
}

/// A ping of which nothing has been told yet.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    number: u32,
    since: Duration,
    /// The number of the message that it is, once that has been sent.
    message: Option<u32>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Due {
    /// The IVCs to ping.
    pub(super) ping: Vec<IvcId>,
    /// What is to be told.
    pub(super) told: Vec<Pinged>,
}

impl Run {
    /// Begins with the first at `now`.
    pub(super) fn new(
        pace: Pace,
        ivcs: impl IntoIterator<Item = (IvcId, PingedIvc)>,
        now: Duration,
    ) -> Self {
        let ivc = |shown| Ivc {
            shown,
            awaited: VecDeque::new(),
        };
        let ivcs = ivcs.into_iter();
        Self {
            pace,
            ivcs: ivcs.map(|(id, shown)| (id, ivc(shown))).collect(),
            number: 0,
            next: (pace.count != Some(0)).then_some(now),
        }
    }

    /// Says what is to be done now.
    pub(super) fn poll(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        for ivc in self.ivcs.values_mut() {
            while let Some(late) = ivc
                .awaited
                .pop_front_if(|first| now >= first.since + PATIENCE)
            {
                due.told.push(ivc.tell(&late, None));
            }
        }
        if self.next.is_none_or(|next| now < next) {
            return due;
        }
        self.number += 1;
        let more = self.pace.count.is_none_or(|count| self.number < count);
        self.next = more.then_some(now + self.pace.interval);
        for (id, ivc) in &mut self.ivcs {
            ivc.awaited.push_back(Awaited {
                number: self.number,
                since: now,
                message: None,
            });
            due.ping.push(id.clone());
        }
        due
    }

    /// Takes in what has become of a ping, which may be another's; returns what is to be told.
    pub(super) fn take(&mut self, echo: &Echo) -> Option<Pinged> {
        let ivc = self.ivcs.get_mut(&echo.id)?;
        match echo.fate {
            Fate::Sent => {
                let mut unsent = ivc.awaited.iter_mut().filter(|ping| ping.message.is_none());
                unsent.next()?.message = Some(echo.number);
                None
            }
            Fate::Answered(answer) => {
                let is = |ping: &Awaited| ping.message == Some(echo.number);
                let place = ivc.awaited.iter().position(is)?;
                let ping = ivc.awaited.remove(place)?;
                Some(ivc.tell(&ping, Some(answer)))
            }
        }
    }

    /// When there is something to do again, unless an answer comes before; none once all is told.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let late = self.ivcs.values().filter_map(|ivc| ivc.awaited.front());
        late.map(|ping| ping.since + PATIENCE)
            .chain(self.next)
            .min()
    }
}

impl Ivc {
    fn tell(&self, ping: &Awaited, answer: Option<Answer>) -> Pinged {
        let ways = answer.and_then(|answer| answer.ways);
        Pinged {
            number: ping.number,
            ivc: self.shown.clone(),
            sent: ping.message.is_some(),
            rtt_seconds: answer.map(|answer| answer.trip.as_secs_f64()),
            out_seconds: ways.map(|ways| seconds(ways.out)),
            back_seconds: ways.map(|ways| seconds(ways.back)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::{Counts, Ways};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
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

    fn echo(link: &str, number: u32, fate: Fate) -> Echo {
        let id = ivc(link).0;
        Echo { id, number, fate }
    }

    fn answered(trip: u64) -> Fate {
        Fate::Answered(Answer {
            trip: ms(trip),
            ways: Some(Ways {
                out: 3_000_000,
                back: -1_000_000,
            }),
            counts: Counts::default(),
        })
    }

    fn run(count: Option<u32>) -> Run {
        let pace = Pace {
            count,
            interval: ms(1000),
        };
        Run::new(pace, ["dsl", "lte"].map(ivc), ms(0))
    }

    #[test]
    fn each_round_pings_all_and_every_ping_has_one_fate() {
        let mut run = run(Some(2));
        assert_eq!(run.deadline(), Some(ms(0)));
        let both: Vec<_> = ["dsl", "lte"].map(|link| ivc(link).0).into();
        assert_eq!(run.poll(ms(0)).ping, both);
        assert_eq!(run.poll(ms(1)), Due::default());
        assert_eq!(run.take(&echo("dsl", 70, Fate::Sent)), None);
        let told = run.take(&echo("dsl", 70, answered(25))).unwrap();
        assert_eq!((told.number, told.rtt_seconds), (1, Some(0.025)));
        assert_eq!(
            (told.out_seconds, told.back_seconds),
            (Some(0.003), Some(-0.001))
        );
        assert_eq!(run.take(&echo("dsl", 70, answered(25))), None);
        assert_eq!(run.deadline(), Some(ms(1000)));

        assert_eq!(run.poll(ms(1000)).ping, both);
        run.take(&echo("dsl", 71, Fate::Sent));
        assert_eq!(run.deadline(), Some(PATIENCE));
        let late = run.poll(PATIENCE).told;
        assert_eq!(late.len(), 1);
        assert_eq!(
            (&*late[0].ivc.link, late[0].number, late[0].sent),
            ("lte", 1, false)
        );
        let late = run.poll(ms(1000) + PATIENCE).told;
        let fates: Vec<_> = late
            .iter()
            .map(|ping| (&*ping.ivc.link, ping.number, ping.sent))
            .collect();
        assert_eq!(fates, [("dsl", 2, true), ("lte", 2, false)]);
        assert_eq!(run.deadline(), None);
        // Too late is as good as never.
        assert_eq!(run.take(&echo("dsl", 71, answered(9000))), None);
    }

    #[test]
    fn others_pings_are_others() {
        let mut run = run(None);
        assert_eq!(run.take(&echo("dsl", 1, Fate::Sent)), None);
        assert_eq!(run.take(&echo("dsl", 1, answered(5))), None);
        run.poll(ms(0));
        assert_eq!(run.take(&echo("cable", 2, answered(5))), None);
        for second in 1..100 {
            assert_eq!(run.poll(ms(second * 1000)).ping.len(), 2);
        }
    }
}
