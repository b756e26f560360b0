//! On the CPU and off it, in one picture.

use crate::{
    common::workload::require_root,
    recorder::{assert_close, record},
};

#[test]
fn time_on_and_off_the_cpu_is_all_of_a_threads_time() {
    if !require_root() {
        return;
    }
    let (recorded, said) = record(&["-s", "cpu,offcpu"], &["storm", "4"]);
    let wall = said.threads["ping_here"].0;
    let view = |source| vec!["-s", source, "--by", "thread", "--comm", "ping_here"];
    let cpu = [view("cpu"), vec!["--type", "cpu"]].concat();
    let parts = [recorded.through(&cpu, &[]), recorded.through(&view("offcpu"), &[])];
    let sum = recorded.through(&view("cpu,offcpu"), &[]);
    assert!((sum - parts[0] - parts[1]).abs() <= 2.0, "{sum} {parts:?}");
    assert!(parts[0] > wall / 20.0 && parts[1] > wall / 20.0, "{wall} {parts:?}");
    // Time on the CPU is a guess from some hundred samples: five deviations.
    let luck = 5.0 * (parts[0] * 10.1e6).sqrt() / wall;
    assert_close(sum, wall, 0.02 + luck, "ping_here");
    let report = recorded.report(&["-s", "cpu,offcpu"]);
    assert_eq!(report["source"]["value"]["name"], "wall");
    assert!(recorded.through(&["-s", "cpu,offcpu"], &["ping_here", "[sleep]"]) > 0.0);
}

#[test]
fn the_picture_of_both_is_asked_for_by_name() {
    if !require_root() {
        return;
    }
    let (recorded, _) = record(&["-s", "cpu,offcpu"], &["storm", "1"]);
    let svg = recorded.show(&["flamegraph", "-s", "cpu,offcpu"]);
    assert!(svg.contains("Wall-clock time") && svg.contains("[sleep]"), "{svg}");
    let cpu = recorded.show(&["flamegraph"]);
    assert!(cpu.contains("CPU time") && !cpu.contains("[sleep]"), "{cpu}");
    assert!(recorded.refuses(&["-s", "cpu,offcpu,cpu"]).contains("twice"));
    assert!(recorded.refuses(&["-s", "cpu,heap"]).contains("no source heap"));
}
