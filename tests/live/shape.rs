//! What stacks look like: shares, callers, lines, threads, inlined functions, names, the kernel.

use crate::{
    chance::{assert_rare, assert_share, assert_time},
    common::workload::{C_FLAGS, Workshop, line_of, require_root, run},
    recorder::{FAST, Frame, Stack, record},
};

/// Of a function's samples those that hit the few instructions at its start and end where it has
/// no frame of its own yet, so that its caller is missing: a few of the 100,000 of a slice.
const NO_FRAME_YET: f64 = 0.001;

#[test]
fn functions_have_their_share_their_callers_and_their_lines() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let seconds = 2.0;
    let shown = record([shop.c("cpu").to_str().unwrap(), "2"]).shown();

    let parts = [("heavy", 0.7), ("medium", 0.2), ("light", 0.1)];
    let whole = parts.iter().map(|(name, _)| shown.own(name)).sum();
    assert_time("outer", whole, seconds, FAST);
    for (name, share) in parts {
        let own = shown.own(name);
        assert_share(name, own, whole, share);

        let complete = |stack: &Stack| stack.ends_in(&["main", "outer", name]);
        assert_rare(name, own - shown.count(complete), own, NO_FRAME_YET);

        let line = |text: &str| line_of("cpu.c", text);
        let lines = [
            ("main", line("outer(); /* call of outer */")),
            ("outer", line(&format!("{name}(); /* call of {name} */"))),
            (name, line(&format!("/* line of {name} */"))),
        ];
        for stack in shown.stacks.iter().filter(|stack| complete(stack)) {
            for ((function, line), frame) in lines.iter().rev().zip(stack.frames.iter().rev()) {
                assert!(frame.file.ends_with("tests/workloads/cpu.c"), "{frame:?}");
                assert_eq!(frame.kind, "user");
                // The leaf may be at any line of its body, of which there are three.
                let apart = frame.line.abs_diff(*line);
                let leaf = *function == name;
                assert!(apart == 0 || leaf && apart == 1, "line {line} in {frame:?}");
            }
        }
    }
    let lines = shown.stacks.iter().filter(|stack| stack.is_in("heavy"));
    let right = lines.filter(|stack| {
        stack.frames.last().unwrap().line == line_of("cpu.c", "/* line of heavy */")
    });
    let right = right.map(|stack| stack.samples).sum::<u64>();
    assert_rare(
        "other lines of heavy",
        shown.own("heavy") - right,
        shown.own("heavy"),
        NO_FRAME_YET,
    );
}

#[test]
fn threads_keep_their_ids_and_names() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("threads").to_str().unwrap(), "0.3"]);
    let shown = recording.view(&["--by", "thread"]);
    let mut threads = 0;
    let whole = shown.own("thread_work");
    for line in recording.printed().lines() {
        let Some(("thread", line)) = line.split_once(' ') else { continue };
        let (tid, name) = line.split_once(' ').unwrap();
        let root = format!("{name} ({tid})");
        let own = shown.count(|stack| stack.root == root && stack.is_in("thread_work"));
        assert_share(&root, own, whole, 0.25);
        threads += 1;
    }
    assert_eq!(threads, 4);
    // They are one process under the name of its first thread.
    assert_eq!(recording.shown().own("thread_work"), whole);
    assert!(recording.view(&["--by", "process"]).roots().len() <= 2, "itself, and before exec");
    let all = recording.shown();
    assert_eq!(all.count(|stack| stack.is_in("thread_work") && stack.root == "threads"), whole);
}

#[test]
fn inlined_functions_stand_above_their_callers() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("inlined").to_str().unwrap(), "0.5"]);
    let shown = recording.shown();
    let chain = ["main", "outermost", "middle", "innermost"];
    let whole = shown.own("innermost");
    assert_time("innermost", whole, 0.5, FAST);
    let complete = shown.count(|stack| stack.ends_in(&chain));
    assert_rare("without their callers", whole - complete, whole, NO_FRAME_YET);

    let stack = shown.stacks.iter().find(|stack| stack.ends_in(&chain)).unwrap();
    let tail = &stack.frames[stack.frames.len() - chain.len()..];
    let kinds: Vec<&str> = tail.iter().map(|frame| &*frame.kind).collect();
    assert_eq!(kinds, ["user", "user", "inlined", "inlined"]);
    for (frame, name) in tail.iter().zip(chain).skip(1).take(2) {
        assert_eq!(frame.line, line_of("inlined.c", &format!("/* line of {name} */")), "{frame:?}");
    }
    let folded = recording.export("folded", &[]);
    assert!(folded.contains("main;outermost;middle_[i];innermost_[i] "), "{folded}");
}

