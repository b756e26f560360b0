//! Whatever was written, in whatever commits and recordings: any question to the store is answered
//! as by the samples themselves.

use std::ops::Range;

use proptest::prelude::{Strategy, any, prop, proptest};
use rprof::{
    model::{Detail, View},
    output,
    store::Store,
};

use super::made::{Agent, GRID, Random, S, START, Taken, folder, key, sums, sums_of};

/// A recording: how long after the one before it begins, and its commits: how long after the one
/// before, with how many samples, and by how much those may be late. All in seconds.
#[derive(Clone, Debug)]
struct Plan {
    pause: u64,
    commits: Vec<(u64, u64, u64)>,
    seed: u64,
    ends: bool,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let commit = (1u64..600, 0u64..40, 0u64..40);
    let plan = (0u64..4000, prop::collection::vec(commit, 1..25), any::<u64>(), any::<bool>());
    let plan =
        plan.prop_map(|(pause, commits, seed, ends)| Plan { pause, commits, seed: seed | 1, ends });
    prop::collection::vec(plan, 1..4)
}

/// Writes it all, and calls `look` after each commit with what was written so far.
fn write(
    plans: &[Plan],
    folder_path: &std::path::Path,
    mut look: impl FnMut(&[Taken]),
) -> Vec<Taken> {
    let folder = folder(folder_path);
    let mut all = Vec::new();
    let mut now = START;
    for plan in plans {
        now += plan.pause * S;
        let start = now;
        let mut agent = Agent::begin(&folder, start);
        let mut random = Random(plan.seed);
        for (after, count, late) in &plan.commits {
            let since = now;
            now += after * S;
            let earliest = since.saturating_sub(late * S).max(start);
            let steps = (now - earliest) / GRID;
            let taken: Vec<Taken> = (0..*count)
                .map(|_| {
                    let step = random.below(steps);
                    random.sample(earliest + step * GRID)
                })
                .collect();
            agent.commit(now, &taken).unwrap();
            all.extend(taken);
            look(&all);
        }
        if plan.ends {
            agent.finish(now);
        }
    }
    all
}

/// A stretch of time whose ends no rounding moves a sample over.
fn between(from: u64, to: u64) -> Range<u64> {
    let half = |at: u64| at / GRID * GRID + GRID / 2;
    half(from.min(to))..half(from.max(to))
}

fn within<'a>(samples: &'a [Taken], time: &Range<u64>) -> impl Iterator<Item = &'a Taken> {
    let time = time.clone();
    samples.iter().filter(move |sample| time.contains(&(sample.time * GRID)))
}

