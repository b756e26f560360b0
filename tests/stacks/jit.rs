//! Code that programs make while they run: whole stacks, with names where there is a perf map and
//! `[jit]` where there is none.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    HZ, LONG,
    stacks::{Process, Recorder, Recording, Workshop, require, require_root, run, workload},
};

/// How long a process is watched.
const WATCHED: Duration = Duration::from_millis(1500);

/// The perf map of a process, which is gone when the test ends.
struct PerfMap(PathBuf);

impl PerfMap {
    fn of(pid: u32) -> Self {
        Self(format!("/tmp/perf-{pid}.map").into())
    }
}

impl Drop for PerfMap {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // not all tests make one
    }
}

/// Asserts that nearly all stacks with a frame named as `leaf` also have one as `outer`.
fn assert_below(recording: &Recording, outer: &str, leaf: &str) {
    let named = |stack: &crate::stacks::Stack, text: &str| {
        stack.user.iter().any(|frame| frame.contains(text))
    };
    let all = recording.count(|stack| named(stack, leaf));
    let known = recording.count(|stack| named(stack, leaf) && named(stack, outer));
    assert!(all >= 20, "{all} samples in {leaf}: {recording:#?}");
    assert!(all - known <= 1 + all / 100, "{} of {all} not below {outer}", all - known);
}

fn jit(recording: &Recording) -> u64 {
    recording.count(|stack| stack.has("[jit]"))
}

fn node(options: &[&str]) -> Option<Recording> {
    let node = require("node", "nodejs")?;
    let shop = Workshop::new();
    let mut command = Command::new(node);
    // It leaves a log in its working directory.
    command.current_dir(shop.path("")).stdout(Stdio::null());
    command.args(options).arg(workload("stacks.js")).arg("60");
    let process = Process::start(&mut command);
    let _map = PerfMap::of(process.id());
    let mut recorder = Recorder::start(HZ, ["-p", &process.id().to_string()]);
    recorder.wait_for_tables();
    thread::sleep(WATCHED);
    Some(recorder.interrupt())
}

#[test]
fn node_with_a_perf_map() {
    if !require_root() {
        return;
    }
    let Some(recording) = node(&["--perf-basic-prof"]) else { return };
    recording.assert_whole("node --perf-basic-prof", LONG);
    // What the compiler put into its caller has no frame of its own.
    assert_below(&recording, "stacks.js", "leaf ");
    assert_below(&recording, "main", "leaf ");
}

#[test]
fn node_without_a_perf_map() {
    if !require_root() {
        return;
    }
    let Some(recording) = node(&[]) else { return };
    recording.assert_whole("node", LONG);
    assert!(jit(&recording) > 20, "{recording:#?}");
    assert_below(&recording, "main", "[jit]");
}

#[test]
fn java_with_frame_pointers_and_a_perf_map() {
    if !require_root() {
        return;
    }
    let package = "openjdk-17-jdk-headless";
    let (Some(java), Some(javac), Some(jcmd)) =
        (require("java", package), require("javac", package), require("jcmd", package))
    else {
        return;
    };
    let shop = Workshop::new();
    let classes = shop.path("");
    run(Command::new(javac).arg("-d").arg(&classes).arg(workload("Stacks.java")));
    let mut command = Command::new(java);
    command.args(["-XX:+PreserveFramePointer", "-cp"]).arg(&classes).args(["Stacks", "60"]);
    let process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let map = PerfMap::of(process.id());
    let pid = process.id().to_string();
    let mut recorder = Recorder::start(HZ, ["-p", &pid]);
    recorder.wait_for_tables();
    thread::sleep(WATCHED);
    run(Command::new(jcmd).args([&pid, "Compiler.perfmap"]));
    assert!(map.0.exists(), "{:?}", map.0);
    let recording = recorder.interrupt();
    recording.assert_whole("java", LONG);
    assert_below(&recording, "JavaMain", "Stacks.middle");
}
