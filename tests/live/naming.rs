//! Code whose names are hard to come by: files without symbols, deleted files, no file at all.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    chance::assert_time,
    common::workload::{Process, Workshop, need, require_root, run},
    recorder::{FAST, Recorder, Shown, record},
};

/// Asserts that the recording counts every frame without a name, each once.
fn assert_unnamed_are_counted(shown: &Shown) -> u64 {
    let nameless = |kind: &str, name: &str| kind == "unknown" || kind == "jit" && name == "[jit]";
    let count = shown.frames.iter().filter(|frame| nameless(&frame.kind, &frame.name)).count();
    assert_eq!(shown.stats["unsymbolized_frames"], count, "{:?}", shown.frames);
    count as u64
}

#[test]
fn a_library_without_symbols() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (loader, plug) = (shop.c("loader"), shop.plug("libplug.so"));
    run(Command::new("strip").arg("--strip-all").arg(&plug));
    let shown = record([loader.to_str().unwrap(), "0.1", plug.to_str().unwrap(), "0.5"]).shown();
    // What it exports keeps its name; what does the work has none.
    let chain = ["main", "plug_run", "[libplug.so]"];
    assert_time("[libplug.so]", shown.count(|stack| stack.ends_in(&chain)), 0.5, FAST);
    assert_eq!(shown.with("plug_work"), 0);
    let unknown = shown.frames.iter().find(|frame| frame.name == "[libplug.so]").unwrap();
    assert_eq!((&*unknown.kind, &*unknown.binary), ("unknown", plug.to_str().unwrap()));
    assert!(assert_unnamed_are_counted(&shown) > 0);
}

#[test]
fn a_program_deleted_and_replaced() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let process = Process::workload(&hog, &[]);
    fs::remove_file(&hog).unwrap();
    let recorder = Recorder::of(process.id());
    recorder.wait_for_samples();
    let deleted = recorder.interrupt().shown();
    // Another program under the same name has other code at the same places.
    fs::rename(shop.c("cpu"), &hog).unwrap();
    let recorder = Recorder::of(process.id());
    recorder.wait_for_samples();
    let replaced = recorder.interrupt().shown();
    for shown in [deleted, replaced] {
        assert!(shown.count(|stack| stack.ends_in(&["main", "hog_work"])) > 0);
        assert!(shown.frames.iter().all(|frame| frame.name != "heavy" && frame.name != "[hog]"));
    }
}

/// The perf map that a workload leaves, which goes with the test.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn require_x86() -> bool {
    need("x86_64, for which its machine code is", cfg!(target_arch = "x86_64"))
}

#[test]
fn code_made_at_run_time_is_named_by_a_perf_map() {
    if !require_root() || !require_x86() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("jit").to_str().unwrap(), "0.5", "Made at run time"]);
    let printed = recording.printed();
    let pid = printed.trim().strip_prefix("ready ").unwrap();
    let _map = Leftover(Path::new("/tmp").join(format!("perf-{pid}.map")));
    let shown = recording.shown();
    assert_time("the function", shown.own("Made at run time"), 0.5, FAST);
    let folded = recording.export("folded", &[]);
    assert!(folded.contains("main;run;Made at run time_[j] "), "{folded}");
    assert!(shown.frames.iter().all(|frame| frame.name != "[jit]"));
    assert_unnamed_are_counted(&shown);
}

#[test]
fn code_made_at_run_time_without_a_perf_map() {
    if !require_root() || !require_x86() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("jit").to_str().unwrap(), "0.5"]);
    let shown = recording.shown();
    assert_time("[jit]", shown.count(|stack| stack.ends_in(&["main", "run", "[jit]"])), 0.5, FAST);
    assert!(recording.export("folded", &[]).contains("main;run;[jit]_[j] "));
    assert!(assert_unnamed_are_counted(&shown) > 0);
}

#[test]
fn a_perf_map_written_after_the_code_ran() {
    if !require_root() || !require_x86() {
        return;
    }
    let shop = Workshop::new();
    let process = Process::workload(&shop.c("jit"), &["100"]);
    let recorder = Recorder::of(process.id());
    recorder.wait_for_samples();
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.id())).unwrap();
    let code = maps.lines().find(|line| line.contains(" r-xp 00000000 00:00 0") && line.len() < 60);
    let start = code.unwrap().split('-').next().unwrap();
    let map = Leftover(Path::new("/tmp").join(format!("perf-{}.map", process.id())));
    fs::write(&map.0, format!("{start} 1000 late\n")).unwrap();
    let shown = recorder.interrupt().shown();
    assert!(shown.own("late") > 0, "{:?}", shown.frames);
    assert!(shown.frames.iter().all(|frame| frame.name != "[jit]"));
}
