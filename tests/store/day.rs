//! A day as an agent writes it, and a machine that is busy enough for each window to have something
//! in it. Commits are further apart than an agent's; `bench/store.rs` makes them all.

use rprof::{
    model::{Detail, Label, Moment, View},
    store::Store,
};

use super::made::{Agent, GRID, Random, S, START, Taken, folder, sums, sums_of};

#[test]
fn a_day_of_windows() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut agent = Agent::begin(&folder, START);
    let mut random = Random(11);
    let mut all: Vec<Taken> = Vec::new();
    for commit in 0..2880 {
        let start = START + commit * 30 * S;
        let taken: Vec<Taken> = (0..36)
            .map(|_| {
                let after = random.below(3000) * GRID;
                random.sample(start + after)
            })
            .collect();
        agent.commit(start + 30 * S, &taken).unwrap();
        all.extend(taken);
    }
    agent.finish(START + 86_400 * S);
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(sums_of(&mut store, &(START..START + 86_400 * S)), sums(&all));
    let series = store.series("cpu", &(START..START + 86_400 * S), 1000);
    let value: u64 = series.cells.iter().map(|cell| cell.value).sum();
    assert_eq!(value, all.iter().map(|one| one.value).sum::<u64>());
    assert!((900..=1000).contains(&series.columns), "{}", series.columns);
    // One process over two minutes of the night, in the words of the command line.
    let view = View {
        from: Some(Moment::parse("2026-11-21T03:12:00Z").unwrap()),
        to: Some(Moment::parse("2026-11-21T03:14:00Z").unwrap()),
        only: vec![rprof::model::Only { label: Label::Unit, value: "unit-1.service".into() }],
        ..View::default()
    };
    let profile = store.profile(&view, Detail::default()).unwrap();
    let from = (START + 15_720 * S) / GRID;
    let shown = |one: &&Taken| (from..from + 12_000).contains(&one.time) && one.thread / 3 == 1;
    // Rounding moves what is at the very edge.
    let expected = all.iter().filter(shown).count() as u64;
    assert!(profile.count().abs_diff(expected) <= 2, "{} {expected}", profile.count());
    assert!(expected > 20);
}
