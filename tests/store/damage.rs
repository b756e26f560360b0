//! What the writer, the disk and others do to a store: what was committed is read, what is damaged
//! is said, and never does one day cost another.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rprof::store::{Folder, Store};

use super::{
    common::command::is_root,
    made::{Agent, LIMITS, Random, S, START, Sums, Taken, folder, sums, sums_of},
    writer::{Writer, samples_of},
};

const DAY: u64 = 86_400 * S;

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "rprof")).collect();
    paths.sort();
    paths
}

fn everything(store: &mut Store) -> Sums {
    sums_of(store, &(0..u64::MAX / 2))
}

fn committed(count: u64) -> Vec<Taken> {
    (0..count).flat_map(samples_of).collect()
}

#[test]
fn a_killed_writer_loses_at_most_its_last_commit() {
    for round in 1..6 {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        let mut writer = Writer::start(&path, None);
        writer.wait_for(&format!("committed {}", 7 * round));
        let told = writer.kill().max(7 * round);
        let mut store = Store::open(&path).unwrap();
        let read = everything(&mut store);
        let count: u64 = read.values().map(|(count, _)| count).sum();
        // The last may have been committed and not told.
        let written = count / super::writer::EACH;
        assert!(written == told || written == told + 1, "{written} of {told}");
        assert_eq!(read, sums(&committed(written)));
        assert_eq!(store.remarks(), [] as [&str; 0]);
        // And the next agent goes on in the same folder.
        let folder = Folder::open(&path, LIMITS, None).unwrap();
        let mut agent = Agent::begin(&folder, START + DAY);
        let more: Vec<Taken> = committed(3)
            .into_iter()
            .map(|one| Taken { time: one.time + DAY / super::made::GRID, ..one })
            .collect();
        agent.commit(START + DAY + 100 * S, &more).unwrap();
        store.refresh().unwrap();
        let all: Vec<Taken> = committed(written).into_iter().chain(more).collect();
        assert_eq!(everything(&mut store), sums(&all));
    }
}

#[test]
fn a_torn_transaction_is_rolled_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let mut writer = Writer::start(&path, Some(12));
    writer.wait_for("torn");
    writer.kill();
    let journal = recordings(&path)[0].with_extension("rprof-journal");
    assert!(fs::metadata(&journal).unwrap().len() > 0);
    assert_eq!(everything(&mut Store::open(&path).unwrap()), sums(&committed(12)));
}

#[test]
fn a_torn_journal_costs_no_other_day() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let mut writer = Writer::start(&path, Some(12));
    writer.wait_for("torn");
    writer.kill();
    let torn = recordings(&path)[0].clone();
    let journal = torn.with_extension("rprof-journal");
    let (bytes, log) = (fs::read(&torn).unwrap(), fs::read(&journal).unwrap());
    let good = write_day(&path, 1);
    for eighths in 0..8 {
        fs::write(&torn, &bytes).unwrap();
        fs::write(&journal, &log[..log.len() * eighths / 8]).unwrap();
        let mut store = Store::open(&path).unwrap();
        let read = sums_of(&mut store, &(START + DAY..START + 2 * DAY));
        assert_eq!(read, sums(&good), "{eighths}/8");
        everything(&mut store);
    }
}

/// One recording of day `number`.
fn write_day(path: &Path, number: u64) -> Vec<Taken> {
    let folder = folder(path);
    let start = START + number * DAY;
    let mut agent = Agent::begin(&folder, start);
    let mut random = Random(number + 77);
    let mut all = Vec::new();
    for commit in 1..60 {
        let at = start + commit * 60 * S;
        let taken: Vec<Taken> = (0..30)
            .map(|_| {
                let before = random.below(5000) * S / 100;
                random.sample(at - before)
            })
            .collect();
        agent.commit(at, &taken).unwrap();
        all.extend(taken);
    }
    agent.finish(start + 3600 * S);
    all
}

fn three_days(path: &Path) -> [Vec<Taken>; 3] {
    [0, 1, 2].map(|day| write_day(path, day))
}