#[test]
fn rust_names_are_demangled() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let flags = ["--edition=2024", "-Copt-level=1", "-g", "-Cforce-frame-pointers=yes"];
    let program = shop.compile("rustc", "turbine.rs", "turbine", &flags);
    let shown = record([program.to_str().unwrap(), "20000"]).shown();
    let turn = "<turbine::engine::Turbine as turbine::engine::Turn>::turn";
    let chain = ["turbine::main", "turbine::engine::drive", turn];
    // What it was made for may stand behind the name of a generic function.
    let is = |frame: &Frame, name: &str| {
        frame.name.split_once("::<").map_or(&*frame.name, |n| n.0) == name
    };
    let complete = |stack: &Stack| {
        stack.frames.windows(3).any(|frames| frames.iter().zip(chain).all(|(f, name)| is(f, name)))
    };
    let whole = shown.with(turn);
    assert!(whole > 0, "{:?}", shown.frames);
    assert_rare("without their callers", whole - shown.count(complete), whole, NO_FRAME_YET);
}

#[test]
fn cpp_names_are_demangled() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.compile("g++", "names.cpp", "names", &C_FLAGS);
    let shown = record([program.to_str().unwrap(), "0.5"]).shown();
    let own = shown.own("engine::Wheel<long>::turn");
    assert_time("turn", own, 0.5, FAST);
    let chain = ["main", "engine::drive", "engine::Wheel<long>::turn"];
    let complete = shown.count(|stack| stack.ends_in(&chain));
    assert_rare("without their callers", own - complete, own, NO_FRAME_YET);
}

#[test]
fn kernel_functions_stand_above_the_call_into_it() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("reader").to_str().unwrap(), "0.5"]);
    let shown = recording.shown();
    // Reads are nearly all that it does, so any chance at all would do.
    let reads = shown.count(|stack| stack.in_kernel() && stack.has("vfs_read"));
    assert!(reads > shown.total() / 2, "{reads} of {}", shown.total());
    for stack in shown.stacks.iter().filter(|stack| stack.has("vfs_read") && stack.has("outer")) {
        let place = |name: &str| stack.frames.iter().position(|frame| frame.name == name).unwrap();
        assert!(place("main") < place("outer") && place("outer") < place("vfs_read"), "{stack:?}");
        let kernel = stack.frames.iter().position(|frame| frame.kind == "kernel").unwrap();
        assert!(stack.frames[kernel..].iter().all(|frame| frame.kind == "kernel"), "{stack:?}");
        // libc's read(), or what stands in for it.
        assert_ne!(stack.user_leaf().unwrap().name, "outer");
    }
    assert!(shown.count(|stack| stack.has("vfs_read") && stack.has("outer")) >= reads - reads / 10);
    let folded = recording.export("folded", &[]);
    let line = folded.lines().find(|line| line.contains(";vfs_read_[k]")).unwrap();
    assert!(line.contains("main;outer;"), "{line}");
}

#[test]
fn a_separate_debug_file_gives_names() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("cpu");
    let symbols = shop.path("cpu.debug");
    let tool = |name: &str, args: &[&std::path::Path]| {
        run(std::process::Command::new(name).args(args).current_dir(shop.path("")));
    };
    tool("objcopy", &["--only-keep-debug".as_ref(), &program, &symbols]);
    tool("strip", &["--strip-all".as_ref(), &program]);
    tool("objcopy", &["--add-gnu-debuglink=cpu.debug".as_ref(), &program]);
    let shown = record([program.to_str().unwrap(), "0.5"]).shown();
    let chain = ["main", "outer", "heavy"];
    let stack = shown.stacks.iter().find(|stack| stack.ends_in(&chain)).unwrap();
    // Lines too, unless rprof was told to save itself the reading of them.
    let caller = &stack.frames[stack.frames.len() - 2];
    let line = line_of("cpu.c", "/* call of heavy */");
    assert!(caller.line == line || caller.line == 0, "{caller:?}");
}
