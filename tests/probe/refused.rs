//! What cannot be probed, and what is said of it.

use std::fs;

use crate::{
    at,
    common::{
        command::{rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::text,
};

fn refused(probe: &str, parts: &[&str]) {
    for command in ["trace", "record"] {
        let folder = Workshop::new();
        let file = folder.path("out");
        let ran = run(&mut rprof([command, "-o", text(&file), "-d", "10ms", "-e", probe]));
        assert!(ran.code() > 0, "{command} {probe}: {}", ran.err);
        for part in parts {
            assert!(ran.err.contains(part), "{command} {probe}: no {part:?} in: {}", ran.err);
        }
        assert!(command == "trace" || !file.exists(), "{probe} leaves a recording");
    }
}

#[test]
fn what_there_is_not_is_told_with_what_is_near() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("probe");
    for (probe, parts) in [
        (
            at("uprobe", &program, "recurs"),
            &["has no function recurs", "; the nearest is recurse"][..],
        ),
        (at("uprobe", &program, "printf"), &["has it from a library"]),
        (at("uprobe", &program, "choice"), &["STT_GNU_IFUNC"]),
        (at("uprobe", &program.with_file_name("prob"), "main"), &["; the nearest is probe"]),
        (at("usdt", &program, "probe:plan"), &["; the nearest is probe:plain"]),
        ("usdt:ls:a:b".into(), &["has no USDT probes"]),
        ("uprobe:lss:main".into(), &["no program or library is called lss", "; the nearest is "]),
        ("tracepoint:sched:sched_swich".into(), &["; the nearest is sched:sched_switch"]),
        ("tracepoint:shed:sched_switch".into(), &["there is tracepoint:sched:sched_switch"]),
        ("perf:page-fault".into(), &["; the nearest is page-faults"]),
        ("perf:cpu-clock".into(), &["record -s cpu"]),
        ("fentry:do_unlinkatt".into(), &["; the nearest is do_unlinkat"]),
        ("uprob:x:y".into(), &["; the nearest is uprobe"]),
        ("uprobe:x".into(), &["it is written uprobe:FILE:FUNCTION"]),
    ] {
        refused(&probe, parts);
    }
}

#[test]
fn kernels_without_kprobes_say_so() {
    if !require_root() || fs::exists("/sys/bus/event_source/devices/kprobe").unwrap() {
        return;
    }
    refused("kprobe:do_unlinkat", &["without CONFIG_KPROBES", "tracepoints go on every kernel"]);
}

#[test]
fn a_file_that_is_no_program_is_no_panic() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = fs::read(shop.c("probe")).unwrap();
    for (name, bytes) in [
        ("empty", &[][..]),
        ("text", b"#!/bin/sh\n"),
        ("short", &program[..70]),
        ("cut", &program[..program.len() / 2]),
    ] {
        let file = shop.path(name);
        fs::write(&file, bytes).unwrap();
        refused(&at("uprobe", &file, "main"), &[text(&file)]);
        refused(&at("usdt", &file, "a:b"), &[text(&file)]);
    }
    refused("uprobe:/etc:main", &["not a file"]);
    refused("uprobe:/dev/zero:main", &["not a file"]);
}

#[test]
fn system_calls_are_still_told_from_probes() {
    let ran = run(&mut rprof(["trace", "-e", "open,close"]));
    ran.fails(1, ["system calls", "syscalls"]);
    run(&mut rprof(["trace"])).fails(2, ["NAME"]);
    run(&mut rprof(["record", "-e", "open"])).fails(2, ["no kind of probe is called \"open\""]);
}
