//! Source `faults` on a program that touches a known number of pages.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_root},
    recorder::{Recorder, Told},
};

#[test]
fn pages_are_charged_to_who_touched_them() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("faults", "faults", &["-O1", "-g"]);
    let mut program = Told::start(Command::new(program).arg("8000"));
    let pid = program.id().to_string();
    // The links of the base, and an event for each CPU.
    let cpus = std::thread::available_parallelism().unwrap().get();
    let recorder = Recorder::start(&["-s", "faults", "-p", &pid]);
    recorder.wait_for_links(cpus + 2);
    program.go_on();
    let report = recorder.wait().report(&[]);
    report.assert_whole();
    // One sample in 16 faults, by a counter on each CPU: off by one period on each at most, and at
    // each change of the CPU.
    for (function, pages) in [("grow_fast", 24_000.0), ("grow_slowly", 8_000.0)] {
        let (faults, bytes) = report.of(function);
        assert!((faults - pages).abs() <= 0.05 * pages, "{function}: {faults} of {pages}");
        assert_eq!(bytes, faults * 4096.0);
    }
    drop(program);
}
