//! Memory: what is in use at any time, and was for long, is what was taken and not freed by then.

use std::{collections::BTreeMap, ops::Range};

use proptest::prelude::{Strategy, any, prop, proptest};
use rprof::{
    model::{Detail, View},
    store::{Cell, Store},
};

use super::made::{Agent, GRID, Random, S, START, Sums, Taken, by_name, folder, sums};

/// What was taken, and when it was freed, in units of [`GRID`].
type Held = (Taken, Option<u64>);

/// A recording: commits, each how long after the one before (s), with how many samples, and by how
/// many seconds frees may come late.
#[derive(Clone, Debug)]
struct Plan {
    commits: Vec<(u64, u64, u64)>,
    seed: u64,
    ends: bool,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let commit = (1u64..600, 0u64..30, 0u64..40);
    let plan = (prop::collection::vec(commit, 1..25), any::<u64>(), any::<bool>());
    let plan = plan.prop_map(|(commits, seed, ends)| Plan { commits, seed: seed | 1, ends });
    prop::collection::vec(plan, 1..3)
}

/// Off the edges of steps, over which rounding might move it.
fn off(time: u64) -> u64 {
    if time.is_multiple_of(10 * S / GRID) { time + 1 } else { time }
}

/// Writes it all; gives each recording's start, and all that was taken in it.
fn write(plans: &[Plan], path: &std::path::Path) -> Vec<(u64, Vec<Held>)> {
    let folder = folder(path);
    let mut all = Vec::new();
    let mut now = START;
    for plan in plans {
        now += 100 * S;
        let start = now;
        let mut agent = Agent::of_heap(&folder, start);
        let mut random = Random(plan.seed);
        let (mut taken, mut told): (Vec<Held>, usize) = (Vec::new(), 0);
        let mut waiting: Vec<(u64, (Taken, u64))> = Vec::new();
        for (after, count, late) in &plan.commits {
            let since = now;
            now += after * S;
            for _ in 0..*count {
                let at = since + random.below((now - since) / GRID) * GRID;
                let sample = random.sample(at);
                let (time, count) = (off(sample.time), 1 + random.below(5));
                let sample =
                    Taken { time, count, value: count * 40 * (1 << random.below(12)), ..sample };
                // A third stays, others live for up to a quarter of an hour.
                let freed = off(time + 1 + random.below(900 * S / GRID));
                let freed = (random.below(3) > 0).then_some(freed);
                taken.push((sample, freed));
                waiting.extend(
                    freed.map(|freed| (freed * GRID + random.below(late + 1) * S, (sample, freed))),
                );
            }
            let (ready, later) = waiting.into_iter().partition(|(when, _)| *when <= now);
            waiting = later;
            let ready: Vec<(Taken, u64)> = ready.into_iter().map(|(_, free)| free).collect();
            let new: Vec<Taken> = taken[told..].iter().map(|(taken, _)| *taken).collect();
            told = taken.len();
            agent.commit_held(now, &new, &ready).unwrap();
        }
        // What was not told by the end is not freed, as far as anybody knows.
        for (_, (sample, freed)) in waiting {
            let held = taken.iter_mut().find(|held| **held == (sample, Some(freed)));
            held.unwrap().1 = None;
        }
        if plan.ends {
            agent.finish(now);
        }
        all.push((start, taken));
    }
    all
}

/// What is in use at a time, by the samples themselves.
fn expected(all: &[(u64, Vec<Held>)], at: u64, older: u64) -> Sums {
    let Some((_, held)) = all.iter().rfind(|(start, _)| *start < at) else { return Sums::new() };
    let shown = |(taken, freed): &&Held| {
        taken.time * GRID + older < at && freed.is_none_or(|freed| freed * GRID > at)
    };
    sums(held.iter().filter(shown).map(|(taken, _)| taken))
}