#[test]
fn a_damaged_day_costs_no_other() {
    let place = tempfile::tempdir().unwrap();
    let days = three_days(place.path());
    let damaged = recordings(place.path())[1].clone();
    let whole = fs::read(&damaged).unwrap();
    let others: Vec<Taken> = [&*days[0], &*days[2]].concat();
    let all: Vec<Taken> = days.concat();
    let mut random = Random(4);
    let mut said = 0;
    for round in 0..60u64 {
        let mut bytes = whole.clone();
        match round {
            0 => bytes.clear(),
            1 => bytes[..100].fill(0),
            2 => bytes = b"PERFILE2 and so on".repeat(100),
            3..20 => bytes.truncate(whole.len() * round as usize / 20),
            _ => {
                for _ in 0..1 << random.below(6) {
                    let index = random.below(bytes.len() as u64) as usize;
                    bytes[index] ^= 1 << random.below(8);
                }
            }
        }
        fs::write(&damaged, &bytes).unwrap();
        let mut store = Store::open(place.path()).unwrap();
        let day = START + DAY..START + 2 * DAY;
        let mut read = sums_of(&mut store, &(0..day.start));
        for (key, sum) in sums_of(&mut store, &(day.end..START + 4 * DAY)) {
            let entry = read.entry(key).or_default();
            *entry = (entry.0 + sum.0, entry.1 + sum.1);
        }
        assert_eq!(read, sums(&others), "round {round}");
        let whole = everything(&mut store) == sums(&all);
        let remarks = store.remarks();
        // An empty file is one that was created this moment.
        assert!(whole || !remarks.is_empty() || round == 0, "round {round}");
        said += usize::from(!remarks.is_empty());
    }
    assert!(said > 30, "{said} of 60 noticed");
}

#[test]
fn a_day_that_goes_missing_is_not_missed() {
    let place = tempfile::tempdir().unwrap();
    let days = three_days(place.path());
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(everything(&mut store), sums(&days.concat()));
    fs::remove_file(&recordings(place.path())[1]).unwrap();
    assert!(store.refresh().unwrap());
    let others = [&*days[0], &*days[2]].concat();
    assert_eq!(everything(&mut store), sums(&others));
    assert_eq!(store.remarks(), [] as [&str; 0]);
    assert_eq!(store.spans().len(), 2);
}

#[test]
fn other_files_are_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let days = write_day(place.path(), 0);
    fs::write(place.path().join("notes.txt"), "mine").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path().join("link.rprof")).unwrap();
    fs::create_dir(place.path().join("folder.rprof")).unwrap();
    let limits = rprof::store::Limits { max_bytes: 0, ..LIMITS };
    let mut folder = Folder::open(place.path(), limits, None).unwrap();
    let mut store = Store::open(place.path()).unwrap();
    assert_eq!(everything(&mut store), sums(&days));
    assert_eq!(folder.expire().unwrap().recordings, 1);
    assert!(place.path().join("notes.txt").exists() && place.path().join("folder.rprof").exists());
    assert!(Path::new("/etc/passwd").exists());
}

/// A file system in memory, mounted for a test.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(kib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(&*size)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH); // a mount left over harms nobody
    }
}

#[test]
fn a_full_disk_keeps_what_was_committed_and_goes_on_when_there_is_room() {
    if !is_root() {
        return;
    }
    let disk = Small::mount(400);
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 150 << 10]).unwrap();
    let path = disk.0.path().join("store");
    let folder = folder(&path);
    let mut agent = Agent::begin(&folder, START);
    let mut number = 0;
    let error = loop {
        let at = START + (number + 1) * 10 * S;
        // Ever new stacks, so that it grows.
        let taken: Vec<Taken> = samples_of(number)
            .into_iter()
            .map(|one| Taken { stack: one.stack + 1600 * number as u32, ..one })
            .collect();
        match agent.commit(at, &taken) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100_000, "the disk never fills");
    };
    assert!(format!("{error:#}").contains("full"), "{error:#}");
    let taken = |numbers: std::ops::Range<u64>| -> Vec<Taken> {
        let of = |number: u64| {
            let shift = move |one: Taken| Taken { stack: one.stack + 1600 * number as u32, ..one };
            samples_of(number).into_iter().map(shift)
        };
        numbers.flat_map(of).collect()
    };
    let mut store = Store::open(&path).unwrap();
    assert!(everything(&mut store) == sums(&taken(0..number)), "after {number} commits");
    // What could not be written is not lost: it goes with the next commit.
    fs::remove_file(&filler).unwrap();
    agent.commit(START + (number + 2) * 10 * S, &taken(number + 1..number + 2)).unwrap();
    store.refresh().unwrap();
    assert!(everything(&mut store) == sums(&taken(0..number + 2)), "with room again");
    assert_eq!(store.remarks(), [] as [&str; 0]);
}

#[test]
fn a_second_agent_is_told_of_the_first() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let mut writer = Writer::start(&path, None);
    writer.wait_for("committed 1");
    let error = Folder::open(&path, LIMITS, None).unwrap_err().to_string();
    assert!(error.contains("another rprof agent (process "), "{error}");
    assert!(error.contains("--store"), "{error}");
    writer.kill();
    Folder::open(&path, LIMITS, None).unwrap();
}
