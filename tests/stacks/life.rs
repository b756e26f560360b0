//! Processes as they come and go: what they load, run and leave while they are recorded.

use std::process::Command;

use crate::{
    HZ, LONG, SHORT,
    stacks::{Process, Recorder, Workshop, record, require_root},
};

#[test]
fn a_library_that_is_loaded_while_recorded() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.stacks(&["-rdynamic"]);
    let flags = ["cc", "-O2", "-fomit-frame-pointer", "-shared", "-fPIC"];
    let plug = shop.compile(&flags, "turn.c", "turn.so");
    let command = [program.to_str().unwrap(), "plug", "0.8", plug.to_str().unwrap()];
    let recording = record(HZ, command);
    recording.assert_whole("dlopen", LONG);
    recording.assert_chain(&["main", "plugged", "turn", "spin"], 0.0);
}

#[test]
fn a_program_that_becomes_another() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.stacks(&[]);
    let recording = record(HZ, [program.to_str().unwrap(), "exec", "0.5"]);
    recording.assert_whole("exec", LONG);
    recording.assert_chain(&["main", "recurse", "spin"], 0.0);
    // CPU time goes on counting through an exec, so what comes after it ends at once.
    let recording = record(HZ, [program.to_str().unwrap(), "memory", "0.5"]);
    recording.assert_whole("memfd", LONG);
    recording.assert_chain(&["main", "recurse", "spin"], 0.0);
}

#[test]
fn a_program_whose_file_is_gone() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.stacks(&[]);
    let recording = record(HZ, [program.to_str().unwrap(), "deleted", "0.5"]);
    recording.assert_whole("deleted", LONG);
    recording.assert_chain(&["main", "recurse", "spin"], 0.0);
    assert!(!program.exists());

    // And one that was gone before anyone looked.
    let program = shop.stacks(&[]);
    let process = Process::start(Command::new(&program).args(["deleted", "60"]));
    crate::stacks::wait_until("its file to be gone", || (!program.exists()).then_some(()));
    let args = ["-p".to_owned(), process.id().to_string(), "-d".into(), "700ms".into()];
    let recording = Recorder::start(HZ, args).end();
    recording.assert_whole("deleted before", LONG);
    recording.assert_chain(&["main", "recurse", "spin"], 0.0);
}

#[test]
fn processes_that_live_50_ms() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.stacks(&[]);
    for name in ["serve", "vfork"] {
        let recording = record(HZ, [program.to_str().unwrap(), name, "2"]);
        recording.assert_whole(name, SHORT);
        recording.assert_chain(&["main", "recurse", "spin"], 1.0 - SHORT);
    }
}

#[test]
fn a_shell_that_runs_hundreds_of_programs() {
    if !require_root() {
        return;
    }
    let script = "i=0; while [ $i -lt 120 ]; do i=$((i+1)); \
         /bin/true; /usr/bin/env true; /bin/ls /usr/bin > /dev/null; done";
    let recording = record(HZ, ["/bin/sh", "-c", script]);
    recording.assert_whole("sh, env, ls, true", SHORT);
    assert!(recording.count(|stack| stack.command == "ls") > 20, "{recording:#?}");
}
