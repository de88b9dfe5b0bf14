//! What the display shows, computed from what the transfers report.

use std::{collections::VecDeque, time::Duration};

use super::{
    crossing::Sample,
    plan::Blow,
    stage::Change,
    units::{bits_per_second, share},
};
use crate::lab::LinkSpec;

/// Time over which a rate is measured, and of one bar of the history.
const SECOND: Duration = Duration::from_secs(1);

/// A link's line.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) link: LinkSpec,
    /// Bits a second of contents that it carries at present.
    pub(super) rate_bps: f64,
    /// What has befallen the link.
    pub(super) blow: Option<Blow>,
    /// Rates of the seconds gone by.
    pub(super) history: Vec<f64>,
}

/// One or more transfers, and the links that they use.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) title: &'static str,
    /// What the sum of the links is called.
    pub(super) sum_name: &'static str,
    pub(super) duration: Duration,
    pub(super) elapsed: Duration,
    pub(super) rows: Vec<Row>,
    /// Bytes of contents that have arrived.
    pub(super) contents: u64,
    /// What happened, in a few words.
    pub(super) notes: Vec<String>,
    lanes: Vec<Lane>,
}

/// A transfer's part of the board.
#[derive(Clone, Debug)]
struct Lane {
    /// Index of its first row.
    first: usize,
    /// The last second's reports, oldest first.
    recent: VecDeque<Sample>,
    /// The last report that went into the history.
    noted: Sample,
}

impl Board {
    /// A board for transfers over these links each, side by side.
    pub(super) fn new(
        title: &'static str,
        sum_name: &'static str,
        duration: Duration,
        transfers: &[Vec<LinkSpec>],
    ) -> Self {
        let mut first = 0;
        let lanes = transfers
            .iter()
            .map(|links| {
                let zero = Sample {
                    links: vec![0; links.len()],
                    ..Sample::default()
                };
                let recent = VecDeque::from([zero.clone()]);
                let lane = Lane {
                    first,
                    recent,
                    noted: zero,
                };
                first += links.len();
                lane
            })
            .collect();
        let rows = transfers
            .iter()
            .flatten()
            .map(|link| Row {
                link: link.clone(),
                rate_bps: 0.0,
                blow: None,
                history: Vec::new(),
            })
            .collect();
        Self {
            title,
            sum_name,
            duration,
            elapsed: Duration::ZERO,
            rows,
            contents: 0,
            notes: Vec::new(),
            lanes,
        }
    }

    /// Bits a second of contents that all links carry at present.
    pub(super) fn sum_bps(&self) -> f64 {
        self.rows.iter().map(|row| row.rate_bps).sum()
    }

    /// The rates of the sum in the seconds gone by.
    pub(super) fn sum_history(&self) -> Vec<f64> {
        let seconds = self
            .rows
            .iter()
            .map(|row| row.history.len())
            .min()
            .unwrap_or(0);
        (0..seconds)
            .map(|second| self.rows.iter().map(|row| row.history[second]).sum())
            .collect()
    }

    /// Takes in what a transfer reports.
    pub(super) fn update(&mut self, transfer: usize, sample: Sample) {
        let lane = &mut self.lanes[transfer];
        self.elapsed = self.elapsed.max(sample.at).min(self.duration);
        if let Some(last) = lane.recent.back() {
            self.contents += sample.contents - last.contents;
        }
        lane.recent.push_back(sample.clone());
        while lane.recent.len() > 2 && lane.recent[1].at + SECOND <= sample.at {
            lane.recent.pop_front();
        }
        let rows = &mut self.rows[lane.first..lane.first + sample.links.len()];
        if let Some(earlier) = lane.recent.front() {
            for (row, rate) in rows.iter_mut().zip(rates(earlier, &sample)) {
                row.rate_bps = if row.is_cut() { 0.0 } else { rate };
            }
        }
        if lane.noted.at + SECOND <= sample.at {
            for (row, rate) in rows.iter_mut().zip(rates(&lane.noted, &sample)) {
                row.history.push(rate);
            }
            lane.noted = sample;
        }
    }

    /// Notes what has become of a link of a transfer.
    pub(super) fn changed(&mut self, transfer: usize, change: Change) {
        let row = &mut self.rows[self.lanes[transfer].first + change.link];
        let what = match (row.blow, change.blow) {
            (_, Some(Blow::Cut)) => "is cut; the others carry on",
            (_, Some(Blow::Halved)) => "has half of its rate; its share follows",
            (Some(Blow::Halved), None) => "has its rate again; its share follows",
            (_, None) => "is back, and gets its share again",
        };
        row.blow = change.blow;
        if row.is_cut() {
            row.rate_bps = 0.0;
        }
        let note = format!("{:>3} s  {} {what}", self.elapsed.as_secs(), row.link.name);
        self.notes.push(note);
    }
}

