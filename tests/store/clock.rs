//! Clocks that jump: every sample is kept once, whatever the time says.

use rprof::store::Store;

use super::made::{Agent, GRID, Random, S, START, Taken, folder, sums, sums_of};

fn taken(start: u64, seed: u64) -> Vec<Taken> {
    let mut random = Random(seed);
    (0..200).map(|index| random.sample(start + index * S / 2)).collect()
}

#[test]
fn a_clock_that_jumps_back_makes_recordings_that_overlap() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut all = Vec::new();
    // An hour back, and then to the very second of the first.
    for (seed, start) in [(1, START), (2, START - 3600 * S), (3, START), (4, START + 50 * S)] {
        let mut agent = Agent::begin(&folder, start);
        let samples = taken(start, seed);
        agent.commit(start + 100 * S, &samples).unwrap();
        all.extend(samples);
        agent.finish(start + 101 * S);
    }
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(store.spans().len(), 4);
    assert_eq!(store.time(), START - 3600 * S..START + 151 * S);
    let part = START + 50 * S + GRID / 2..START + 80 * S + GRID / 2;
    let within = all.iter().filter(|one| part.contains(&(one.time * GRID)));
    assert_eq!(sums_of(&mut store, &part), sums(within));
    assert_eq!(sums_of(&mut store, &(0..u64::MAX / 2)), sums(&all));
    assert_eq!(store.remarks(), [] as [&str; 0]);
}

#[test]
fn a_recording_of_the_far_future_or_the_epoch_is_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut all = Vec::new();
    for (seed, start) in [(1, 0), (2, 10_000_000_000 * S)] {
        let mut agent = Agent::begin(&folder, start);
        let samples = taken(start, seed);
        agent.commit(start + 100 * S, &samples).unwrap();
        all.extend(samples);
        agent.finish(start + 101 * S);
    }
    let mut store = Store::open(place.path()).unwrap();
    let whole = store.time();
    assert_eq!(sums_of(&mut store, &whole), sums(&all));
    assert!(store.series("cpu", &whole, 1000).columns <= 1000);
}
