//! `runqlat` against the kernel's own account of the same.

use std::{collections::HashMap, process::Command, thread};

use crate::{
    common::workload::{Workshop, require_root},
    gauge::{Gauge, Interval, Worker, number},
};

/// Programs of the source, and of the targets.
const PROGRAMS: usize = 3;
const TARGET_PROGRAMS: usize = 2;

/// Time that each thread has waited for a CPU (ns), and how often it got one, by
/// /proc/PID/task/TID/schedstat.
fn waited(worker: &Worker) -> HashMap<u32, (u64, u64)> {
    let parse = |text: &str| {
        let words: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (words[1], words[2])
    };
    worker.tasks("schedstat").iter().map(|(tid, text)| (*tid, parse(text))).collect()
}

/// Two threads for each CPU at work; what rprof says of them by `key`, and what the kernel says.
fn compete(key: &str) -> (Interval, HashMap<u32, (u64, u64)>, u32) {
    let folder = Workshop::new();
    let threads = 2 * thread::available_parallelism().unwrap().get();
    let mut worker = Worker::start(Command::new(folder.c("runqlat")).arg(threads.to_string()));
    worker.settle();
    let pid = worker.id().to_string();
    let gauge = Gauge::start("runqlat", PROGRAMS + TARGET_PROGRAMS, ["-p", &pid, "--by", key]);
    worker.settle();
    let before = waited(&worker);
    worker.work("1500");
    worker.settle();
    let after = waited(&worker);
    let since = |(tid, (ns, count)): (u32, (u64, u64))| {
        let (before_ns, before_count) = before[&tid];
        (tid, (ns - before_ns, count - before_count))
    };
    (gauge.interval(), after.into_iter().map(since).collect(), worker.id())
}

/// Waits that rprof says it has not measured. Some kernels run no programs while a thread of theirs
/// is at work: what it wakes, and what runs after it, has waited unseen.
fn unseen(interval: &Interval) -> u64 {
    interval.0["missed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// The kernel takes its times a moment earlier or later than its tracepoints come.
fn assert_agrees(found: u64, expected: u64, unseen: u64, what: &str) {
    let allowed = expected / 100 + 1_000_000;
    assert!(found <= expected + allowed, "{what}: {found} ns, by schedstat {expected}");
    assert!(found + allowed + unseen >= expected, "{what}: {found} ns, by schedstat {expected}");
}

/// None is counted twice, and those that were not seen at all are few.
pub fn assert_counts(found: u64, unseen: u64, expected: u64) {
    let all = found + unseen;
    let least = expected - expected / 50 - 2;
    assert!((least..=expected).contains(&all), "{found} and {unseen} unseen of {expected}");
    assert!(unseen <= expected / 20 + 2, "{unseen} of {expected} were not seen");
}

#[test]
fn threads_wait_as_long_as_the_kernel_says() {
    if !require_root() {
        return;
    }
    let (interval, waited, pid) = compete("thread");
    let unseen = unseen(&interval);
    let mut counts = 0;
    for (tid, (ns, count)) in waited {
        // What waits for its first line has nothing to wait for.
        let series = interval.find("thread", &format!("runqlat ({tid})"));
        let Some(series) = series else {
            assert_eq!(count, 0, "thread {tid} is missing");
            continue;
        };
        let hidden = unseen * 2 * number(series, "max");
        assert_agrees(number(series, "sum"), ns, hidden, &format!("thread {tid}"));
        counts += count;
        assert!(tid == pid || ns > 100_000_000, "thread {tid} had no competition");
    }
    assert_counts(interval.total("count"), unseen, counts);
}

#[test]
fn a_process_is_the_sum_of_its_threads() {
    if !require_root() {
        return;
    }
    let (interval, waited, pid) = compete("process,pidns");
    let series = interval.series();
    assert_eq!(series.len(), 1, "only the target is measured");
    assert_eq!(series[0]["labels"]["process"], format!("runqlat ({pid})"));
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let number_of = format!("pid:[{}]", series[0]["labels"]["pidns"].as_str().unwrap());
    assert_eq!(namespace.to_str().unwrap(), number_of);
    let unseen = unseen(&interval);
    let hidden = unseen * 2 * number(series[0], "max");
    assert_agrees(interval.total("sum"), waited.values().map(|w| w.0).sum(), hidden, "process");
    assert_counts(interval.total("count"), unseen, waited.values().map(|w| w.1).sum());
}

#[test]
fn only_what_took_long_enough_is_counted() {
    if !require_root() {
        return;
    }
    let folder = Workshop::new();
    let mut worker = Worker::start(Command::new(folder.c("runqlat")).arg("8"));
    worker.settle();
    let pid = worker.id().to_string();
    let args = ["-p", &pid, "--min", "1ms"];
    let gauge = Gauge::start("runqlat", PROGRAMS + TARGET_PROGRAMS, args);
    worker.work("500");
    let interval = gauge.interval();
    let series = interval.series();
    let least = number(&series[0]["buckets"][0], "to");
    assert!(least > 1_000_000, "{least}");
}
