//! Source `kmem` on a program that has the kernel hold pipes, and on rprof itself.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_root},
    recorder::{Recorder, Told},
};

#[test]
fn what_the_kernel_holds_is_charged_to_who_asked() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.build("kmem", "kmem", &["-O1", "-g"]);
    let mut program = Told::start(Command::new(program).arg("500"));
    let pid = program.id().to_string();
    let recorder = Recorder::start(&["-s", "kmem", "--rate", "0", "-p", &pid]);
    recorder.wait_for_links(8);
    program.go_on();
    program.wait_until_done();
    let recorded = recorder.end();
    let held = recorded.report(&[]);
    let (objects, bytes) = held.of("keep_pipe");
    // Each pipe has an inode, two files, two dentries or one, and its ring of buffers.
    assert!(objects >= 3.0 * 500.0, "{objects}");
    assert!(bytes > 500.0 * 1000.0, "{bytes}");
    let folded = recorded.folded(&[]);
    let stack =
        folded.lines().find(|line| line.contains("keep_pipe") && line.contains("alloc_pipe"));
    assert!(stack.is_some(), "{folded}");
    // What was closed again: as many objects were allocated, if not the pages and tables for them,
    // and hardly anything is held. What a file was in is freed when all CPUs have forgotten it.
    let (_, used) = recorded.report(&["--type", "alloc_space"]).of("use_pipe");
    assert!(used > 0.4 * bytes, "{used} of {bytes}");
    assert!(held.of("use_pipe").1 < 0.3 * bytes, "{:?} of {bytes}", held.of("use_pipe"));
    program.end();
}

#[test]
fn what_rprof_itself_allocates_has_no_end_of_samples() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let file = shop.path("out");
    // Memory that reading takes is sampled, and what was sampled is read: it has less than 4 GB.
    let script = "ulimit -v 4000000; exec \"$0\" record -s kmem --rate 512 -d 4s -o \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_rprof")]).arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