fn assert_answers(store: &mut Store, samples: &[Taken], time: &Range<u64>) {
    let expected = sums(within(samples, time));
    assert_eq!(sums_of(store, time), expected);
    let mut read = Vec::new();
    store.samples("cpu", time, &mut |sample| read.push(sample));
    let mut read: Vec<_> = read
        .into_iter()
        .map(|one| {
            let time = (one.time + GRID / 2) / GRID;
            (time, one.cpu, key(store.tables(), one.thread, one.stack), one.value)
        })
        .collect();
    let mut wanted: Vec<_> =
        within(samples, time).map(|one| (one.time, one.cpu, one.key(), one.value)).collect();
    read.sort();
    wanted.sort();
    assert_eq!(read, wanted);
    for columns in [1, 7, 500] {
        let series = store.series("cpu", time, columns);
        let shown = series.start..series.start + series.step * series.columns as u64;
        assert!(shown.start <= time.start && time.end <= shown.end, "{time:?} {shown:?}");
        let shown = match series.step >= 20 * S {
            true => shown,
            false => time.clone(),
        };
        let mut expected = std::collections::BTreeMap::new();
        for sample in within(samples, &shown) {
            let column = (sample.time * GRID - series.start) / series.step;
            *expected.entry((sample.thread / 3, column as u32)).or_default() += sample.value;
        }
        let mut read = std::collections::BTreeMap::new();
        for cell in &series.cells {
            let process = store.tables().processes.get(cell.process).unwrap().pid - 100;
            *read.entry((process, cell.column)).or_insert(0u64) += cell.value;
        }
        if series.step >= 20 * S {
            assert_eq!(read, expected);
        } else {
            // A sample near the edge of a column may be rounded over it, but not out of the sum.
            assert_eq!(read.values().sum::<u64>(), expected.values().sum::<u64>());
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_question_is_answered_as_by_the_samples(
        plans in plans(),
        cuts in prop::collection::vec(0u64..30_000, 4),
    ) {
        let place = tempfile::tempdir().unwrap();
        let samples = write(&plans, place.path(), |_| {});
        let mut store = Store::open(place.path()).unwrap();
        let whole = store.time();
        assert_answers(&mut store, &samples, &between(whole.start - S, whole.end + S));
        for pair in cuts.chunks(2) {
            let time = between(START + pair[0] * S, START + pair[1] * S);
            assert_answers(&mut store, &samples, &time);
        }
        assert_eq!(store.remarks(), [] as [&str; 0]);
    }

    #[test]
    fn a_store_that_is_read_on_is_as_one_that_is_opened_anew(plans in plans()) {
        let place = tempfile::tempdir().unwrap();
        let mut store = Store::open(place.path()).unwrap();
        let mut looked = 0;
        write(&plans, place.path(), |so_far| {
            looked += 1;
            store.refresh().unwrap();
            // Not each time, so that several commits are new at once.
            if looked % 3 == 0 {
                let whole = store.time();
                let time = between(whole.start - S, whole.end + S);
                assert_eq!(sums_of(&mut store, &time), sums(so_far));
            }
        });
        assert_eq!(store.remarks(), [] as [&str; 0]);
    }
}

#[test]
fn parts_of_time_make_up_the_whole() {
    let place = tempfile::tempdir().unwrap();
    let plan = |seed| Plan { pause: 60, commits: vec![(100, 30, 0); 120], seed, ends: true };
    let samples = write(&[plan(5), plan(7)], place.path(), |_| {});
    let mut store = Store::open(place.path()).unwrap();
    let whole = between(store.time().start, store.time().end + S);
    let mut parts = super::made::Sums::new();
    for hour in 0..8 {
        let part = between(START + hour * 3600 * S, START + (hour + 1) * 3600 * S);
        for (key, sum) in sums_of(&mut store, &part) {
            let entry = parts.entry(key).or_default();
            *entry = (entry.0 + sum.0, entry.1 + sum.1);
        }
    }
    assert_eq!(parts, sums_of(&mut store, &whole));
    assert_eq!(parts, sums(&samples));
}

#[test]
fn hours_are_rolled_up_and_the_roll_up_equals_the_windows() {
    let place = tempfile::tempdir().unwrap();
    let commits = vec![(10, 20, 12); 3 * 360];
    let samples = write(&[Plan { pause: 0, commits, seed: 3, ends: true }], place.path(), |_| {});
    let mut paths = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some()).unwrap();
    let rows = |db: &rusqlite::Connection| -> i64 {
        db.query_row("SELECT count(*) FROM rollup", [], |row| row.get(0)).unwrap()
    };
    let time = between(START, START + 4 * 3600 * S);
    let mut store = Store::open(place.path()).unwrap();
    let rolled = (sums_of(&mut store, &time), store.series("cpu", &time, 50).cells);
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    assert!(rows(&db) >= 3, "{}", rows(&db));
    db.execute("DELETE FROM rollup", []).unwrap();
    drop(db);
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(rolled, (sums_of(&mut store, &time), store.series("cpu", &time, 50).cells));
    assert_eq!(rolled.0, sums(&samples));
}

#[test]
fn a_diff_of_equals_is_empty() {
    let place = tempfile::tempdir().unwrap();
    let plan = Plan { pause: 0, commits: vec![(50, 40, 0); 40], seed: 9, ends: true };
    write(&[plan], place.path(), |_| {});
    let mut store = Store::open(place.path()).unwrap();
    let mut profile = || store.profile(&View::default(), Detail::default()).unwrap();
    let diff = output::diff(&profile(), &profile(), None, &View::default()).unwrap();
    let mut bytes = Vec::new();
    diff.write_json(None, &mut bytes).unwrap();
    let diff: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let changes =
        diff["functions"].as_array().unwrap().iter().chain(diff["groups"].as_array().unwrap());
    assert!(changes.clone().count() > 40);
    for change in changes {
        assert_eq!((&change["change"], &change["significant"]), (&0.0.into(), &false.into()));
    }
}
