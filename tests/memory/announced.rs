//! Source `heap` on an allocator that samples by itself: what it announces is taken at its word.

use std::process::Command;

use crate::{
    common::workload::{Workshop, require_root},
    recorder::{Recorder, Told},
};

#[test]
fn what_an_allocator_announces_is_taken_at_its_word() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/shim");
    let program = shop.build("announces", "announces", &["-O1", "-g", "-fno-builtin", include]);
    let mut program = Told::start(&mut Command::new(program));
    let recorder = Recorder::start(&["-s", "heap", "-p", &program.id().to_string()]);
    recorder.wait_until_probing("announces");
    recorder.wait_until_probing("libc.so.6");
    program.go_on();
    program.wait_until_done();
    let recorded = recorder.end();
    program.end();
    let held = recorded.report(&[]);
    held.assert_whole();
    assert_eq!(held.of("take"), (6_000.0, 600_000.0));
    let all = recorded.report(&["--type", "alloc_space"]);
    assert_eq!(all.of("take"), (10_000.0, 1_000_000.0));
    // Ten objects and a half each, in whole ones: 1000 draws with a deviation of a half.
    let (objects, bytes) = all.of("take_more");
    assert_eq!(bytes, 1_050_000.0);
    assert!((objects - 10_500.0).abs() < 5.0 * 0.5 * 1000f64.sqrt(), "{objects}");
    assert_eq!(all.of("take_unseen"), (0.0, 0.0));
}
