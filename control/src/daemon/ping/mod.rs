//! `withy ping`: the time over each IVC of a tunnel, there and back.

mod run;

use std::{future::pending, time::Duration};

use tokio::sync::{broadcast::error::RecvError, mpsc};

use self::run::{Pace, Run};
use super::pulse::{self, Pinger};
use crate::{
    api::{ping::PingedIvc, protocol::Response},
    bundle::IvcId,
};

/// The shortest and the longest time between two pings.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_mins(1));
/// How much may be told before somebody has read it.
const UNREAD: usize = 64;

/// Pings IVCs, as often as is asked for and somebody listens; what becomes of the pings comes by the channel, which ends with them.
///
/// # Errors
///
/// They are to be pinged too often, or too seldom.
pub(super) fn start(
    pinger: Pinger,
    ivcs: Vec<(IvcId, PingedIvc)>,
    count: Option<u32>,
    interval: Duration,
) -> Result<mpsc::Receiver<Response>, String> {
    let (least, most) = INTERVALS;
    if !(least..=most).contains(&interval) {
        let text = humantime::format_duration;
        let (least, most) = (text(least), text(most));
        return Err(format!("the interval is from {least} to {most}"));
    }
    let (told, reader) = mpsc::channel(UNREAD);
    tokio::spawn(run(pinger, ivcs, Pace { count, interval }, told));
    Ok(reader)
}

async fn run(
    pinger: Pinger,
    ivcs: Vec<(IvcId, PingedIvc)>,
    pace: Pace,
    told: mpsc::Sender<Response>,
) {
    let mut echoes = pinger.echoes();
    let mut run = Run::new(pace, ivcs, pulse::now());
    while let Some(deadline) = run.deadline() {
        let left = deadline.saturating_sub(pulse::now());
        let news = tokio::select! {
            () = told.closed() => return,
            echo = echoes.recv() => match echo {
                Ok(echo) => run.take(&echo).into_iter().collect(),
                // What was missed is taken for lost.
                Err(RecvError::Lagged(_)) => Vec::new(),
                // Who tells lives as long as the daemon.
                Err(RecvError::Closed) => pending().await,
            },
            () = tokio::time::sleep(left) => {
                let due = run.poll(pulse::now());
                if !due.ping.is_empty() {
                    pinger.ping(&due.ping);
                }
                due.told
            }
        };
        for ping in news {
            if told.send(Response::Pinged(Box::new(ping))).await.is_err() {
                return;
            }
        }
    }
}
