//! What a recording has besides stacks: histograms and marks come back as they were written, however
//! they are read, while they are written, and from a file that is damaged or older than they are.

use std::{collections::BTreeMap, fs, ops::Range, path::Path};

use rprof::{
    model::{Histogram, Info, Key, LaneInfo, LaneKind, LaneStats, Mark, Series, Slice, Tables},
    store::{Grain, LaneState, Store, Writer},
};

use super::made::{Random, S, START, folder};

const STEP: u64 = 10 * S;

/// A recording of lanes that remembers what it wrote.
struct Lanes {
    writer: Option<Writer>,
    info: Info,
    slices: Vec<Slice>,
    marks: Vec<Mark>,
    lasting: Vec<Mark>,
}

impl Lanes {
    fn begin(writer: Writer, start: u64) -> Self {
        let info = Info { start, ..Info::default() };
        let (slices, marks) = Default::default();
        Self { writer: Some(writer), info, slices, marks, lasting: Vec::new() }
    }

    fn commit(&mut self, at: u64, slices: &[Slice], marks: &[Mark], complete: bool) {
        (self.info.duration, self.info.complete) = (at - self.info.start, complete);
        self.slices.extend_from_slice(slices);
        self.marks.extend_from_slice(marks);
        let lane = |name: &str, kind, by: &[&str]| LaneInfo {
            name: name.into(),
            kind,
            unit: "nanoseconds".into(),
            by: by.iter().map(|word| (*word).to_owned()).collect(),
        };
        let runqlat = lane("runqlat", LaneKind::Latency, &["process"]);
        let exec = lane("exec", LaneKind::Events, &[]);
        let stats = LaneStats {
            times: self.slices.iter().map(count).sum(),
            marks: self.marks.len() as u64,
            ..LaneStats::default()
        };
        let (mut slices, mut marks) = (slices.to_vec(), marks.to_vec());
        let (mut no_slices, mut no_marks) = (Vec::new(), Vec::new());
        let mut states = [
            LaneState {
                info: &runqlat,
                stats: &stats,
                slices: &mut slices,
                marks: &mut no_marks,
                lasting: &[],
            },
            LaneState {
                info: &exec,
                stats: &stats,
                slices: &mut no_slices,
                marks: &mut marks,
                lasting: &self.lasting,
            },
        ];
        let writer = self.writer.as_mut().unwrap();
        writer.add_lanes(&self.info, &mut states);
        writer.commit(&self.info, &mut [], &Tables::default(), &[]).unwrap();
        assert!(slices.is_empty() && marks.is_empty());
    }

    fn finish(&mut self) {
        self.writer.take().unwrap().finish().unwrap();
    }
}

fn count(slice: &Slice) -> u64 {
    slice.series.iter().map(|series| series.histogram.count()).sum()
}

fn slice(random: &mut Random, start: u64) -> Slice {
    let series = (0..3).map(|process| {
        let mut histogram = Histogram::default();
        for _ in 0..random.below(20) + 1 {
            histogram.add(random.below(1 << 20));
        }
        let labels = match process {
            0 => Vec::new(),
            number => vec![(Key::Process, format!("program ({number})"))],
        };
        Series { labels, histogram }
    });
    Slice { start, end: start + STEP, series: series.collect() }
}

fn mark(random: &mut Random, time: u64) -> Mark {
    let pid = random.below(5) as u32 + 1;
    Mark {
        time,
        end: Some(time + random.below(600) * S),
        kind: "exec".into(),
        pid,
        tid: pid,
        comm: "cc".into(),
        text: format!("cc -c {}.c", random.below(1000)),
        fields: "{\"ppid\":1}".into(),
    }
}

/// Writes `steps` steps of ten seconds, of which each is committed.
fn write(lanes: &mut Lanes, random: &mut Random, steps: Range<u64>) {
    let start = lanes.info.start;
    for step in steps {
        let at = start + step * STEP;
        let times: Vec<u64> = (0..3).map(|_| at + random.below(STEP)).collect();
        let marks: Vec<Mark> = times.into_iter().map(|time| mark(random, time)).collect();
        let slice = slice(random, at);
        lanes.commit(at + STEP, &[slice], &marks, false);
    }
}

