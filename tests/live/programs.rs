//! Programs that nobody wrote for a test.

use std::{fs, path::Path};

use crate::{
    common::workload::{Workshop, require_program, require_root},
    recorder::{Stack, record},
};

/// True for a sample in code of that file, or that it called into the kernel.
fn is_in_file(stack: &Stack, file: &str) -> bool {
    stack.user_leaf().is_some_and(|frame| {
        let name = Path::new(&frame.binary).file_name();
        name.is_some_and(|name| name.to_string_lossy().starts_with(file))
    })
}

#[test]
fn xz() {
    if !require_root() || !require_program("/usr/bin/xz") {
        return;
    }
    let shop = Workshop::new();
    let input = shop.path("input");
    let text: String = (0..60_000u64).map(|i| format!("{} {:x}\n", i * i, i * 7919)).collect();
    fs::write(&input, text).unwrap();
    let args = ["--keep", "--threads=1", input.to_str().unwrap()];
    let shown = record(["/usr/bin/xz"].into_iter().chain(args)).shown();
    // Nearly all; but some may be page faults of its own memory.
    let own = shown.count(|stack| is_in_file(stack, "liblzma.so"));
    assert!(own > shown.total() / 2, "{own} of {}", shown.total());
    assert_eq!(shown.under("xz"), shown.total());
    assert!(shop.path("input.xz").exists());
}

#[test]
fn python() {
    if !require_root() || !require_program("/usr/bin/python3") {
        return;
    }
    let script =
        "import time\nx = 0\nwhile time.process_time() < 0.8:\n for i in range(1000): x += i";
    let shown = record(["/usr/bin/python3", "-I", "-c", script]).shown();
    // The interpreter's own loop, and what it calls.
    assert!(shown.with("_PyEval_EvalFrameDefault") > 0, "{:?}", shown.frames);
    let own = shown.count(|stack| is_in_file(stack, "python3"));
    assert!(own > shown.total() / 2, "{own} of {}", shown.total());
    assert_eq!(shown.under("python3"), shown.total());
}
