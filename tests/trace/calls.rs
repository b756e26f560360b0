//! `syscalls`: beside what a workload is known to do, and beside strace.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    common::{
        command::{has, rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::{Traced, text, trace},
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

/// A call with its result, without what differs from run to run.
type Normal = (String, String);

/// Calls of each process, in the order in which they began, by rprof.
fn by_rprof(traced: &Traced) -> Vec<Vec<Normal>> {
    let mut processes: Vec<(u64, Vec<Normal>)> = Vec::new();
    for event in &traced.events {
        let tid = event["tid"].as_u64().unwrap();
        let call = event["call"].as_str().unwrap().to_owned();
        let error = match (&event["error"], event["result"].as_i64()) {
            (Value::String(error), _) => error.clone(),
            (_, None) => "?".into(),
            (_, Some(result)) => normal(result, &call),
        };
        let paths: Vec<&str> = ["filename", "pathname", "path", "oldname", "newname"]
            .iter()
            .filter_map(|name| event["args"][name].as_str())
            .filter(|path| !path.starts_with("0x"))
            .take(paths(&call))
            .collect();
        let call = (format!("{call} {}", paths.join(" ")), error);
        match processes.iter_mut().find(|(other, _)| *other == tid) {
            Some((_, calls)) => calls.push(call),
            None => processes.push((tid, vec![call])),
        }
    }
    processes.into_iter().map(|(_, calls)| calls).collect()
}

/// A result that is the same in each run: no address, no process.
fn normal(result: i64, call: &str) -> String {
    let differs = [
        "clone",
        "clone3",
        "rt_sigreturn",
        "vfork",
        "wait4",
        "getpid",
        "gettid",
        "getppid",
        "set_tid_address",
        "getpgrp",
        "setsid",
        "getpgid",
    ];
    match result {
        1.. if ["brk", "mmap", "mremap"].contains(&call) => "address".into(),
        1.. if differs.contains(&call) => "process".into(),
        _ => result.to_string(),
    }
}

/// How many paths a call begins with, of those that are compared.
fn paths(call: &str) -> usize {
    match call {
        "rename" | "link" | "symlink" | "renameat" | "renameat2" | "linkat" => 2,
        "open" | "openat" | "stat" | "lstat" | "newfstatat" | "access" | "execve" | "readlink"
        | "readlinkat" | "unlink" | "unlinkat" | "mkdir" | "rmdir" | "chdir" | "statx"
        | "faccessat" | "faccessat2" | "statfs" | "chmod" => 1,
        _ => 0,
    }
}

/// The same by `strace -f`, from its files of one for each thread.
fn by_strace(folder: &Path) -> Vec<Vec<Normal>> {
    let call =
        regex::Regex::new(r#"^(\w+)\((.*)\) += (\?|0x[0-9a-f]+|-?\d+)(?: (E\w+|\?))?"#).unwrap();
    let quoted = regex::Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut processes = Vec::new();
    for file in files {
        let mut calls = Vec::new();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some(parts) = call.captures(line) else { continue };
            let (name, args) = (&parts[1], &parts[2]);
            let result = match (parts.get(4), &parts[3]) {
                (Some(error), _) if error.as_str().starts_with('E') => error.as_str().to_owned(),
                (_, "?") => "?".into(),
                (_, number) if number.starts_with("0x") => {
                    normal(i64::from_str_radix(&number[2..], 16).unwrap(), name)
                }
                (_, number) => normal(number.parse().unwrap(), name),
            };
            let paths: Vec<String> = quoted
                .captures_iter(args)
                .take(paths(name))
                .map(|path| path[1].to_owned())
                .collect();
            calls.push((format!("{name} {}", paths.join(" ")), result));
        }
        processes.push(calls);
    }
    // Process ids may have begun anew: what was started first begins with the exec.
    processes.sort_by_key(|calls: &Vec<Normal>| !calls[0].0.starts_with("execve"));
    processes
}

#[test]
fn the_same_calls_as_strace_sees() {
    if !require_root() || !has("strace") || !has("setarch") || !has("git") || !has("python3") {
        return;
    }
    let shop = Workshop::new();
    let repository = shop.path("repository");
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-C", text(&repository)])
            .args(words);
        assert!(git.output().unwrap().status.success());
    };
    fs::create_dir(&repository).unwrap();
    git(&["init", "-q"]);
    fs::write(repository.join("file"), "text").unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    git(&["status"]);
    let script = "import json; open('/dev/null').read(); print(json.dumps([1, 2]))";
    // No handler of SIGCHLD, which would run when it comes.
    let fork =
        "import os\nif os.fork(): os.wait()\nelse: os.execv('/bin/cat', ['cat', '/not/there'])";
    let commands: [&[&str]; 4] = [
        &["/bin/ls", "-l", "/etc/apt"],
        &["/usr/bin/git", "-C", text(&repository), "--no-optional-locks", "log", "-1"],
        &["/usr/bin/python3", "-S", "-E", "-c", script],
        &["/usr/bin/python3", "-S", "-E", "-c", fork],
    ];
    for command in commands {
        // Where memory is decides how often more is asked for.
        let command = [&["setarch", "-R"], command].concat();
        let file = shop.path("calls.json");
        let mut words = rprof(["trace", "syscalls", "--json", "-o"]);
        let words = words.arg(&file).arg("--").args(&command).env("PYTHONHASHSEED", "1");
        let ran = run(words);
        assert!(ran.err.contains(" 0 lost;"), "{}", ran.err);
        let events = fs::read_to_string(&file).unwrap();
        let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ours = by_rprof(&Traced { events, err: String::new(), ran });
        let folder = shop.path("strace");
        let _ = fs::remove_dir_all(&folder); // of the command before
        fs::create_dir(&folder).unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-ff", "-s", "4096", "-o"]).arg(folder.join("out"));
        run(strace.args(&command).env("PYTHONHASHSEED", "1"));
        let theirs = by_strace(&folder);
        assert_eq!(ours.len(), theirs.len(), "{command:?}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert_eq!(ours, theirs, "{command:?}: call {index}");
            }
            assert_eq!(ours.len(), theirs.len(), "{command:?}");
        }
    }
}
