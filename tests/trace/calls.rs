//! `syscalls` beside what a workload is known to do.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::{
    common::{
        command::{rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::{text, trace},
};

#[test]
fn every_call_is_seen_with_its_arguments_and_result() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("syscalls");
    let traced = trace(&shop, &["syscalls"], &[text(&program)]).whole();
    let of = |call: &str, which: &dyn Fn(&Value) -> bool| {
        traced.of(|event| event["call"] == call && which(event)).len()
    };
    assert_eq!(of("getppid", &|event| event["args"] == json!({}) && event["error"].is_null()), 100);
    let closed = |event: &Value| event["args"]["fd"] == "-1" && event["error"] == "EBADF";
    assert_eq!(of("close", &closed), 50);
    let said = "quote\" back\\ esc\u{1b}[31m \u{fffd}";
    let pipe = |event: &Value| event["args"]["fd"].as_str().unwrap().contains("<pipe:[");
    let wrote = |event: &Value| event["args"]["buf"] == said && event["result"] == 23;
    assert_eq!(of("write", &|event| pipe(event) && wrote(event)), 20);
    assert_eq!(of("read", &|event| pipe(event) && wrote(event)), 20);
    let pair = |event: &Value| event["args"]["fildes"].as_str().unwrap().starts_with('[');
    assert_eq!(of("pipe2", &|event| pair(event) && event["args"]["flags"] == "O_CLOEXEC"), 20);
    let slept = |event: &Value| {
        event["args"]["rqtp"] == "{tv_sec=0, tv_nsec=1000000}"
            && event["args"]["rmtp"] == "NULL"
            && event["duration_ns"].as_u64().unwrap() >= 1_000_000
    };
    assert_eq!(of("nanosleep", &slept), 10);
    let moved = |event: &Value| {
        event["error"] == "ENOENT"
            && event["args"]["olddfd"] == "AT_FDCWD"
            && event["args"]["oldname"] == "not/there"
            && event["args"]["newdfd"].as_str().unwrap().ends_with("<memfd:name>")
            && event["args"]["newname"] == "nor this"
    };
    assert_eq!(of("renameat2", &moved), 10);
    // What cannot be read is an address.
    let fault = |event: &Value| event["error"] == "EFAULT" && event["args"]["filename"] == "0x10";
    let creates = |event: &Value| {
        event["args"]["flags"] == "O_RDWR|O_CREAT" && event["args"]["mode"] == "0604"
    };
    assert_eq!(of("openat", &|event| fault(event) && creates(event)), 10);
    let first = &traced.events[0];
    assert_eq!((&first["call"], &first["result"]), (&json!("execve"), &json!(0)));
    assert_eq!(first["args"]["filename"], text(&program));
    assert_eq!(first["args"]["argv"], json!([text(&program)]));
    // Its own thread, and its child.
    let threads = |event: &Value| event["tid"] != event["pid"] && event["args"]["buf"] == "thread";
    assert_eq!(of("pwrite64", &threads), 30);
    let ended = |event: &Value| event["args"]["error_code"] == 3 && event["result"].is_null();
    assert_eq!(of("exit_group", &|event| ended(event) && event["pid"] != first["pid"]), 1);
    assert_eq!(traced.events.last().unwrap()["call"], "exit_group");
}

#[test]
fn sets_and_classes_of_calls() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("syscalls");
    let counts = |set: &str| {
        let traced = trace(&shop, &["syscalls", "-e", set], &[text(&program)]).whole();
        let mut counts = BTreeMap::new();
        for event in traced.events {
            *counts.entry(event["call"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        counts
    };
    assert_eq!(counts("getppid"), BTreeMap::from([("getppid".into(), 100)]));
    let some = counts("!getppid,!close");
    assert!(!some.contains_key("getppid") && !some.contains_key("close"));
    assert_eq!(some["pipe2"], 20);
    let files = counts("file,!execve");
    assert_eq!(files["renameat2"], 10);
    assert!(!files.contains_key("read") && !files.contains_key("execve"));
    let memory = counts("memory");
    assert!(memory["mmap"] > 3 && memory.keys().all(|call| call != "openat"));
    let ran = run(&mut rprof(["trace", "syscalls", "-e", "opnat", "--", "true"]));
    ran.fails(1, ["no system call opnat; the nearest is openat; classes are file"]);
}

#[test]
fn a_tracer_of_the_whole_machine_does_not_trace_itself() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let out = shop.path("out");
    let words = ["trace", "syscalls", "-e", "write", "--json", "-d", "1s", "-o", text(&out)];
    run(&mut rprof(words)).ok();
    let written = fs::read_to_string(&out).unwrap();
    // Others of these tests run beside it; this one is told by its file.
    assert!(!written.contains(text(&out)), "{written}");
}

#[test]
fn totals_of_each_call() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("syscalls");
    let out = shop.path("totals");
    let words = ["trace", "syscalls", "-c", "-o", text(&out), "--", text(&program)];
    run(&mut rprof(words)).ok();
    let table = fs::read_to_string(&out).unwrap();
    let row = |call: &str| {
        let line = table.lines().find(|line| line.ends_with(&format!(" {call}"))).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].parse::<u64>().unwrap(), words[1].parse::<u64>().unwrap())
    };
    assert_eq!(row("getppid"), (100, 0));
    assert_eq!(row("renameat2"), (10, 10));
    assert_eq!(row("nanosleep"), (10, 0));
    assert!(row("close").1 == 50, "{table}");
    assert!(table.starts_with("COUNT  FAILED"), "{table}");
}

#[test]
fn who_called_is_told() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("syscalls");
    let traced = trace(&shop, &["syscalls", "--stack"], &[text(&program)]).whole();
    assert!(!traced.err.contains("stack was lost"), "{}", traced.err);
    let stack = |event: &Value| -> Vec<String> {
        let names = event["stack"].as_array().unwrap_or_else(|| panic!("{event}"));
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    // The first is the exec that makes the program: who called that was rprof.
    assert_eq!(traced.events[0]["call"], "execve");
    assert!(traced.events[0]["stack"].is_null());
    for event in &traced.events[1..] {
        assert!(!stack(event).is_empty(), "{event}");
    }
    let chain = |call: &str, which: &dyn Fn(&Value) -> bool, names: &[&str]| {
        let events = traced.of(|event| event["call"] == call && which(event));
        assert!(!events.is_empty());
        for event in events {
            let stack = stack(event);
            let mut rest = stack.iter();
            let leads = names.iter().all(|name| rest.any(|function| function.contains(name)));
            assert!(leads, "{names:?}: {event}");
        }
    };
    chain("getppid", &|_| true, &["known", "main", "start"]);
    chain("renameat2", &|_| true, &["known", "main", "start"]);
    // A thread of its own, without the rest of the program; and the last call, of no return.
    chain("pwrite64", &|_| true, &["other", "start_thread"]);
    chain("exit_group", &|event| event["args"]["error_code"] == 3, &["known", "main"]);
    let out = shop.path("columns");
    let words = ["trace", "syscalls", "-e", "getppid", "--stack", "-o", text(&out), "--"];
    run(rprof(words).arg(&program)).ok();
    let lines = fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().filter(|line| line.ends_with(" getppid()")).count(), 100);
    assert_eq!(lines.matches("\n    known (syscalls)\n").count(), 100, "{lines}");
    let ran = run(&mut rprof(["trace", "open", "--stack", "--", "true"]));
    ran.fails(1, ["--stack is for syscalls"]);
}