impl Row {
    pub(super) fn is_cut(&self) -> bool {
        self.blow == Some(Blow::Cut)
    }

    /// What the link can carry at present, in bits a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate of a few Mbit/s")]
    pub(super) fn capacity_bps(&self) -> f64 {
        let whole = self.link.up.rate_bps as f64;
        match self.blow {
            Some(Blow::Halved) => whole / 2.0,
            Some(Blow::Cut) | None => whole,
        }
    }
}

/// What each link carried of the contents between two reports, in bits a second: headers and
/// encryption are in the links' bytes, so these only tell how the contents were shared out.
fn rates(earlier: &Sample, later: &Sample) -> Vec<f64> {
    let time = later.at.saturating_sub(earlier.at);
    let contents = bits_per_second(later.contents - earlier.contents, time);
    let links: Vec<u64> = later
        .links
        .iter()
        .zip(&earlier.links)
        .map(|(later, earlier)| later - earlier)
        .collect();
    let all = links.iter().sum();
    links
        .iter()
        .map(|&bytes| contents * share(bytes, all))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::demo::figures::tests::links;

    fn sample(quarters: u32, contents: u64, links: &[u64]) -> Sample {
        Sample {
            at: Duration::from_millis(250) * quarters,
            contents,
            links: links.to_vec(),
        }
    }

    /// A board after `seconds` of a transfer in which the links carry 2.5, 5, 1.7 and 0.8 Mbit/s.
    pub(in crate::demo) fn example(seconds: u32) -> Board {
        let mut board = Board::new("One file", "tunnel", Duration::from_secs(30), &[links()]);
        for quarter in 1..=seconds * 4 {
            let n = u64::from(quarter);
            let links = [85_000, 170_000, 57_800, 27_200].map(|bytes| bytes * n);
            board.update(0, sample(quarter, 312_500 * n, &links));
        }
        board
    }

    #[test]
    fn contents_are_shared_out_by_what_the_links_brought() {
        let board = example(3);
        let rates: Vec<_> = board.rows.iter().map(|row| row.rate_bps.round()).collect();
        assert_eq!(rates, [2.5e6, 5.0e6, 1.7e6, 0.8e6]);
        assert!((board.sum_bps() - 10e6).abs() < 1.0);
        assert_eq!(board.contents, 12 * 312_500);
        assert_eq!(board.elapsed, Duration::from_secs(3));
        assert_eq!(board.sum_history().len(), 3);
    }

    #[test]
    fn transfers_side_by_side_have_rows_of_their_own() {
        let each: Vec<Vec<LinkSpec>> = links().into_iter().map(|link| vec![link]).collect();
        let mut board = Board::new("Alone", "sum", Duration::from_secs(10), &each);
        board.update(2, sample(4, 250_000, &[270_000]));
        board.update(0, sample(4, 125_000, &[135_000]));
        let rates: Vec<_> = board.rows.iter().map(|row| row.rate_bps.round()).collect();
        assert_eq!(rates, [1e6, 0.0, 2e6, 0.0]);
        assert_eq!(board.contents, 375_000);
    }

    #[test]
    fn a_cut_link_carries_nothing_from_that_moment() {
        let mut board = example(3);
        let change = |blow| Change { link: 0, blow };
        board.changed(0, change(Some(Blow::Cut)));
        assert!(board.rows[0].rate_bps.abs() < f64::EPSILON);
        assert!((board.sum_bps() - 7.5e6).abs() < 1.0);
        board.changed(0, change(None));
        assert_eq!(board.notes.len(), 2);
        assert!(
            board.notes[0].starts_with("  3 s  dsl is cut"),
            "{:?}",
            board.notes
        );
    }

    #[test]
    fn a_halved_link_carries_on() {
        let mut board = example(3);
        let change = |blow| Change { link: 1, blow };
        board.changed(0, change(Some(Blow::Halved)));
        let row = &board.rows[1];
        assert!(row.rate_bps > 0.0 && (row.capacity_bps() - 3e6).abs() < 1.0);
        board.changed(0, change(None));
        assert!((board.rows[1].capacity_bps() - 6e6).abs() < 1.0);
        assert_eq!(
            board.notes,
            [
                "  3 s  cable has half of its rate; its share follows",
                "  3 s  cable has its rate again; its share follows"
            ]
        );
    }
}
