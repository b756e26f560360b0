//! `latency -e`.

use std::process::Command;

use crate::{
    at,
    common::{
        command::{rprof, run},
        workload::{Workshop, require_root, run as done},
    },
    gauge::{Gauge, Interval, number},
    tracer::text,
};

/// Times of a function of the program while it does `work`, and what it said itself.
fn times(shop: &Workshop, function: &str, by: &str, work: [&str; 2]) -> (Interval, String) {
    let program = shop.c("probe");
    let probe = at("-euprobe", &program, function);
    // Nobody else has that file: there is no need for a target.
    let gauge = Gauge::start(&probe, 1, ["--by", by]);
    let said = done(Command::new(&program).args(work));
    (gauge.interval(), said)
}

#[test]
fn a_function_takes_as_long_as_its_caller_says() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (interval, said) = times(&shop, "sleep_ms", "process", ["sleep", "25"]);
    let own: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((interval.total("count"), own.len()), (25, 25));
    let (sum, around) = (interval.total("sum"), own.iter().sum::<u64>());
    // From inside of what the caller measures; and it sleeps for 20 ms.
    assert!(sum >= 25 * 20_000_000 && sum <= around, "{sum} of {around}");
    assert!(interval.total("max") <= *own.iter().max().unwrap());
    let series = interval.series();
    assert!(series[0]["labels"]["process"].as_str().unwrap().starts_with("probe"), "{series:?}");
    assert!(number(series[0], "p50") >= 19_000_000, "{series:?}");
}

#[test]
fn calls_within_calls_and_in_threads_are_told_apart() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (interval, _) = times(&shop, "recurse", "thread", ["threads", "50"]);
    assert_eq!(interval.total("count"), 4 * 5 * 50);
    let counts: Vec<u64> = interval.series().iter().map(|series| number(series, "count")).collect();
    assert_eq!(counts, [250; 4]);
    assert_eq!(interval.0["missed"], serde_json::json!({}), "{}", interval.0);
}

#[test]
fn calls_that_are_too_deep_for_the_kernel_are_counted() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (interval, _) = times(&shop, "recurse", "none", ["deep", "100"]);
    let missed: u64 = interval.0["missed"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(interval.total("count") + missed, 100, "{}", interval.0);
    assert!(interval.total("count") >= 60 && missed > 0, "{}", interval.0);
}

#[test]
fn only_functions_have_a_length() {
    let shop = Workshop::new();
    let program = shop.c("probe");
    let back = at("uprobe", &program, "recurse/ret");
    for (probe, part) in [
        ("tracepoint:sched:sched_switch", "is no function"),
        ("perf:page-faults", "is no function"),
        (&back[..], "without /ret"),
    ] {
        run(&mut rprof(["latency", "-e", probe])).fails(1, [part]);
    }
    run(&mut rprof(["latency", "gc", "-e", text(&program)])).fails(2, []);
}
