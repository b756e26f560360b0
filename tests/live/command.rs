//! `rprof record -- COMMAND`: the command is as it would be without rprof.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::{
    common::workload::{Workshop, require_root},
    recorder::{FAST, Recorder, record},
};

#[test]
fn its_exit_status_is_passed_on() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    let hog = hog.display();
    for (script, code) in [
        (format!("{hog} 0.1; exit 7"), 7),
        (format!("{hog} 0.1; kill -KILL $$"), 128 + 9),
        (format!("{hog} 0.1; kill -SEGV $$"), 128 + 11),
        // With no time on the CPU there is no recording, but the command's word is heard first.
        ("exit 3".into(), 3),
    ] {
        let recording = Recorder::start(["-F", &FAST.to_string(), "--", "sh", "-c", &script]).end();
        assert_eq!(recording.status.code(), Some(code), "{script}: {}", recording.errors());
        assert!(recording.status.signal().is_none());
    }
}

#[test]
fn its_streams_are_its_own() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = format!(
        "read line; echo \"got $line\"; echo oops >&2; exec {} 0.2",
        shop.c("hog").display()
    );
    let mut recorder = Recorder::start(["--", "sh", "-c", &script]);
    recorder.process().tell("a line\n");
    let recording = recorder.end();
    assert!(recording.status.success(), "{}", recording.errors());
    let printed = recording.printed();
    let lines: Vec<&str> = printed.lines().collect();
    // rprof itself says nothing there.
    assert_eq!(lines.len(), 2, "{printed}");
    assert_eq!(lines[0], "got a line");
    assert!(lines[1].starts_with("ready "));
    assert!(recording.errors().lines().any(|line| line == "oops"));
}

#[test]
fn it_is_not_sampled_before_it_is_itself() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let shown = record([shop.c("hog").to_str().unwrap(), "0.2"]).shown();
    assert_eq!(shown.roots(), ["hog"]);
    let rprof = shown.frames.iter().find(|frame| frame.binary.ends_with("/rprof"));
    assert_eq!(rprof, None);
    assert_eq!(shown.info["target"].as_str().unwrap().split(' ').next(), Some("command"));
}

#[test]
fn signals_reach_it() {
    if !require_root() {
        return;
    }
    let script = "trap 'echo told; exit 5' TERM; echo there; while :; do :; done";
    let recorder = Recorder::start(["--", "sh", "-c", script]);
    recorder.wait_for_output("there");
    recorder.wait_for_samples();
    let mut recorder = recorder;
    recorder.process().signal(Signal::SIGTERM);
    let recording = recorder.end();
    assert_eq!(recording.status.code(), Some(5), "{}", recording.errors());
    assert!(recording.printed().contains("told"));
    // And what was recorded until then is there.
    assert!(recording.shown().under("sh") > 0);
}

#[test]
fn it_outlives_the_recording() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = format!("{} 1.5; echo done", shop.c("hog").display());
    let recording = Recorder::start(["-d", "200ms", "-F", "999", "--", "sh", "-c", &script]).end();
    assert!(recording.status.success(), "{}", recording.errors());
    assert!(recording.printed().contains("done"));
    assert!(recording.report()["info"]["duration"].as_u64().unwrap() >= 200_000_000);
    // 1.5 s of CPU time were to be had; a recording that went on would have most of it.
    let shown = recording.shown();
    let most = shown.info["duration"].as_f64().unwrap() / 1e9 * f64::from(FAST) * 1.2 + 20.0;
    assert!((shown.own("hog_work") as f64) < most, "{} of {most}", shown.total());
}
