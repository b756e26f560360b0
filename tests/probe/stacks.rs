//! `record -e`.

use std::path::Path;

use serde_json::Value;

use crate::{
    at,
    common::{
        command::{Ran, rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::text,
};

/// Calls that `threads 100` makes of `recurse`: in four threads, five deep.
const CALLS: u64 = 4 * 5 * 100;

/// `rprof record WORDS -o FILE -- COMMAND`.
fn record(file: &Path, words: &[&str], command: &[&str]) -> Ran {
    let mut rprof = rprof(["record", "-o"]);
    let ran = run(rprof.arg(file).args(words).arg("--").args(command));
    assert_eq!(ran.code(), 0, "{}", ran.err);
    ran
}

fn report(file: &Path, words: &[&str]) -> Value {
    let ran = run(rprof(["report", "--json"]).arg(file).args(words));
    serde_json::from_str(ran.ok()).unwrap()
}

/// The sum of what the lines of folded stacks count, of those that have `function`.
fn folded(file: &Path, source: &str, function: &str) -> u64 {
    let ran = run(rprof(["export", "-f", "folded", "-s", source]).arg(file));
    let lines = ran.ok().lines().filter(|line| line.contains(function));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[test]
fn every_hit_has_its_stack() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, file) = (shop.c("probe"), shop.path("data"));
    let [entry, back] = ["recurse", "recurse/ret"].map(|name| at("uprobe", &program, name));
    let switches = "tracepoint:sched:sched_switch";
    let words = ["-e", &entry, "-e", &back, "-e", switches, "-s", "cpu"];
    let ran = record(&file, &words, &[text(&program), "threads", "100"]);
    assert!(ran.err.contains(&format!("rprof: {entry}: 2,000 samples, 0 lost")), "{}", ran.err);
    assert_eq!(folded(&file, &entry, ";recurse"), CALLS);
    assert_eq!(folded(&file, &back, ""), CALLS);
    // The kernel's part of the stack begins at the tracepoint.
    let kernel = folded(&file, switches, "__schedule");
    assert!(kernel > 0 && kernel == folded(&file, switches, ""), "{kernel}");
    let report = report(&file, &["-s", &entry]);
    let text = report.to_string();
    assert!(text.contains("\"hits\"") && text.contains(&entry), "{text}");
}

#[test]
fn a_return_has_the_stack_of_the_caller() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, file) = (shop.c("probe"), shop.path("data"));
    let back = at("uprobe", &program, "give_nothing/ret");
    record(&file, &["-e", &back], &[text(&program), "calls", "500"]);
    assert_eq!(folded(&file, &back, ";main"), 500);
}

#[test]
fn one_in_so_many_hits_stands_for_all() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, file) = (shop.c("probe"), shop.path("data"));
    let probe = at("uprobe", &program, "recurse");
    let mark = at("usdt", &program, "probe:plain");
    let command = [text(&program), "threads", "100"];
    let ran = record(&file, &["-e", &format!("{probe},7")], &command);
    assert!(ran.err.contains(": 285 samples, 0 lost"), "{}", ran.err);
    assert_eq!(folded(&file, &probe, ""), CALLS / 7 * 7);
    record(&file, &["-e", &mark, "--every", "10"], &[text(&program), "marks", "1000"]);
    assert_eq!(folded(&file, &mark, ";main"), 1000);
}

#[test]
fn events_of_perf_are_sampled_on_every_cpu() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, file) = (shop.c("probe"), shop.path("data"));
    let words = ["-e", "perf:context-switches", "-e", "perf:page-faults"];
    record(&file, &words, &[text(&program), "sleep", "20"]);
    assert!(folded(&file, "perf:context-switches", ";sleep_ms") >= 20);
    // It maps its libraries, at least.
    assert!(folded(&file, "perf:page-faults", "") >= 10);
    let text = report(&file, &["-s", "perf:page-faults"]).to_string();
    assert!(text.contains("\"page_faults\""), "{text}");
}

#[test]
fn other_processes_of_the_same_file_are_left_out() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, file) = (shop.c("probe"), shop.path("data"));
    let probe = at("uprobe", &program, "recurse");
    let script = "for i in 1 2 3 4; do \"$0\" threads 10; done";
    let other = crate::common::workload::Process::workload(
        Path::new("/bin/sh"),
        &["-c", "while :; do \"$0\" threads 10; done", text(&program)],
    );
    // Children of the command are its own.
    record(&file, &["-e", &probe], &["sh", "-c", script, text(&program)]);
    drop(other);
    assert_eq!(folded(&file, &probe, ""), 4 * CALLS / 10);
}
