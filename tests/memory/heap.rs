//! Source `heap` on programs that leak known amounts.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_root, wait_until},
    recorder::{Recorded, Recorder, Told},
};

pub const MIB: f64 = 1_048_576.0;
/// Bytes that each function of `leaks.c` leaves.
pub const SMALL: f64 = 100.0 * 4194.0 * 40.0;
pub const MIDDLE: f64 = 100.0 * 84.0 * 4000.0;
pub const LARGE: f64 = 20.0 * MIB;

fn leaks(shop: &Workshop) -> Told {
    let program = shop.build("leaks", "leaks", &["-O1", "-g", "-fno-builtin"]);
    Told::start(Command::new(program).arg("200"))
}

/// Records it from before its first allocation to after its last.
fn record(words: &[&str]) -> Recorded {
    record_sources("heap", words)
}

fn record_sources(sources: &str, words: &[&str]) -> Recorded {
    let shop = Workshop::new();
    let mut program = leaks(&shop);
    let pid = program.id().to_string();
    let all = ["-s", sources, "--max-overhead", "0", "-p", &pid];
    let recorder = Recorder::start(&[&all, words].concat());
    recorder.wait_until_probing("libc.so.6");
    program.go_on();
    program.wait_until_done();
    let recorded = recorder.end();
    program.end();
    recorded
}

/// Within five standard errors of what it should be: an estimate of `bytes` by one sample in `rate`
/// bytes has the variance `bytes * rate`, or less.
pub fn assert_about(what: &str, found: f64, bytes: f64, rate: f64) {
    let error = (bytes * rate).sqrt();
    assert!((found - bytes).abs() <= 5.0 * error, "{what}: {found} of {bytes}, 1 sigma {error}");
}

#[test]
fn leaks_are_found_by_their_functions() {
    if !require_root() {
        return;
    }
    let rate = 65536.0;
    let recorded = record(&["--rate", "64KiB"]);
    let report = recorded.report(&[]);
    report.assert_whole();
    for (function, bytes, size) in
        [("leak_small", SMALL, 40.0), ("leak_middle", MIDDLE, 4000.0), ("leak_large", LARGE, MIB)]
    {
        let (objects, found) = report.of(function);
        assert_about(function, found, bytes, rate);
        assert!((objects * size / found - 1.0).abs() < 0.02, "{function}: {objects}, {found}");
    }
    // What is freed at once was allocated, and is held no more.
    let churned = 100.0 * 2000.0 * 599.5;
    assert_about("churn", recorded.report(&["--type", "alloc_space"]).of("churn").1, churned, rate);
    assert!(report.of("churn").1 < 0.01 * churned, "{:?}", report.of("churn"));
    // Whoever asks for what is old gets what is not new.
    assert!(recorded.folded(&["--older", "10ms"]).contains("leak_small"));
    assert!(recorded.refuses(&["--older", "1h"]).contains("nothing in use"));
}

#[test]
fn at_rate_0_it_is_exact() {
    if !require_root() {
        return;
    }
    let recorded = record(&["--rate", "0"]);
    let report = recorded.report(&[]);
    report.assert_whole();
    assert_eq!(report.of("leak_small"), (419_400.0, SMALL));
    assert_eq!(report.of("leak_middle"), (8_400.0, MIDDLE));
    assert_eq!(report.of("leak_large"), (20.0, LARGE));
    assert_eq!(report.of("churn"), (0.0, 0.0));
    // What realloc moved, grew and shrank is one block.
    assert_eq!(report.of("resize"), (1.0, MIB));
    let all = recorded.report(&["--type", "alloc_space"]);
    assert_eq!(all.of("churn"), (200_000.0, 100.0 * 2000.0 * 599.5));
}

#[test]
fn sizes_out_of_bounds_are_left_out() {
    if !require_root() {
        return;
    }
    let recorded = record(&["--rate", "0", "--min-size", "1000", "--max-size", "100kB"]);
    let report = recorded.report(&[]);
    assert_eq!(report.of("leak_small"), (0.0, 0.0));
    assert_eq!(report.of("leak_middle"), (8_400.0, MIDDLE));
    assert_eq!(report.of("leak_large"), (0.0, 0.0));
}

#[test]
fn a_static_program_has_its_allocator_found() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let flags = ["-O1", "-g", "-fno-builtin", "-static"];
    let program = shop.build("leaks", "leaks-static", &flags);
    let mut program = Told::start(Command::new(program).arg("10"));
    let recorder = Recorder::start(&["-s", "heap", "--rate", "0", "-p", &program.id().to_string()]);
    recorder.wait_until_probing("leaks-static");
    program.go_on();
    program.wait_until_done();
    let report = recorder.end().report(&[]);
    assert_eq!(report.of("leak_middle"), (8_400.0, MIDDLE));
    assert_eq!(report.of("resize"), (1.0, MIB));
}

#[test]
fn heap_and_cpu_are_recorded_at_once() {
    if !require_root() {
        return;
    }
    let recorded = record_sources("heap,cpu", &["-F", "999"]);
    assert!(recorded.report(&["-s", "heap"]).of("leak_small").1 > 0.0);
    assert!(recorded.report(&["-s", "cpu"]).bytes() > 0.0);
}

#[test]
fn within_a_budget_sums_are_estimates() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("busyheap", "busyheap", &["-O1", "-g", "-fno-builtin"]);
    // Two functions that allocate all the time, one three times as much as the other.
    let mut program = Told::start(Command::new(program).arg("6"));
    let pid = program.id().to_string();
    // Some thousand samples, so that the ratio is not left to luck.
    let words = ["-s", "heap", "--rate", "8KiB", "--max-overhead", "5%", "-p", &pid];
    let recorder = Recorder::start(&words);
    recorder.wait_until_probing("libc.so.6");
    program.go_on();
    let (used, allocated) = program.wait_for_numbers();
    let report = recorder.end().report(&["--type", "alloc_space"]);
    let event = report.0["source"]["event"].as_str().unwrap();
    assert!(event.contains("% of the time"), "{event}");
    let (often, rarely) = (report.of("often").1, report.of("rarely").1);
    assert!((2.0..4.5).contains(&(often / rarely)), "{often} {rarely}");
    // A sum of few windows. After one that lasted too long, as others had the CPU, there may be none
    // for longer than the program lives: so it is less, but not more.
    let share = report.bytes() / allocated;
    assert!(share > 0.0 && share < 5.0, "{share} of {allocated}");
    assert!(used > 0.0);
    program.end();
}

#[test]
fn what_ended_processes_held_is_forgotten() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("leaks", "leaks", &["-O1", "-g", "-fno-builtin"]);
    let mut shell = Told::start(
        Command::new("sh").arg("-c").arg("read line; \"$0\" 200; read line; exit 0").arg(program),
    );
    let pid = shell.id().to_string();
    let recorder =
        Recorder::start(&["-s", "heap", "--max-overhead", "0", "--rate", "4KiB", "-p", &pid]);
    recorder.wait_until_probing("libc.so.6");
    shell.go_on();
    recorder.wait_until_probing_in(2, "libc.so.6");
    shell.go_on();
    shell.wait_until_done();
    wait_until("allocations that are held", || (recorder.held() > 1000).then_some(()));
    shell.go_on();
    wait_until("an empty map", || (recorder.held() < 100).then_some(()));
    shell.end();
    recorder.end();
}
