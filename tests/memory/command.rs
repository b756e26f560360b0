//! Source `heap` on commands that rprof starts: they sample their memory themselves, by the shim that
//! they are preloaded with, and are probed where they cannot.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_program, require_root},
    heap::{LARGE, MIB, MIDDLE, SMALL, assert_about},
    recorder::{Report, record_command},
};

const FLAGS: [&str; 3] = ["-O1", "-g", "-fno-builtin"];
/// What `churn` of `leaks.c` allocates, bytes.
const CHURNED: f64 = 100.0 * 2000.0 * 599.5;

fn is_preloaded(report: &Report) -> bool {
    report.0["source"]["event"] == "preload shim"
}

#[test]
fn its_leaks_are_found_by_their_functions() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (recorded, _) = record_command(&["--rate", "64KiB"], &shop.build("leaks", "leaks", &FLAGS));
    let report = recorded.report(&["--type", "alloc_space"]);
    // Its tables are made while it runs its first moments.
    report.assert_complete(0.9);
    assert!(is_preloaded(&report));
    let rate = 65536.0;
    for (function, bytes, size) in
        [("leak_small", SMALL, 40.0), ("leak_middle", MIDDLE, 4000.0), ("leak_large", LARGE, MIB)]
    {
        let (objects, found) = report.of(function);
        assert_about(function, found, bytes, rate);
        assert!((objects * size / found - 1.0).abs() < 0.02, "{function}: {objects}, {found}");
    }
    assert_about("churn", report.of("churn").1, CHURNED, rate);
    // Who calls the allocator is called by nobody of ours.
    let folded = recorded.folded(&["--type", "alloc_space"]);
    assert!(folded.lines().any(|line| line.contains(";main;leak_small;allocated ")), "{folded}");
}

/// So many objects, but for those of the first moments, whose stacks end early: tables are made when
/// a program is first sampled, and how long that takes is up to the machine.
fn assert_all(report: &Report, function: &str, objects: f64) {
    let reasons = report.0["unwind_failed"].as_object().unwrap();
    let incomplete: f64 = reasons.values().map(|count| count.as_f64().unwrap()).sum();
    let found = report.of(function).0;
    let wanted = objects - incomplete..=objects;
    assert!(wanted.contains(&found), "{function}: {found} of {objects}, {incomplete} incomplete");
    assert!(found > 0.0, "{function}: {incomplete} incomplete");
}

#[test]
fn at_rate_0_it_is_exact() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (recorded, _) = record_command(&["--rate", "0"], &shop.build("leaks", "leaks", &FLAGS));
    let all = recorded.report(&["--type", "alloc_space"]);
    assert!(is_preloaded(&all));
    assert_eq!((&all.0["lost"], all.0["missed"].as_object().unwrap().len()), (&0.into(), 0));
    assert_all(&all, "leak_small", 419_400.0);
    assert_all(&all, "leak_middle", 8_400.0);
    assert_all(&all, "churn", 200_000.0);
    // All of these, 16 by realloc, and a buffer each for what it reads and writes.
    assert_eq!(all.0["samples"], 419_400 + 8_400 + 20 + 200_000 + 16 + 2);
}

#[test]
fn a_static_one_is_probed_from_its_first_allocation() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("leaks", "leaks-static", &[&FLAGS[..], &["-static"]].concat());
    let (recorded, said) = record_command(&["--rate", "0"], &program);
    assert!(said.contains("cannot sample its memory itself: it is linked statically"), "{said}");
    assert!(said.contains("its allocator is probed instead"), "{said}");
    let report = recorded.report(&["--type", "alloc_space"]);
    assert!(!is_preloaded(&report));
    assert_all(&report, "leak_small", 419_400.0);
    assert_all(&report, "churn", 200_000.0);
}

#[test]
fn one_of_musl_is_preloaded_as_well() {
    if !require_root() || !require_program("/usr/bin/musl-gcc") {
        return;
    }
    let shop = Workshop::new();
    let program = shop.compile("musl-gcc", "leaks.c", "leaks", &FLAGS);
    let (recorded, _) = record_command(&["--rate", "64KiB"], &program);
    let report = recorded.report(&["--type", "alloc_space"]);
    assert!(is_preloaded(&report));
    assert_about("leak_small", report.of("leak_small").1, SMALL, 65536.0);
    assert_about("churn", report.of("churn").1, CHURNED, 65536.0);
}

/// What `rprof record WORDS -- sh -c SCRIPT` prints.
fn printed(words: &[&str], script: &str) -> String {
    let shop = Workshop::new();
    let mut rprof = Command::new(env!("CARGO_BIN_EXE_rprof"));
    rprof.env_remove("LD_PRELOAD").args(["record", "-o"]).arg(shop.path("out")).args(words);
    let output = rprof.args(["--", "sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nothing_is_preloaded_unless_it_is_asked_for() {
    if !require_root() {
        return;
    }
    let script = "for i in $(seq 300); do :; done; echo $RPROF_HEAP_RATE $LD_PRELOAD";
    assert_eq!(printed(&["-s", "cpu", "-F", "9999"], script), "\n");
    let shim = printed(&["-s", "heap", "--rate", "512"], script);
    assert!(shim.starts_with("512 /") && shim.ends_with(".so\n"), "{shim}");
    // Whoever names an allocator wants that one.
    let words = ["-s", "heap", "--rate", "512", "--allocator-prefix", "my_"];
    assert_eq!(printed(&words, script), "\n");
}