/// What slices come to: one histogram for each key.
fn sums<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
) -> BTreeMap<Vec<(Key, String)>, Histogram> {
    let mut sums: BTreeMap<_, Histogram> = BTreeMap::new();
    for series in slices.into_iter().flat_map(|slice| &slice.series) {
        sums.entry(series.labels.clone()).or_default().merge(&series.histogram);
    }
    sums
}

fn read(store: &mut Store, time: &Range<u64>, grain: Grain) -> Vec<Slice> {
    let mut slices = Vec::new();
    store.slices("runqlat", time, grain, &mut |slice| {
        slices.push(slice);
        true
    });
    slices
}

fn marks(store: &mut Store, time: &Range<u64>) -> Vec<Mark> {
    let mut marks = Vec::new();
    store.marks("exec", time, &mut |mark| {
        marks.push(mark);
        true
    });
    marks.sort_by_key(|mark| (mark.time, mark.pid, mark.end));
    marks
}

fn sorted(mut marks: Vec<Mark>) -> Vec<Mark> {
    marks.sort_by_key(|mark| (mark.time, mark.pid, mark.end));
    marks
}

const ALL: Range<u64> = 0..u64::MAX / 2;

/// Three hours of an agent's, ended in the middle of one.
fn three_hours(path: &Path) -> Lanes {
    let folder = folder(path);
    let mut lanes = Lanes::begin(folder.begin(START).unwrap(), START);
    let mut random = Random(11);
    write(&mut lanes, &mut random, 0..1000);
    lanes.commit(START + 1000 * STEP, &[], &[], true);
    lanes.finish();
    lanes
}

#[test]
fn histograms_add_up_to_the_same_however_they_are_read() {
    let place = tempfile::tempdir().unwrap();
    let lanes = three_hours(place.path());
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(read(&mut store, &ALL, Grain::Fine), lanes.slices);
    let expected = sums(&lanes.slices);
    assert_eq!(sums(&read(&mut store, &ALL, Grain::Hours)), expected);
    // By the minute, all keys are one.
    let together = |sums: BTreeMap<Vec<(Key, String)>, Histogram>| {
        sums.into_values().fold(Histogram::default(), |mut sum, histogram| {
            sum.merge(&histogram);
            sum
        })
    };
    let minutes = read(&mut store, &ALL, Grain::Minutes);
    assert_eq!(together(sums(&minutes)), together(expected));
    // Roll-ups are read: of nearly three hours there is a slice a minute.
    assert!(minutes.len() < lanes.slices.len() / 3, "{}", minutes.len());
    assert!(read(&mut store, &ALL, Grain::Hours).len() < 100);
    // What a stretch of time has is the same too, but for its first and last minute.
    let part = START + 1200 * S..START + 8400 * S;
    let exact: u64 = read(&mut store, &part, Grain::Fine).iter().map(count).sum();
    let coarse: u64 = read(&mut store, &part, Grain::Minutes).iter().map(count).sum();
    assert!(exact.abs_diff(coarse) <= exact / 20, "{exact} {coarse}");
    assert_eq!(store.remarks(), [] as [&str; 0]);
}

#[test]
fn marks_come_back_with_what_they_touch() {
    let place = tempfile::tempdir().unwrap();
    let lanes = three_hours(place.path());
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(marks(&mut store, &ALL), sorted(lanes.marks.clone()));
    let part = START + 3000 * S..START + 3100 * S;
    let touches = |mark: &Mark| mark.time < part.end && mark.end.unwrap() >= part.start;
    let expected: Vec<Mark> = lanes.marks.iter().filter(|mark| touches(mark)).cloned().collect();
    assert!(expected.len() > 30);
    assert_eq!(marks(&mut store, &part), sorted(expected));
    let mut steps = 0;
    store.mark_steps("exec", &ALL, &mut |_, count| steps += count);
    assert_eq!(steps, lanes.marks.len() as u64);
    assert_eq!(store.mark_count("exec", &ALL), steps);
    assert_eq!(store.lane_stats("exec", &ALL).marks, steps);
}

