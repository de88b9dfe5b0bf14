//! Links that stay as they are, under more load than they carry.

use super::{BEGIN, Model, SECOND, flooded, sum};

/// Half as much again as the links carry; after three seconds, what is checked.
fn check(name: &str, models: &[Model], part: f64, queue: u64) {
    let outcome = flooded(false, models, 1.5 * sum(models, 0), 12);
    let reached = outcome.reached(BEGIN, 12 * SECOND);
    let carried = outcome.part(4 * SECOND, 12 * SECOND);
    let waits = outcome.waits_below(99, 5 * SECOND, 12 * SECOND);
    let start = outcome.waits(0, BEGIN, 5 * SECOND);
    let overtaken = outcome.overtaken(5 * SECOND);
    println!(
        "{name:30} 90% after {reached:?} ms, then {carried:.3}, waits {waits} ms, at first {start} ms, overtaken by {overtaken}"
    );
    assert!(
        reached.is_some_and(|reached| reached <= 3000),
        "{name}: {reached:?}"
    );
    assert!(carried >= part, "{name}: {carried}");
    assert!(waits <= queue, "{name}: {waits} ms");
}

#[test]
fn one_link_is_filled_in_three_seconds() {
    for (mbit, latency) in [
        (1.0, 10),
        (2.0, 50),
        (5.0, 10),
        (20.0, 2),
        (20.0, 20),
        (50.0, 60),
        (200.0, 5),
        (200.0, 100),
        (20.0, 300),
        (50.0, 300),
    ] {
        check(
            &format!("{mbit} Mbit/s, {latency} ms"),
            &[Model::new(mbit, latency)],
            0.93,
            if mbit < 3.0 { 200 } else { 75 },
        );
    }
}

#[test]
fn jitter_is_no_queue_and_chance_is_no_rate() {
    let link = Model::new(20.0, 30);
    check("jitter", &[link.clone().jitter(15)], 0.95, 130);
    check("wandering", &[link.clone().wander(15)], 0.95, 150);
    check("loss of 1%", &[link.clone().loss(0.01)], 0.97, 75);
    check("loss of 2%", &[link.clone().loss(0.02)], 0.96, 75);
    check("jitter and loss", &[link.jitter(15).loss(0.02)], 0.93, 130);
    let fast = Model::new(112.0, 81).jitter(15);
    check(
        "fast, far and jitter",
        std::slice::from_ref(&fast),
        0.95,
        130,
    );
    check("that and near", &[Model::new(43.0, 10), fast], 0.95, 130);
}

#[test]
fn several_links_carry_their_sum() {
    let links = |links: &[(f64, u64)]| -> Vec<_> {
        links
            .iter()
            .map(|(mbit, latency)| Model::new(*mbit, *latency))
            .collect()
    };
    check("two alike", &links(&[(20.0, 10), (20.0, 10)]), 0.97, 75);
    check("two unlike", &links(&[(20.0, 20), (8.0, 80)]), 0.97, 150);
    check(
        "four",
        &links(&[(1.0, 5), (2.0, 20), (3.0, 40), (6.0, 15)]),
        0.95,
        150,
    );
    let eight: Vec<_> = (0..8)
        .map(|link| (f64::from(5 << (link % 4)), 10 + 10 * link as u64))
        .collect();
    check("eight", &links(&eight), 0.97, 160);
}

#[test]
fn a_link_that_is_too_slow_to_wait_for_is_told_from_one_that_is_used() {
    let models = [
        Model::new(20.0, 10),
        Model::new(5.0, 60),
        Model::new(0.5, 800),
    ];
    let outcome = flooded(false, &models, 40.0, 12);
    let carried = |link| outcome.rate(link, 6 * SECOND, 12 * SECOND);
    let standing = |link| outcome.world.plan.standing(&link).unwrap();
    for link in [0, 1] {
        assert!(carried(link) > 4.0 && standing(link).bonded);
    }
    assert!(carried(2) < 0.001, "{}", carried(2));
    assert!(!standing(2).bonded, "{:?}", standing(2));
    // Clocks differ, and yet the difference is right.
    let lag = |link| standing(link).lag.as_secs_f64();
    assert!((lag(1) - 0.05).abs() < 0.005, "{}", lag(1));
    assert!((lag(2) - 0.79).abs() < 0.01, "{}", lag(2));
}
