//! Links drawn at random: not each set of links is as good as it could be, but most are, and none is bad.

use super::{BEGIN, Model, Outcome, SECOND, flooded, link::MS, sum};

/// Which links are drawn.
const SEED: u64 = 20;
const SETS: usize = 60;

fn link(random: &mut fastrand::Rng) -> Model {
    // From 1 to 200 Mbit/s, evenly in decades.
    let mbit = 10_f64.powf(2.3 * random.f64());
    let latency = random.u64(2..150) * if random.f64() < 0.1 { 2 } else { 1 };
    let loss = if random.bool() {
        0.0
    } else {
        0.02 * random.f64()
    };
    let jitter = if random.f64() < 0.75 {
        0
    } else {
        random.u64(1..15)
    };
    Model::new(mbit, latency)
        .loss(loss)
        .wander(jitter.min(latency))
}

/// By how many milliseconds packets waited longer than they should on some link: until the slowest link's packets arrive those of the
/// others may wait; and 125 ms, and what jitter adds.
fn excess(outcome: &Outcome, models: &[Model]) -> u64 {
    let latency = |model: &Model| model.latency / MS;
    let slowest = models.iter().map(latency).max().unwrap_or(0);
    let excess = models.iter().enumerate().map(|(link, model)| {
        let bound = slowest - latency(model) + 125 + 60 + 50;
        outcome
            .waits(link, 6 * SECOND, 12 * SECOND)
            .saturating_sub(bound)
    });
    excess.max().unwrap_or(0)
}

#[test]
fn links_at_random_carry_their_sum_within_bounds() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut shares = Vec::new();
    let mut late = 0;
    for _ in 0..SETS {
        let models: Vec<_> = (0..random.usize(2..=8))
            .map(|_| link(&mut random))
            .collect();
        let outcome = flooded(false, &models, 1.3 * sum(&models, 0), 12);
        assert!(outcome.reached(BEGIN, 12 * SECOND).is_some(), "{models:?}");
        shares.push(outcome.part(6 * SECOND, 12 * SECOND));
        late += usize::from(excess(&outcome, &models) > 0);
    }
    shares.sort_by(f64::total_cmp);
    let at = |part: usize| shares[(SETS - 1) * part / 100];
    println!(
        "least {:.3}, a tenth below {:.3}, half below {:.3}; {late} queue too long",
        at(0),
        at(10),
        at(50)
    );
    assert!(at(0) > 0.75 && at(10) > 0.9 && at(50) > 0.96);
    assert!(late <= SETS / 20);
}
