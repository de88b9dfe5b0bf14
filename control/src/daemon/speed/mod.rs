//! `withy speedtest`: what a tunnel, or an IVC alone, carries each way under load.
//!
//! This side sends filler, or asks the other to, and pings: the answers tell how much has come through by the receiver's count, and
//! how long packets take meanwhile.

mod figures;

use std::{collections::BTreeMap, ops::Range, time::Duration};

use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::{Instant, timeout_at},
};

use self::figures::Answers;
use super::pulse::{self, Pinger};
use crate::{
    api::{ping::PingedIvc, protocol::Response, speed::Direction},
    bundle::IvcId,
    liveness::{Answer, Echo, Fate},
    load::{Reply, Target},
};

/// For how long it is to be measured, at least and at most, in seconds.
const SECONDS: (u16, u16) = (3, 20);
/// How often is pinged.
const PING: Duration = Duration::from_millis(100);
/// For how long, before there is load.
const IDLE: Duration = Duration::from_millis(500);
/// What is not looked at: the time in which the rates of links are found out, unless it is measured for less than thrice as long.
const START: Duration = Duration::from_secs(3);
/// How long the other side may take to say whether it sends load.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is measured.
pub(super) struct Plan {
    /// What is loaded at a time, with the IVCs that this is about.
    pub(super) parts: Vec<(Target, Vec<(IvcId, PingedIvc)>)>,
    /// Which ways.
    pub(super) directions: Vec<Direction>,
    /// For how long each, in seconds.
    pub(super) seconds: u16,
}

/// Measures one way after the other; what comes of it comes by the channel, which ends with it.
///
/// # Errors
///
/// It is to take too long, or too short a time.
pub(super) fn start(pinger: Pinger, plan: Plan) -> Result<mpsc::Receiver<Response>, String> {
    let (least, most) = SECONDS;
    if !(least..=most).contains(&plan.seconds) {
        return Err(format!("a speedtest takes {least} to {most} seconds"));
    }
    let (told, reader) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = told.closed() => {}
            () = run(&pinger, &plan, &told) => {}
        }
    });
    Ok(reader)
}

async fn run(pinger: &Pinger, plan: &Plan, told: &mpsc::Sender<Response>) {
    for direction in &plan.directions {
        for (target, ivcs) in &plan.parts {
            let time = Duration::from_secs(plan.seconds.into());
            let test = Test {
                pinger,
                ivcs,
                echoes: pinger.echoes(),
                answers: BTreeMap::new(),
            };
            let outcome = test.run(*direction, target, time).await;
            let failed = outcome.is_err();
            // Where the caller has gone, this ends soon, too.
            let _ = told.send(outcome.unwrap_or_else(Response::Failed)).await;
            if failed {
                return;
            }
        }
    }
}

/// Ends the load, however the test ends.
struct Loading<'a>(&'a Pinger);

impl<'a> Loading<'a> {
    fn begin(
        pinger: &'a Pinger,
        direction: Direction,
        target: &Target,
        time: Range<Duration>,
    ) -> Result<Self, String> {
        let mut loads = pinger.loads();
        let begun = match direction {
            Direction::Down => loads.want(target.clone(), time.end, time.start),
            Direction::Up => loads.send(target.clone(), time.end, time.start),
        };
        begun.map_err(|busy| busy.to_string())?;
        Ok(Self(pinger))
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.loads().end();
    }
}

/// One way of one part.
struct Test<'a> {
    pinger: &'a Pinger,
    ivcs: &'a [(IvcId, PingedIvc)],
    echoes: Receiver<Echo>,
    answers: BTreeMap<IvcId, Answers>,
}

impl Test<'_> {
    async fn run(
        mut self,
        direction: Direction,
        target: &Target,
        time: Duration,
    ) -> Result<Response, String> {
        self.ping(IDLE, |answers| &mut answers.idle, || Ok(()))
            .await?;
        if self.answers.is_empty() {
            return Err("nothing comes back over any IVC".to_owned());
        }
        let now = pulse::now();
        let until = now + time;
        let _loading = Loading::begin(self.pinger, direction, target, now..until)?;
        let pinger = self.pinger;
        let sent = || match (direction, pinger.loads().reply()) {
            (Direction::Down, Some(Reply::Busy)) => {
                Err("the other gateway is busy with another speedtest".to_owned())
            }
            (Direction::Down, None) if pulse::now() > now + PATIENCE => Err(
                "the other gateway does not answer: its version may have no speedtest".to_owned(),
            ),
            _ => Ok(()),
        };
        let skipped = START.min(time / 3);
        self.ping(skipped, |answers| &mut answers.early, sent)
            .await?;
        self.ping(
            time.saturating_sub(skipped),
            |answers| &mut answers.loaded,
            sent,
        )
        .await?;
        let speed = figures::speed(direction, self.ivcs, &self.answers);
        Ok(Response::Speed(Box::new(speed)))
    }

    /// Pings for a time, as long as all is well, and puts the answers where they belong.
    async fn ping(
        &mut self,
        time: Duration,
        place: fn(&mut Answers) -> &mut Vec<Answer>,
        well: impl Fn() -> Result<(), String>,
    ) -> Result<(), String> {
        let ids: Vec<_> = self.ivcs.iter().map(|(id, _)| id.clone()).collect();
        let end = Instant::now() + time;
        let mut next = Instant::now();
        while next < end {
            self.pinger.ping(&ids);
            next += PING;
            self.listen(next.min(end), &ids, place).await;
            well()?;
        }
        Ok(())
    }

    async fn listen(
        &mut self,
        until: Instant,
        ids: &[IvcId],
        place: fn(&mut Answers) -> &mut Vec<Answer>,
    ) {
        while let Ok(echo) = timeout_at(until, self.echoes.recv()).await {
            match echo {
                Ok(Echo {
                    id,
                    fate: Fate::Answered(answer),
                    ..
                }) if ids.contains(&id) => {
                    place(self.answers.entry(id).or_default()).push(answer);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}
