//! Figures over several runs.

/// Returns the middle of `values`, or the mean of the two in the middle; `None` where there are none.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Returns what a part of `values`, from 0 to 1, does not exceed, between two of them in proportion to their distances; `None`
/// where there are none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index within the list"
)]
pub(super) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let lower = *sorted.get(place.floor() as usize)?;
    let upper = *sorted.get(place.ceil() as usize)?;
    Some(lower + (upper - lower) * place.fract())
}

/// Returns the smallest and the largest of `values`; `None` where there are none.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let smallest = values.iter().copied().min_by(f64::total_cmp)?;
    let largest = values.iter().copied().max_by(f64::total_cmp)?;
    Some((smallest, largest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers_of_runs() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!((median(&[]), range(&[])), (None, None));
    }

    #[test]
    fn quantiles_are_between_values() {
        let of = |part| quantile(&[5.0, 1.0, 2.0, 3.0], part);
        let parts = [0.0, 0.25, 0.5, 0.75, 1.0].map(of);
        assert_eq!(parts, [1.0, 1.75, 2.5, 3.5, 5.0].map(Some));
        assert_eq!(
            (quantile(&[7.0], 0.9), quantile(&[], 0.5)),
            (Some(7.0), None)
        );
    }

    #[test]
    fn one_disturbed_run_does_not_move_the_median() {
        let calm = median(&[10.0, 11.0, 12.0, 13.0, 14.0]);
        assert_eq!(calm, median(&[10.0, 11.0, 12.0, 13.0, 90_000.0]));
    }

    proptest! {
        #[test]
        fn the_median_has_as_many_values_above_as_below(
            values in prop::collection::vec(-1e12_f64..1e12, 1..40),
        ) {
            let middle = median(&values).unwrap();
            let above = values.iter().filter(|value| **value > middle).count();
            let below = values.iter().filter(|value| **value < middle).count();
            prop_assert!(above <= values.len() / 2);
            prop_assert!(below <= values.len() / 2);
            let (smallest, largest) = range(&values).unwrap();
            prop_assert!(values.iter().all(|value| (smallest..=largest).contains(value)));
            prop_assert!((smallest..=largest).contains(&middle));
        }
    }
}
