//! Traffic that shows whether anything was lost, and for how long nothing came.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::PATIENCE;
use crate::{
    scenarios::stage::Stage,
    traffic::{
        stream::{Stream, StreamPlan},
        tcp::{Running, Volume},
    },
    wait::wait_until,
};

/// Datagrams both ways and a stream.
pub(in crate::scenarios) struct Load {
    datagrams: Vec<(&'static str, Stream)>,
    stream: Running,
}

impl Load {
    pub(in crate::scenarios) fn start(stage: &Stage<'_>) -> Result<Self> {
        let plan = StreamPlan {
            size: 200,
            per_second: 100,
            duration: Duration::from_mins(5),
        };
        let datagrams = ["a", "b"]
            .into_iter()
            .map(|from| Ok((from, stage.probe(from)?.stream(plan)?)));
        let stream = stage
            .transfer("a", Volume::Time(plan.duration))?
            .stall_limit(Duration::from_mins(1))
            .pace(1_000_000);
        Ok(Self {
            datagrams: datagrams.collect::<Result<_>>()?,
            stream: stream.start()?,
        })
    }

    /// Ends the load; returns the longest gap and how many datagrams were lost.
    pub(in crate::scenarios) fn finish(self, what: &str) -> Result<(Duration, u64)> {
        self.stream.stop();
        self.datagrams
            .iter()
            .for_each(|(_, datagrams)| datagrams.stop());
        let (mut gap, mut lost) = (Duration::ZERO, 0);
        for (from, datagrams) in self.datagrams {
            let report = datagrams.finish()?;
            println!(
                "    {what}: {} of {} datagrams from {from} lost, longest gap {:?}",
                report.lost(),
                report.sent,
                report.longest_gap
            );
            gap = gap.max(report.longest_gap);
            lost += report.lost();
        }
        ensure!(
            self.stream.finish()?.contents_equal(),
            "{what}: the contents differ"
        );
        Ok((gap, lost))
    }
}

/// What a gateway's log says of a connection or an IVC that is gone. (On a machine that stalls, keepalives are late: that
/// an IVC falls silent for a moment says nothing.)
const TROUBLE: [&str; 2] = ["is lost", "dropped:"];

/// Sees to it that a running tunnel is left in peace: no datagram is lost where there are any, and
/// neither a connection nor an IVC is gone.
pub(in crate::scenarios) struct Witness {
    load: Load,
    troubles: usize,
}

impl Witness {
    /// Begins once nothing has gone wrong for a second: what has just come up may have its moments yet.
    pub(in crate::scenarios) fn start(stage: &Stage<'_>) -> Result<Self> {
        let (mut seen, mut since) = (troubles(stage)?, Instant::now());
        wait_until(PATIENCE, "calm", || {
            let now = troubles(stage)?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            Ok(since.elapsed() >= Duration::from_secs(1))
        })?;
        Ok(Self {
            load: Load::start(stage)?,
            troubles: troubles(stage)?,
        })
    }

    pub(in crate::scenarios) fn finish(self, stage: &Stage<'_>, what: &str) -> Result<()> {
        self.finish_but_for(0, stage, what)
    }

    /// As [`Self::finish`], where so many datagrams may be lost.
    pub(in crate::scenarios) fn finish_but_for(
        self,
        most: u64,
        stage: &Stage<'_>,
        what: &str,
    ) -> Result<()> {
        let (_, lost) = self.load.finish(what)?;
        ensure!(lost <= most, "{what}: {lost} datagrams were lost");
        let troubles = troubles(stage)? - self.troubles;
        ensure!(troubles == 0, "{what}: {troubles} lines tell of trouble");
        Ok(())
    }
}

/// How many lines of the initiator's log tell of trouble. (The responder's tells of others', too.)
fn troubles(stage: &Stage<'_>) -> Result<usize> {
    let log = stage.a.log()?;
    let trouble = |line: &&str| TROUBLE.iter().any(|word| line.contains(word));
    Ok(log.lines().filter(trouble).count())
}
