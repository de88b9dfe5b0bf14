//! Plays a script on the links of a lab.

use std::time::Duration;

use anyhow::Result;

use super::plan::{Act, Blow};
use crate::{
    lab::{Lab, LinkSpec},
    shape::Shape,
};

/// A change of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Index in the transfer's links.
    pub(super) link: usize,
    /// What has befallen it; nothing any more if it is as it was.
    pub(super) blow: Option<Blow>,
}

/// How far an act is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Before,
    During,
    After,
}

/// The acts of a script, and the links that they happen to.
pub(super) struct Stage<'a> {
    lab: &'a Lab,
    links: &'a [LinkSpec],
    acts: Vec<(Act, Progress)>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(lab: &'a Lab, links: &'a [LinkSpec], acts: &[Act]) -> Self {
        let before = |act: &Act| (*act, Progress::Before);
        Self {
            lab,
            links,
            acts: acts.iter().map(before).collect(),
        }
    }

    /// Does what is due by a time, counted from the transfer's start; returns what has changed.
    pub(super) fn play(&mut self, at: Duration) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for number in 0..self.acts.len() {
            let (act, progress) = self.acts[number];
            let next = progress.next(act, at);
            if next == progress {
                continue;
            }
            self.acts[number].1 = next;
            let blow = (next == Progress::During).then_some(act.blow);
            match act.blow {
                Blow::Cut => self.cut(act.link, blow.is_some())?,
                Blow::Halved => self.halve(act.link, blow.is_some())?,
            }
            changes.push(Change {
                link: act.link,
                blow,
            });
        }
        Ok(changes)
    }

    fn cut(&self, link: usize, away: bool) -> Result<()> {
        let link = self.lab.site("a")?.link(&self.links[link].name)?;
        if away { link.cut() } else { link.restore() }
    }

    fn halve(&self, link: usize, halved: bool) -> Result<()> {
        let spec = &self.links[link];
        let shape = |whole: Shape| Shape {
            rate_bps: if halved {
                whole.rate_bps / 2
            } else {
                whole.rate_bps
            },
            ..whole
        };
        let link = self.lab.site("a")?.link(&spec.name)?;
        link.set_shape(shape(spec.up), shape(spec.down))
    }
}

impl Progress {
    /// How far an act is at a time. It is never skipped, however late that is.
    fn next(self, act: Act, at: Duration) -> Self {
        match self {
            Self::Before if at >= act.during.from => Self::During,
            Self::During if at >= act.during.to => Self::After,
            same => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Progress::{After, Before, During},
        *,
    };
    use crate::demo::plan::Span;

    #[test]
    fn an_act_begins_and_ends_once_however_late() {
        let seconds = Duration::from_secs;
        let act = Act {
            blow: Blow::Cut,
            link: 0,
            during: Span {
                from: seconds(2),
                to: seconds(4),
            },
        };
        let mut progress = Before;
        let mut seen = Vec::new();
        for at in [1, 2, 3, 4, 5] {
            progress = progress.next(act, seconds(at));
            seen.push(progress);
        }
        assert_eq!(seen, [Before, During, During, After, After]);
        assert_eq!(Before.next(act, seconds(9)), During);
    }
}
