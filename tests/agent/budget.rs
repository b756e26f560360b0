//! The agent governs itself: over its budget it samples less often, and sums stay right.

use std::{fs, process::Command};

use crate::{
    agent::{Agent, Recording, cpu_seconds, recordings},
    workload::{Process, Workshop, require_root, wait_until},
};

/// Below this rate the test has seen enough: weights were 15 times apart by then.
const LOW: u64 = 70;

#[test]
fn over_its_budget_it_samples_less_and_sums_stay_right() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    // Under a name of its own: other tests have hogs too.
    let program = shop.path("governed");
    fs::copy(shop.c("hog"), &program).unwrap();
    // Windows long enough for some time to pass at each rate.
    let words = ["-F", "997", "--max-overhead", "0.001%", "--comm", "governed"];
    let mut agent = Agent::with_windows(&shop, "3s", words);
    agent.wait_for("recording cpu into");
    // Ahead of others, so that it works all the time on a busy machine too.
    let hog = Process::start(Command::new("nice").args(["-n", "-10"]).arg(&program));
    let file = recordings(agent.store()).pop().unwrap();
    let rates = || -> Option<Vec<u64>> {
        let recording = Recording::so_far(&file)?;
        let rates = recording.stats["rates"].as_array()?.iter();
        Some(rates.map(|rate| rate[1].as_u64().unwrap()).collect())
    };
    wait_until("a low rate", || rates()?.into_iter().any(|rate| rate < LOW).then_some(()));
    let cpu = cpu_seconds(hog.id());
    let log = agent.end();
    assert!(log.contains("at 997 Hz: now "), "{log}");
    let rates = rates().unwrap();
    assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
    let recording = Recording::read(&file);
    let (samples, sum) = recording.with("hog_work");
    // Each sample stands for what there was between two: the variance of a sum of weights is that of
    // draws at most, and no weight is larger than that of the lowest rate.
    let lowest = *rates.last().unwrap() as f64;
    let bound = 5.0 * (cpu / lowest).sqrt() + 0.1 * cpu;
    assert!((sum - cpu).abs() <= bound, "{sum} s of {cpu} s, give or take {bound}; {rates:?}");
    // Were all of the weight of the first, the sum would be another.
    assert!((samples as f64 / 997.0) < 0.8 * sum, "{samples} samples of {cpu} s");
}