fn total(sums: &Sums) -> (u64, u64) {
    sums.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// What is in use at the end of each column that is changed.
fn levels(taken: &[Cell], freed: &[Cell], columns: usize) -> Vec<(u64, u64)> {
    let mut changes: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for (cells, sign) in [(taken, 1), (freed, -1)] {
        for cell in cells {
            let change = changes.entry(cell.column).or_default();
            *change = (change.0 + sign * cell.count as i64, change.1 + sign * cell.value as i64);
        }
    }
    let mut level = (0, 0);
    let column = |column: u32| {
        let change = changes.get(&column).copied().unwrap_or_default();
        level = (level.0 + change.0, level.1 + change.1);
        (u64::try_from(level.0).unwrap(), u64::try_from(level.1).unwrap())
    };
    (0..columns as u32).map(column).collect()
}

fn assert_series(store: &mut Store, all: &[(u64, Vec<Held>)], time: &Range<u64>) {
    for columns in [1, 9, 300] {
        let series = store.in_use_series("heap", time, columns);
        let (shown, step) = (series.taken.time(), series.taken.step);
        let levels = levels(&series.taken.cells, &series.freed.cells, series.taken.columns);
        if step < 20 * S {
            let last = levels.last().copied().unwrap_or_default();
            assert_eq!(last, total(&expected(all, time.end, 0)), "{time:?} {columns}");
            continue;
        }
        for (column, level) in (1..).zip(levels) {
            let end = shown.start + column * step;
            assert_eq!(level, total(&expected(all, end, 0)), "{time:?} {columns} {column}");
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
    fn what_is_in_use_is_what_was_taken_and_not_freed(
        plans in plans(),
        cuts in prop::collection::vec((0u64..16_000, 0u64..4000), 6),
    ) {
        let place = tempfile::tempdir().unwrap();
        let all = write(&plans, place.path());
        let mut store = Store::open(place.path()).unwrap();
        let end = store.time().end;
        let mut ends: Vec<(u64, u64)> = vec![(end, 0), (end, 300 * S), (START, 0)];
        ends.extend(cuts.iter().map(|(at, older)| ((START + at * S).min(end), older * S)));
        for (at, older) in ends {
            let at = at / GRID * GRID + GRID / 2;
            let entries = store.in_use("heap", at, older);
            assert_eq!(by_name(&store, entries), expected(&all, at, older), "{at} {older}");
            // Of a day that ends then, it is the end.
            assert_series(&mut store, &all, &((at - S - 3 * older).max(START - S)..at));
        }
        let taken: Vec<Taken> = all.iter().flat_map(|(_, held)| held).map(|held| held.0).collect();
        let entries = store.sums("heap", &(START..end + S));
        assert_eq!(by_name(&store, entries), sums(&taken));
        let mut freed = Vec::new();
        store.frees("heap", &(START..end + S), &mut |free| freed.push(free));
        let held = all.iter().flat_map(|(_, held)| held);
        assert_eq!(freed.len(), held.filter(|(_, freed)| freed.is_some()).count());
        assert_eq!(store.remarks(), [] as [&str; 0]);
    }
}

/// Three hours of it, in windows and roll-ups.
fn long(path: &std::path::Path) -> Vec<(u64, Vec<Held>)> {
    write(&[Plan { commits: vec![(10, 8, 12); 3 * 360], seed: 11, ends: true }], path)
}

#[test]
fn a_roll_up_is_as_the_windows_that_it_is_made_of() {
    let place = tempfile::tempdir().unwrap();
    let all = long(place.path());
    let mut paths = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some()).unwrap();
    let end = START + 10_000 * S + GRID / 2;
    let ask = || {
        let mut store = Store::open(place.path()).unwrap();
        let entries = store.in_use("heap", end, 60 * S);
        (by_name(&store, entries), store.in_use_series("heap", &(START..end), 50))
    };
    let rolled = ask();
    assert_eq!(rolled.0, expected(&all, end, 60 * S));
    let db = rusqlite::Connection::open(&path).unwrap();
    let rows = "SELECT count(*) FROM rollup WHERE freed_sums IS NOT NULL";
    let rows: i64 = db.query_row(rows, [], |row| row.get(0)).unwrap();
    assert!(rows >= 2, "{rows}");
    db.execute("DELETE FROM rollup", []).unwrap();
    drop(db);
    assert_eq!(rolled, ask());
}

#[test]
fn a_view_shows_what_is_in_use_unless_told_otherwise() {
    let place = tempfile::tempdir().unwrap();
    let all = long(place.path());
    let mut store = Store::open(place.path()).unwrap();
    let mut shows = |value_type: Option<&str>, detail| {
        let view = View { value_type: value_type.map(str::to_owned), ..View::default() };
        store.profile(&view, detail).unwrap()
    };
    let plain = Detail::default();
    let end = START + 100 * S + 10_800 * S;
    let (in_use, taken) = (total(&expected(&all, end, 0)), {
        let taken: Vec<Taken> = all[0].1.iter().map(|held| held.0).collect();
        total(&sums(&taken))
    });
    assert!(in_use.1 * 2 < taken.1);
    let profile = shows(None, plain);
    assert_eq!((profile.count(), profile.value()), in_use);
    assert_eq!(
        [profile.count_type().name, profile.value_type().name],
        ["inuse_objects", "inuse_space"]
    );
    let profile = shows(Some("alloc_objects"), plain);
    assert_eq!((profile.count(), profile.value()), taken);
    let both = shows(None, Detail { both: true, cpu: true, ..plain });
    assert_eq!((both.count(), both.value()), taken);
    let held = both.in_use.iter().fold((0, 0), |sum, one| (sum.0 + one.count, sum.1 + one.value));
    assert_eq!(held, in_use);
    let each = shows(None, Detail { time: true, ..plain });
    assert_eq!((each.count(), each.value()), taken);
    let freed: u64 = each.frees.iter().map(|free| free.sample.value).sum();
    assert_eq!(each.value() - freed, in_use.1);
}

#[test]
fn more_freed_than_taken_is_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut agent = Agent::of_heap(&folder, START);
    let mut random = Random(7);
    let taken: Vec<Taken> = (0..20).map(|_| random.sample(START + 5 * S)).collect();
    let freed: Vec<(Taken, u64)> = taken
        .iter()
        .flat_map(|one| {
            [(*one, one.time + 100), (Taken { value: u64::MAX / 100, ..*one }, one.time + 200)]
        })
        .collect();
    agent.commit_held(START + 20 * S, &taken, &freed).unwrap();
    agent.finish(START + 30 * S);
    let mut store = Store::open(place.path()).unwrap();
    let end = store.time().end;
    let entries = store.in_use("heap", end, 0);
    assert_eq!((entries, store.remarks()), (vec![], vec![]));
    assert_eq!(
        store.in_use("heap", START + 5 * S + S / 2, 0).iter().map(|one| one.count).sum::<u64>(),
        20
    );
    assert_eq!(store.in_use("nothing", end, 0), []);
}

#[test]
fn a_damaged_recording_is_read_as_far_as_it_goes() {
    let place = tempfile::tempdir().unwrap();
    long(place.path());
    let mut paths = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut random = Random(12);
    let mut said = 0;
    for round in 0..40u64 {
        let mut bytes = whole.clone();
        match round {
            0..10 => bytes.truncate(whole.len() * round as usize / 10),
            _ => {
                for _ in 0..1 << random.below(8) {
                    let index = 100 + random.below(bytes.len() as u64 - 100) as usize;
                    bytes[index] ^= 1 << random.below(8);
                }
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let Ok(mut store) = Store::open(place.path()) else { continue };
        let end = store.time().end;
        for older in [0, 60 * S] {
            // Whatever it says, sums of it are no more than who asks can hold.
            let entries = store.in_use("heap", end, older);
            let sum = entries.iter().try_fold(0u64, |sum, one| sum.checked_add(one.value));
            assert!(sum.is_some_and(|sum| sum <= i64::MAX as u64), "{sum:?}");
        }
        for columns in [3, 700] {
            store.in_use_series("heap", &(START..START + 1000 * S), columns);
        }
        let mut freed = 0;
        store.frees("heap", &(0..end + 1), &mut |_| freed += 1);
        let both = Detail { both: true, ..Detail::default() };
        if let Ok(profile) = store.profile(&View::default(), both) {
            assert!(profile.value() <= i64::MAX as u64);
        }
        said += usize::from(!store.remarks().is_empty());
    }
    assert!(said > 10, "{said}");
}