#[test]
fn what_is_written_meanwhile_is_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let mut lanes = Lanes::begin(folder.begin(START).unwrap(), START);
    let mut random = Random(5);
    let mut store = Store::open(place.path()).unwrap();
    for part in 0..10 {
        lanes.lasting = vec![Mark { end: None, ..mark(&mut random, START + part * S) }];
        write(&mut lanes, &mut random, part * 7..part * 7 + 7);
        store.refresh().unwrap();
        assert_eq!(read(&mut store, &ALL, Grain::Fine), lanes.slices, "{part}");
        let expected = [&lanes.marks[..], &lanes.lasting[..]].concat();
        assert_eq!(marks(&mut store, &ALL), sorted(expected), "{part}");
    }
    assert_eq!(store.lanes().len(), 2);
}

#[test]
fn a_short_recording_has_them_too() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("rprof.data");
    let mut lanes = Lanes::begin(Writer::create(&path).unwrap(), START);
    write(&mut lanes, &mut Random(3), 0..2);
    lanes.commit(START + 2 * STEP, &[], &[], true);
    lanes.finish();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(read(&mut store, &ALL, Grain::Hours).iter().map(count).sum::<u64>(), {
        lanes.slices.iter().map(count).sum::<u64>()
    });
    assert_eq!(marks(&mut store, &ALL), sorted(lanes.marks.clone()));
}

#[test]
fn a_recording_from_before_there_were_such_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("rprof.data");
    let mut writer = Writer::create(&path).unwrap();
    let info = Info { start: START, complete: true, ..Info::default() };
    writer.commit(&info, &mut [], &Tables::default(), &[]).unwrap();
    writer.finish().unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let tables = ["histogram", "histogram_rollup", "mark", "lasting"];
    tables.iter().for_each(|table| db.execute_batch(&format!("DROP TABLE {table}")).unwrap());
    drop(db);
    let mut store = Store::open(&path).unwrap();
    assert!(store.lanes().is_empty());
    assert!(read(&mut store, &ALL, Grain::Hours).is_empty());
    assert!(marks(&mut store, &ALL).is_empty());
    assert_eq!(store.remarks(), [] as [&str; 0]);
}

#[test]
fn a_number_that_became_another_counts_nothing_twice() {
    for change in [
        "UPDATE histogram_rollup SET windows = '9' || windows",
        "UPDATE histogram SET id = id + 1000 WHERE id = (SELECT min(id) FROM histogram)",
    ] {
        let place = tempfile::tempdir().unwrap();
        let lanes = three_hours(place.path());
        let mut files = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.extension().is_some_and(|e| e == "rprof")).unwrap();
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        let mut store = Store::open(place.path()).unwrap();
        let all: u64 = lanes.slices.iter().map(count).sum();
        for grain in [Grain::Fine, Grain::Minutes, Grain::Hours] {
            let sum: u64 = read(&mut store, &ALL, grain).iter().map(count).sum();
            assert_eq!(sum, all, "{change}");
        }
    }
}

#[test]
fn damage_is_said_and_never_makes_up_anything() {
    let place = tempfile::tempdir().unwrap();
    let lanes = three_hours(place.path());
    let files = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "rprof"));
    let path = path.unwrap();
    let whole = fs::read(&path).unwrap();
    let known: Vec<Mark> = sorted(lanes.marks.clone());
    let all: u64 = lanes.slices.iter().map(count).sum();
    let mut random = Random(9);
    let (mut read_some, mut said) = (0, 0);
    for round in 0..80u64 {
        let mut bytes = whole.clone();
        match round {
            0..15 => bytes.truncate(whole.len() * (round as usize + 4) / 20),
            _ => {
                for _ in 0..1 << random.below(6) {
                    let index = random.below(bytes.len() as u64) as usize;
                    bytes[index] ^= 1 << random.below(8);
                }
            }
        }
        fs::write(&path, &bytes).unwrap();
        let Ok(mut store) = Store::open(place.path()) else { continue };
        for grain in [Grain::Fine, Grain::Minutes, Grain::Hours] {
            let sum: u64 = read(&mut store, &ALL, grain).iter().map(count).sum();
            assert!(sum <= all, "round {round}: {sum} of {all}");
        }
        let found = marks(&mut store, &ALL);
        read_some += usize::from(!found.is_empty());
        let is_known = |mark: &Mark| known.contains(mark);
        assert!(found.iter().all(is_known), "round {round}");
        said += usize::from(!store.remarks().is_empty());
    }
    assert!(read_some > 30 && said > 20, "{read_some} read, {said} noticed");
}
