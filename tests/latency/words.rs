//! The words of `rprof latency`: intervals, what is refused, and what it looks like.

use std::process::Command;

use serde_json::Value;

use crate::{
    common::{
        command::{rprof, run},
        workload::{Process, Workshop, require_root},
    },
    gauge::{Gauge, number},
};

#[test]
fn intervals_follow_each_other_and_each_begins_anew() {
    if !require_root() {
        return;
    }
    let out = run(&mut rprof(["latency", "runqlat", "--json", "-i", "200ms", "-d", "1s"]));
    let lines: Vec<Value> =
        out.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2, "{}", lines.len());
    let mut end = 0;
    for line in &lines {
        let (from, to) = (number(line, "start"), number(line, "end"));
        // As close as the clocks that tell them are read.
        assert!(end == 0 || from.abs_diff(end) < 100_000_000, "{from} after {end}");
        assert!(to > from);
        end = to;
        assert_eq!((&line["name"], &line["unit"]), (&"runqlat".into(), &"nanoseconds".into()));
    }
}

#[test]
fn nothing_is_counted_in_two_intervals_or_in_none() {
    if !require_root() {
        return;
    }
    let folder = Workshop::new();
    let mut worker = crate::gauge::Worker::start(&mut Command::new(folder.c("softirqs")));
    let pid = worker.id().to_string();
    let count = |text: &str| {
        let words: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        words[2]
    };
    let args = ["-p", &pid, "-i", "20ms"];
    worker.settle();
    let gauge = Gauge::start("runqlat", 5, args);
    worker.settle();
    let before = count(&worker.tasks("schedstat")[0].1);
    for _ in 0..300 {
        worker.work("1");
    }
    worker.settle();
    let after = count(&worker.tasks("schedstat")[0].1);
    let lines = gauge.end();
    let series = lines.iter().flat_map(|line| line["series"].as_array().unwrap());
    let counted: u64 = series.map(|series| number(series, "count")).sum();
    let missed = lines.iter().flat_map(|line| line["missed"].as_object().unwrap().values());
    let missed: u64 = missed.map(|count| count.as_u64().unwrap()).sum();
    crate::runqlat::assert_counts(counted, missed, after - before);
    assert!(after - before >= 300, "it did not wait for its lines");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    run(&mut rprof(["latency", "runqlatency"])).fails(1, ["no latency", "runqlat", "softirqs"]);
    run(&mut rprof(["latency", "runqlat", "--by", "handler"])).fails(1, ["handler", "process"]);
    run(&mut rprof(["latency", "runqlat", "--by", "colour"])).fails(2, ["handler", "none"]);
    run(&mut rprof(["latency", "runqlat", "--each"])).fails(1, ["runqlat", "--each"]);
    run(&mut rprof(["latency", "runqlat", "--remote-port", "80"])).fails(1, ["ports"]);
    run(&mut rprof(["latency", "softirqs", "-4"])).fails(1, ["families"]);
    run(&mut rprof(["latency", "hardirqs", "--cpu", "9999"])).fails(1, ["no CPU 9999"]);
    run(&mut rprof(["latency", "runqlat", "-p", "4194999"])).fails(1, ["no process 4194999"]);
}

#[test]
fn it_ends_with_its_target_and_says_if_there_was_nothing() {
    if !require_root() {
        return;
    }
    let process = Process::start(Command::new("sleep").arg("1"));
    let pid = process.id().to_string();
    let ended = run(&mut rprof(["latency", "runqlat", "-p", &pid, "--by", "process"]));
    assert!(ended.ok().contains(&format!("sleep ({pid})")), "{}", ended.text());
    let process = Process::start(Command::new("sleep").arg("100"));
    let pid = process.id().to_string();
    let nothing = run(&mut rprof(["latency", "runqlat", "-p", &pid, "-d", "300ms"]));
    assert_eq!(nothing.code(), 1);
    assert!(nothing.err.contains("nothing to measure"), "{}", nothing.err);
}

#[test]
fn people_see_bars_and_tables() {
    if !require_root() {
        return;
    }
    let out = run(&mut rprof(["latency", "runqlat", "-d", "1s"]));
    let text = out.ok();
    for part in ["runqlat, whole machine, ", "FROM", "COUNT", "█", "p99.9 ", "max "] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let out = run(&mut rprof(["latency", "softirqs", "-d", "1s", "-n", "2", "--bars"]));
    let text = out.ok();
    for part in ["P99.9", "VECTOR", "… and ", "vector ", "█"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}
