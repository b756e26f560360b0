//! `exec` and `exit`.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::{
    common::workload::{Workshop, require_root},
    tracer::{text, trace},
};

#[test]
fn programs_are_seen_with_their_arguments() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("exec");
    let program = text(&program);
    let traced = trace(&shop, &["exec"], &[program]).whole();
    assert_eq!(traced.events.len(), 11);
    let many = json!([program, "one", "", "two words", "a\nb\u{1b}[31m\u{fffd}"]);
    let these = traced.of(|event| event["args"] == many);
    assert_eq!(these.len(), 5);
    for event in these {
        assert_eq!((&event["result"], &event["comm"]), (&json!(0), &json!("exec")));
        assert_eq!(event["file"], program);
        assert_eq!(event["parent"], "exec");
        assert_eq!(event["ppid"], traced.events[0]["pid"]);
    }
    // What did not fit is counted: the large argument and the last, less what came.
    let cut = traced.of(|event| event["args_left_out"].is_number());
    assert_eq!(cut.len(), 5);
    for event in cut {
        let all = program.len() + 1 + 20_000 + 5;
        let left_out = event["args_left_out"].as_u64().unwrap() as usize;
        assert_eq!(left_out, all - 4096);
        assert_eq!(event["args"][1].as_str().unwrap().len(), 4096 - program.len() - 1);
    }
}

#[test]
fn failed_ones_on_request() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("exec");
    let program = text(&program);
    let traced = trace(&shop, &["exec", "--with-failed"], &[program]).whole();
    assert_eq!(traced.events.len(), 21);
    for (file, error) in [("/not/there", "ENOENT"), ("/etc/passwd", "EACCES")] {
        let these = traced.of(|event| event["file"] == file && event["error"] == error);
        assert_eq!(these.len(), 5, "{file}");
        assert!(these.iter().all(|event| event["args"] == json!(["script", "x"])));
    }
    let traced = trace(&shop, &["exec", "--failed"], &[program]).whole();
    assert_eq!(traced.events.len(), 10);
}

#[test]
fn a_script_is_seen_as_what_runs_it() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, script) = (shop.c("exec"), shop.path("script"));
    fs::write(&script, "#!/bin/sh -e\nexit 0\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let traced = trace(&shop, &["exec"], &[text(&program), "script", text(&script)]).whole();
    let args = json!(["/bin/sh", "-e", text(&script), "x"]);
    let these = traced.of(|event| event["args"] == args);
    assert_eq!(these.len(), 5);
    assert_eq!((&these[0]["file"], &these[0]["comm"]), (&json!(text(&script)), &json!("script")));
}

#[test]
fn processes_end_in_every_way() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("exit");
    let traced = trace(&shop, &["exit"], &[text(&program), "3"]).whole();
    assert_eq!(traced.events.len(), 16);
    let parent = &traced.events[15]["pid"];
    let these = |code: Option<u32>, signal: Option<&str>, ended_late: bool| {
        traced.of(|event| {
            let late = event["age_ns"].as_u64().unwrap() > 150_000_000;
            event["ppid"] == *parent
                && event["code"] == json!(code)
                && event["signal"] == json!(signal)
                && late == ended_late
        })
    };
    assert_eq!(these(Some(3), None, false).len(), 3);
    assert_eq!(these(None, Some("SIGKILL"), false).len(), 3);
    // That of a thread other than the first ends them all.
    assert_eq!(traced.of(|event| event["code"] == 5 && event["ppid"] == *parent).len(), 3);
    // The first thread had ended; the CPU time of both counts, and it is once for each process.
    let late = these(Some(0), None, true);
    assert_eq!(late.len(), 3);
    for event in late {
        let (age, cpu) = (event["age_ns"].as_u64().unwrap(), event["cpu_ns"].as_u64().unwrap());
        // Up to the last tick, of which there are 100 a second at least.
        assert!((180_000_000..=age + 10_000_000).contains(&cpu), "{event}");
    }
}

#[test]
fn short_lives_are_left_out_on_request() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = "true; /bin/true; sleep 0.4";
    let traced = trace(&shop, &["exit", "--min", "300ms"], &["sh", "-c", script]).whole();
    assert_eq!(traced.count("comm", "true"), 0);
    assert!(traced.events.iter().all(|event| event["age_ns"].as_u64().unwrap() >= 300_000_000));
    assert_eq!(traced.count("comm", "sleep"), 1);
}
