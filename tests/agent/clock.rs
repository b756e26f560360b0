//! Midnight and clocks that jump, with a clock of the test's own: new recordings, and no sample lost.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rprof::{
    agent::{Agent, Bound, Clock, Config, WallClock},
    session::Plan,
    sources::Options,
    store::Limits,
    target::Target,
};

use crate::{
    agent::{Recording, cpu_seconds, recordings},
    workload::{Process, Workshop, require_root},
};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
const HZ: u64 = 199;

/// The machine's clock, set forward or back.
struct Moved(Arc<AtomicI64>);

impl Clock for Moved {
    fn unix_ns(&self) -> u64 {
        WallClock.unix_ns().saturating_add_signed(self.0.load(Ordering::SeqCst))
    }
}

fn config(shop: &Workshop, pid: u32) -> Config {
    let memory = Bound(512 << 20);
    let window = Duration::from_secs(1);
    let target = Target { pids: vec![pid], ..Target::default() };
    Config {
        plan: Plan {
            lanes: Default::default(),
            sources: vec!["cpu".into()],
            target: target.to_string(),
            options: Options { target, frequency: HZ, ..Options::default() },
            table_bytes: 64 << 20,
            limits: memory.limits(),
            workers: 1,
            commit: window,
            poll: window,
            naming: window,
            keep_empty: true,
        },
        store: shop.path("store"),
        limits: Limits { keep: Duration::from_secs(86_400), max_bytes: 1 << 30 },
        // This process is the test itself.
        overhead: 100.0,
        memory,
        viewer: None,
        push: None,
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_new_recording_begins_at_midnight_and_when_the_clock_jumps() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let offset = Arc::new(AtomicI64::new(0));
    let mut agent =
        Agent::open(config(&shop, hog.id()), Box::new(Moved(Arc::clone(&offset)))).unwrap();
    let before = cpu_seconds(hog.id());
    let begun = SystemTime::now();
    agent.start().unwrap();
    let store = shop.path("store");
    let run_until = |agent: &mut Agent, count: usize| {
        // Into the new one, until there is something in it.
        let last = || recordings(&store).into_iter().max_by_key(|file| modified(file));
        let named = || Some(Recording::so_far(&last()?)?.with("hog_work").0 > 0);
        while recordings(&store).len() < count || named() != Some(true) {
            agent.step(&[]).unwrap();
        }
    };
    run_until(&mut agent, 1);
    // To 2 s before midnight: a jump; then midnight comes by itself.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    offset.store(DAY - now % DAY - 2 * SECOND, Ordering::SeqCst);
    run_until(&mut agent, 3);
    offset.fetch_sub(DAY / 2, Ordering::SeqCst);
    run_until(&mut agent, 4);
    let summary = agent.finish().unwrap();
    let (cpu, elapsed) = (cpu_seconds(hog.id()) - before, begun.elapsed().unwrap());
    assert!(summary.info.complete);

    let files = recordings(&store);
    let all: Vec<Recording> = files.iter().map(|file| Recording::read(file)).collect();
    let mut why: Vec<&str> = all.iter().map(|r| r.info["begun_by"].as_str().unwrap()).collect();
    why.sort_unstable();
    assert_eq!(why, ["agent start", "clock jump", "clock jump", "midnight"]);
    let midnight = all.iter().find(|r| r.info["begun_by"] == "midnight").unwrap();
    let start = midnight.info["start"].as_u64().unwrap() as i64;
    assert!(start % DAY < 10 * SECOND, "{} s after midnight", start % DAY / SECOND);
    for recording in &all {
        recording.assert_counts();
        assert_eq!(recording.with("[stack lost]").0, 0);
        // Its samples point into tables of its own.
        assert!(recording.with("hog_work").0 > 0);
    }
    // Nothing between them is missing, and nothing is there twice.
    let recorded: f64 = all.iter().map(Recording::duration).sum();
    assert!(recorded <= elapsed.as_secs_f64(), "{recorded} s of {elapsed:?}");
    let samples: u64 = all.iter().map(Recording::samples).sum();
    let mean = cpu * HZ as f64;
    let bound = 5.0 * mean.sqrt() + 0.1 * mean;
    assert!((samples as f64 - mean).abs() <= bound, "{samples} samples of {cpu} s");
}
