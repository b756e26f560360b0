//! Processes that start, end, become other programs and load libraries while they are recorded.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::{
    chance::assert_time,
    common::workload::{Process, Workshop, require_root},
    recorder::{FAST, Frame, Recorder, Recording, Shown, Stack, record, record_with},
};

/// A shell that runs a program so many times, one after another.
fn again_and_again(program: &std::path::Path, times: u32, args: &str) -> [String; 3] {
    let program = program.display();
    let script = format!("i=0; while [ $i -lt {times} ]; do {program} {args}; i=$((i+1)); done");
    ["sh".into(), "-c".into(), script]
}

#[test]
fn a_program_that_ends_within_a_second() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("hog").to_str().unwrap(), "0.2"]);
    assert_time("hog_work", recording.shown().own("hog_work"), 0.2, FAST);
    assert_eq!(recording.report()["info"]["complete"], true);
}

#[test]
fn children_are_followed_or_not() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let family = shop.c("family");
    let command = [family.to_str().unwrap(), "0.4"];
    let with = record(command).shown();
    assert_time("parent_work", with.own("parent_work"), 0.4, FAST);
    assert_time("child_work", with.own("child_work"), 0.4, FAST);

    let without = record_with(&["--no-children"], command).shown();
    assert_time("parent_work", without.own("parent_work"), 0.4, FAST);
    assert_eq!(without.with("child_work"), 0);
}

#[test]
fn children_of_a_running_process_are_followed_or_not() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    // It works for a while so that the recordings are seen to have begun, then starts a child.
    let [sh, c, _] = again_and_again(&hog, 1, "0.4");
    let script = format!("read go; {} 0.4; true", hog.display());
    let mut command = Command::new(sh);
    command.args([c, script]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut parent = Process::start(&mut command);
    let pid = parent.id().to_string();
    let follows = Recorder::start(["-F", "999", "-p", &pid]);
    let does_not = Recorder::start(["-F", "999", "-p", &pid, "--no-children"]);
    // The shell waits and so has no samples yet that would tell.
    follows.wait_until_sampling();
    does_not.wait_until_sampling();
    parent.tell("go\n");
    parent.wait();
    let follows = follows.end();
    assert!(follows.status.success(), "{}", follows.errors());
    assert_time("hog_work", follows.shown().own("hog_work"), 0.4, FAST);
    // The shell's own few instructions, or nothing at all.
    let does_not = does_not.end();
    if does_not.status.success() {
        assert_eq!(does_not.shown().with("hog_work"), 0);
    }
}

#[test]
fn children_that_ended_before_anyone_could_look_have_names() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (times, each) = (40, 0.01);
    let shown = record(again_and_again(&shop.c("hog"), times, &each.to_string())).shown();
    // Each works a whole number of batches, so somewhat longer than it was told to.
    let work = shown.own("hog_work");
    assert!(f64::from(FAST) * f64::from(times) * each / 2.0 <= work as f64, "{work} samples");
    // In the kernel too, except in an exec: there the name is the new one already, while the place
    // that it was called from is of the program before.
    let nameless = shown.stacks.iter().filter(|stack| {
        let unknown = |frame: &Frame| ["[unknown]", "[hog]", "[jit]"].contains(&&*frame.name);
        stack.root == "hog" && stack.user_leaf().is_some_and(unknown)
    });
    let nameless: Vec<_> = nameless.filter(|stack| !is_in_exec(stack)).collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}

fn is_in_exec(stack: &Stack) -> bool {
    stack.frames.iter().any(|frame| frame.kind == "kernel" && frame.name.contains("exec"))
}

fn assert_before_and_after(shown: &Shown, after: &str) {
    assert!(shown.own("before") > 0, "{:?}", shown.frames);
    assert_time(after, shown.own(after), 0.5, FAST);
}

fn assert_became_a_hog(recording: &Recording) {
    let shown = recording.shown();
    assert_before_and_after(&shown, "hog_work");
    for stack in &shown.stacks {
        assert!(!stack.has("before") || stack.root == "become", "{stack:?}");
        assert!(!stack.has("hog_work") || stack.root == "hog", "{stack:?}");
    }
}

#[test]
fn a_command_that_becomes_another_program() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (first, hog) = (shop.c("become"), shop.c("hog"));
    let recording = record([first.to_str().unwrap(), "0.4", hog.to_str().unwrap(), "0.5"]);
    assert_became_a_hog(&recording);
}

#[test]
fn a_running_process_that_becomes_another_program() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (first, hog) = (shop.c("become"), shop.c("hog"));
    let args = ["100", hog.to_str().unwrap(), "0.5"];
    let mut process = Process::workload(&first, &args);
    let recorder = Recorder::of(process.id());
    recorder.wait_for_samples();
    process.signal(Signal::SIGUSR1);
    process.wait();
    assert_became_a_hog(&recorder.end());
}

#[test]
fn a_library_loaded_by_a_command() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (loader, plug) = (shop.c("loader"), shop.plug("libplug.so"));
    let shown = record([loader.to_str().unwrap(), "0.3", plug.to_str().unwrap(), "0.5"]).shown();
    assert_before_and_after(&shown, "plug_work");
    assert!(shown.count(|stack| stack.ends_in(&["main", "plug_run", "plug_work"])) > 0);
}

#[test]
fn a_library_loaded_by_a_running_process() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (loader, plug) = (shop.c("loader"), shop.plug("libplug.so"));
    let mut process = Process::workload(&loader, &["100", plug.to_str().unwrap(), "0.5"]);
    let recorder = Recorder::of(process.id());
    recorder.wait_for_samples();
    process.signal(Signal::SIGUSR1);
    assert!(process.wait().success());
    assert_before_and_after(&recorder.end().shown(), "plug_work");
}
