//! Any links.

use proptest::prelude::*;

use super::{BEGIN, Model, SECOND, flooded, link::MS, sum};

prop_compose! {
    fn link()(
        mbit in 0.0_f64..2.3,
        latency in 2_u64..150,
        far in prop::bool::weighted(0.1),
        loss in prop_oneof![Just(0.0), 0.0..0.02],
        jitter in prop_oneof![3 => Just(0_u64), 1 => 1_u64..15],
    ) -> Model {
        // From 1 to 200 Mbit/s, evenly in decades.
        let mbit = 10_f64.powf(mbit);
        let latency = if far { 2 * latency } else { latency };
        Model::new(mbit, latency).loss(loss).wander(jitter.min(latency))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_links_carry_their_sum_within_bounds(models in prop::collection::vec(link(), 2..=8)) {
        let load = 1.3 * sum(&models, 0);
        let outcome = flooded(&models, load, 12);
        let carried = outcome.part(6 * SECOND, 12 * SECOND);
        let latencies = || models.iter().map(|model| model.latency / MS);
        let slowest = latencies().max().unwrap_or(0);
        prop_assert!(carried > 0.85, "{carried}");
        for (link, latency) in latencies().enumerate() {
            // Until the slowest link's packets arrive, those of the others may wait; and 125 ms, and what jitter adds.
            let bound = slowest - latency + 125 + 60 + 50;
            let waits = outcome.waits(link, 6 * SECOND, 12 * SECOND);
            prop_assert!(waits <= bound, "link {link}: {waits} ms, not {bound}");
        }
        prop_assert!(outcome.reached(BEGIN, 12 * SECOND).is_some());
    }
}
