//! Figures as they come in, run by run.

use std::borrow::Cow;

use anyhow::Result;

use super::report::{Measurement, Unit};

/// What is measured, and in which words and unit it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metric {
    /// The last part of the name.
    pub(super) name: Cow<'static, str>,
    /// The head of its column.
    pub(super) title: Cow<'static, str>,
    /// What it is counted in.
    pub(super) unit: Unit,
}

/// Figures by their names, in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Row>);

#[derive(Debug)]
struct Row {
    name: String,
    metric: Metric,
    runs: Vec<f64>,
}

impl Figures {
    /// Notes a figure of a system under a profile.
    pub(super) fn add(&mut self, (profile, system): (&str, &str), metric: &Metric, value: f64) {
        let name = format!("{profile}/{system}/{}", metric.name);
        match self.0.iter_mut().find(|row| row.name == name) {
            Some(row) => row.runs.push(value),
            None => self.0.push(Row {
                name,
                metric: metric.clone(),
                runs: vec![value],
            }),
        }
    }

    /// Sums the runs up.
    pub(super) fn measurements(self) -> Result<Vec<Measurement>> {
        let measure = |row: Row| {
            let Metric { title, unit, .. } = row.metric;
            Measurement::new(row.name, title, unit, row.runs)
        };
        self.0.into_iter().map(measure).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_together_under_one_name() {
        let metric = Metric {
            name: "goodput".into(),
            title: "goodput".into(),
            unit: Unit::MegabitsPerSecond,
        };
        let mut figures = Figures::default();
        for (system, value) in [("x", 1.0), ("y", 9.0), ("x", 3.0)] {
            figures.add(("p", system), &metric, value);
        }
        let measured = figures.measurements().unwrap();
        let told: Vec<_> = measured
            .iter()
            .map(|row| (row.name.as_ref(), row.value, row.runs.len()))
            .collect();
        assert_eq!(told, [("p/x/goodput", 2.0, 2), ("p/y/goodput", 9.0, 1)]);
    }
}
