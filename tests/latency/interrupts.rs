//! `hardirqs` and `softirqs` against the kernel's own counts of the same: no fewer than came while
//! they were measured for certain, and no more than could have.

use std::{collections::HashMap, fs, process::Command};

use crate::{
    common::workload::{Workshop, require_root},
    gauge::{Gauge, Interval, Worker, number},
};

/// Hardware interrupts by handler. Several may share a line; here each is counted with all.
fn handlers() -> HashMap<String, u64> {
    let text = fs::read_to_string("/proc/interrupts").unwrap();
    let cpus = text.lines().next().unwrap().split_whitespace().count();
    let mut counts = HashMap::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        // Those with letters are the processor's own and have no handler.
        let Some(number) = words.next().and_then(|word| word.strip_suffix(':')) else { continue };
        if number.parse::<u32>().is_err() {
            continue;
        }
        let count: u64 = words.by_ref().take(cpus).map(|word| word.parse::<u64>().unwrap()).sum();
        let rest: Vec<&str> = words.collect();
        let names = rest.join(" ");
        let last = names.rsplit("  ").next().unwrap_or_default();
        for name in last.split(", ") {
            let name = name.split_whitespace().last().unwrap_or_default();
            *counts.entry(name.to_owned()).or_default() += count;
        }
    }
    counts
}

/// Software interrupts by vector.
fn vectors() -> HashMap<String, u64> {
    let text = fs::read_to_string("/proc/softirqs").unwrap();
    let rows = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    rows.map(|(name, counts)| {
        let counts = counts.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        (name.trim().to_lowercase(), counts.sum())
    })
    .collect()
}

type Counts = HashMap<String, u64>;

/// Runs `name` while `worker` works, and holds what it says against `counts`, by `key`. Returns
/// the interval and how many interrupts of all kinds there were for certain.
fn compare(
    name: &str,
    key: &str,
    counts: impl Fn() -> Counts,
    worker: &mut Worker,
    work: &str,
) -> Interval {
    let outer = counts();
    let gauge = Gauge::start(name, 2, [] as [&str; 0]);
    let inner = counts();
    worker.work(work);
    let inner_end = counts();
    let interval = gauge.interval();
    let outer_end = counts();
    for (kind, before) in &outer {
        let found = interval.find(key, kind).map_or(0, |series| number(series, "count"));
        let least = inner_end[kind] - inner[kind];
        // Some kernels run no programs while a thread of theirs is at work.
        let least = (least - least / 4).saturating_sub(10);
        let most = outer_end[kind] - before;
        assert!((least..=most).contains(&found), "{kind}: {found}, not {least} to {most}");
    }
    for series in interval.series() {
        let kind = series["labels"][key].as_str().unwrap();
        assert!(outer.contains_key(kind), "{kind:?} is none of {:?}", outer.keys());
        assert!(number(series, "max") < 1_000_000_000, "{series}");
    }
    interval
}

#[test]
fn each_hardware_interrupt_is_counted_once() {
    if !require_root() {
        return;
    }
    let folder = Workshop::new();
    let program = folder.c("hardirqs");
    // Not in the temporary folder, which may be in memory.
    let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut worker = Worker::start(Command::new(program).arg(disk.path().join("file")));
    let interval = compare("hardirqs", "handler", handlers, &mut worker, "100");
    assert!(interval.total("count") >= 50, "the disk raised no interrupts");
}

#[test]
fn each_software_interrupt_is_counted_once() {
    if !require_root() {
        return;
    }
    let folder = Workshop::new();
    let mut worker = Worker::start(&mut Command::new(folder.c("softirqs")));
    let interval = compare("softirqs", "vector", vectors, &mut worker, "2000");
    let packets = number(interval.find("vector", "net_rx").unwrap(), "count");
    assert!(packets >= 2000, "{packets}");
}

#[test]
fn interrupts_of_a_target_are_those_that_interrupt_it() {
    if !require_root() {
        return;
    }
    let folder = Workshop::new();
    let mut worker = Worker::start(&mut Command::new(folder.c("softirqs")));
    let pid = worker.id().to_string();
    let gauge = Gauge::start("softirqs", 4, ["-p", &pid, "--by", "process,vector"]);
    worker.work("500");
    let interval = gauge.interval();
    for series in interval.series() {
        assert_eq!(series["labels"]["process"], format!("softirqs ({pid})"));
    }
    // A packet over loopback arrives on the way out of sending it, unless another interrupt's
    // handling or ksoftirqd takes it along.
    let packets = number(interval.find("vector", "net_rx").unwrap(), "count");
    assert!(packets >= 250, "{packets}");
}
