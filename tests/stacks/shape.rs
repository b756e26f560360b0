//! Stacks of known shape, from programs compiled in all the ways that there are, none of which
//! keeps frame pointers.

use std::{fs, process::Command};

use crate::{
    HZ, LONG,
    stacks::{
        Process, Recorder, Recording, Workshop, record, require, require_root, run, wait_until,
    },
};

/// Share of whole stacks of a program that does nothing but throw.
const THROWN: f64 = 0.985;

/// Calls that `stacks.c` recurses through.
const DEPTH: usize = 20;

fn shape(flags: &[&str], shape: &str, seconds: &str) -> Recording {
    let shop = Workshop::new();
    let program = shop.stacks(flags);
    record(HZ, [program.to_str().unwrap(), shape, seconds])
}

/// Asserts that every stack in `spin` has all of its calls, from `main` on.
fn assert_recursion(what: &str, recording: &Recording) {
    recording.assert_whole(what, LONG);
    assert_depth(recording);
}

fn assert_depth(recording: &Recording) {
    recording.assert_chain(&["main", "recurse", "spin"], 0.0);
    let calls = |frames: &[String]| frames.iter().filter(|name| *name == "recurse").count();
    let right = |stack: &crate::stacks::Stack| calls(&stack.user) == DEPTH;
    let spin = recording.count(|stack| stack.has("spin"));
    let deep = recording.count(|stack| stack.has("spin") && right(stack));
    assert!(spin - deep <= 1, "{} of {spin} do not have {DEPTH} calls", spin - deep);
}

#[test]
fn recursion_however_it_was_linked() {
    if !require_root() {
        return;
    }
    let ways: [&[&str]; 6] = [
        &["-pie", "-fPIE"],
        &["-no-pie", "-fno-pie"],
        &["-static"],
        &["-static-pie", "-fPIE"],
        &["-fcf-protection=full"],
        &["-Wl,-z,now", "-fno-plt"],
    ];
    for flags in ways {
        assert_recursion(&format!("recursion, {flags:?}"), &shape(flags, "recurse", "0.4"));
    }
}

/// musl says nothing of how its own functions are unwound: a stack is whole up to `main`, and says
/// that it is not beyond.
#[test]
fn a_libc_without_tables() {
    if !require_root() || require("musl-gcc", "musl-tools").is_none() {
        return;
    }
    let shop = Workshop::new();
    let flags = ["musl-gcc", "-O2", "-fomit-frame-pointer", "-static", "-pthread"];
    let program = shop.compile(&flags, "stacks.c", "stacks");
    let recording = record(HZ, [program.to_str().unwrap(), "recurse", "0.4"]);
    assert_depth(&recording);
    let silent = recording.count(|stack| stack.failed.is_none() && !stack.has("_start"));
    assert!(silent <= 1, "{silent} do not say that they are cut: {recording:#?}");
}

#[test]
fn a_stripped_program_has_whole_stacks_without_names() {
    if !require_root() {
        return;
    }
    for flags in [&["-s"][..], &["-s", "-static"]] {
        let recording = shape(flags, "recurse", "0.4");
        recording.assert_whole(&format!("stripped, {flags:?}"), LONG);
        // spin, its callers, main, and what calls main.
        let deep = recording.count(|stack| stack.user.len() >= DEPTH + 3);
        let all = recording.count(|_| true);
        assert!(deep * 10 > all * 9, "{deep} of {all}: {recording:#?}");
    }
}

#[test]
fn callbacks_of_libc_and_stacks_of_no_fixed_size() {
    if !require_root() {
        return;
    }
    let recording = shape(&[], "qsort", "0.5");
    recording.assert_whole("qsort", LONG);
    recording.assert_chain(&["main", "sort", "compare", "spin"], 0.0);
    let recording = shape(&[], "alloca", "0.5");
    recording.assert_whole("alloca", LONG);
    recording.assert_chain(&["main", "grow", "grow", "grow", "spin"], 0.0);
}

#[test]
fn signal_handlers_on_either_stack() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.stacks(&[]);
    for name in ["signal", "altstack"] {
        let process = Process::start(Command::new(&program).args([name, "60"]));
        let mut recorder = Recorder::start(HZ, ["-p", &process.id().to_string()]);
        // Before the tables are there, a stack is followed in a copy of the one that rsp points
        // to, which is only the alternate one.
        recorder.wait_for_tables();
        // A second of its own time, however busy the machine is.
        let spent = || {
            let text = fs::read_to_string(format!("/proc/{}/schedstat", process.id())).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let before = spent();
        wait_until("a second of CPU time", || (spent() > before + 1_000_000_000).then_some(()));
        let recording = recorder.interrupt();
        recording.assert_whole(name, LONG);
        recording.assert_chain(&["main", "interrupted", "handler", "spin"], 0.0);
    }
}

#[test]
fn four_threads() {
    if !require_root() {
        return;
    }
    let recording = shape(&[], "threads", "1");
    recording.assert_whole("threads", LONG);
    recording.assert_chain(&["work", "recurse", "spin"], 0.0);
    let roots = recording.count(|stack| stack.has("work") && stack.user[0].contains("clone"));
    let all = recording.count(|stack| stack.has("work"));
    assert!(all - roots <= 1, "{} of {all} do not start in clone", all - roots);
}

#[test]
fn cpp_in_the_standard_library_and_in_exceptions() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.compile(&["g++", "-O2", "-fomit-frame-pointer"], "stacks.cpp", "stacks");
    let program = program.to_str().unwrap();
    let recording = record(HZ, [program, "sort", "0.5"]);
    recording.assert_whole("std::sort", LONG);
    recording.assert_chain(&["main", "sort_numbers", "before", "spin"], 0.0);
    let recording = record(HZ, [program, "throw", "0.8"]);
    // In the last three instructions of `__builtin_eh_return` rbp and rsp are of another frame,
    // which no row tells of: a few samples land there.
    recording.assert_whole("exceptions", THROWN);
    let thrown = recording.count(|stack| stack.has("_Unwind_RaiseException"));
    assert!(thrown > 0, "{recording:#?}");
    let known = recording.count(|stack| stack.has("_Unwind_RaiseException") && stack.has("main"));
    // Those instructions are about 1 in 30 of the function's time.
    assert!(thrown - known <= 4 + thrown / 12, "{} of {thrown} lead nowhere", thrown - known);
}

#[test]
fn rust() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let flags = ["rustc", "--edition=2024", "-O", "-Cforce-frame-pointers=no"];
    let program = shop.compile(&flags, "stacks.rs", "stacks");
    let recording = record(HZ, [program.to_str().unwrap(), "0.6"]);
    recording.assert_whole("rust", LONG);
    let step = "<stacks::Wheel as stacks::Step>::step";
    recording.assert_chain(&["main", "stacks::main", step, "stacks::spin"], 0.0);
}

#[test]
fn go() {
    let Some(go) = require_root().then(|| require("go", "golang-go")).flatten() else {
        return;
    };
    let shop = Workshop::new();
    let program = shop.path("stacks");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&program).arg(crate::stacks::workload("stacks.go"));
    // All of it from the package's own files: nothing is fetched.
    build.env("GO111MODULE", "off").env("CGO_ENABLED", "0").env("GOFLAGS", "");
    build.env("GOCACHE", shop.path("cache")).env("GOPROXY", "off");
    run(&mut build);
    let recording = record(HZ, [program.to_str().unwrap(), "1"]);
    recording.assert_whole("go", LONG);
    recording.assert_chain(&["runtime.goexit", "main.work", "main.recurse", "main.spin"], 0.001);
}
