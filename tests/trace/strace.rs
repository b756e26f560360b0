//! `syscalls` beside `strace -f`: the same calls in the same order for each thread of real programs,
//! with the same paths, arguments and results.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

use serde_json::Value;

use crate::{
    common::{
        command::{has, rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::{Traced, text},
};

/// Arguments that are compared besides paths, by name and place.
const ARGUMENTS: [(&str, &[(&str, usize)]); 10] = [
    ("openat", &[("flags", 2)]),
    ("read", &[("fd", 0), ("count", 2)]),
    ("write", &[("fd", 0), ("count", 2)]),
    ("close", &[("fd", 0)]),
    ("mmap", &[("len", 1), ("prot", 2), ("flags", 3), ("fd", 4)]),
    ("mprotect", &[("len", 1), ("prot", 2)]),
    ("newfstatat", &[("dfd", 0), ("flag", 3)]),
    ("lseek", &[("fd", 0), ("offset", 1)]),
    ("connect", &[("uservaddr", 1)]),
    ("access", &[("mode", 1)]),
];

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
        let mut shown = format!("{call} {}", paths.join(" "));
        for (name, _) in arguments(&call) {
            let value = &event["args"][*name];
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // What a descriptor is open on strace does not tell.
            shown += &format!(" {}", in_order(value.split('<').next().unwrap()));
        }
        let call = (shown, error);
        match processes.iter_mut().find(|(other, _)| *other == tid) {
            Some((_, calls)) => calls.push(call),
            None => processes.push((tid, vec![call])),
        }
    }
    processes.into_iter().map(|(_, calls)| calls).collect()
}

fn arguments(call: &str) -> &'static [(&'static str, usize)] {
    ARGUMENTS.iter().find(|(name, _)| *name == call).map_or(&[], |(_, arguments)| arguments)
}

/// The arguments of a call, as strace writes them.
fn split(args: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut start) = (0, false, false, 0);
    let mut all = Vec::new();
    for (at, c) in args.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(args[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(args[start..].trim());
    all
}

/// Flags in one order; anything else as it is.
fn in_order(arg: &str) -> String {
    let mut flags: Vec<&str> = arg.split('|').collect();
    flags.sort_unstable();
    flags.join("|")
}

/// An address of a socket as rprof writes it; anything else as it is.
fn address(arg: &str) -> String {
    if !arg.starts_with("{sa_family=") {
        return arg.to_owned();
    }
    let inet =
        regex::Regex::new(r#"sin_port=htons\((\d+)\), sin_addr=inet_addr\("(.*)"\)"#).unwrap();
    let unix = regex::Regex::new(r#"sun_path="(.*)""#).unwrap();
    if let Some(parts) = inet.captures(arg) {
        return format!("{}:{}", &parts[2], &parts[1]);
    }
    unix.captures(arg).map_or_else(|| arg.to_owned(), |parts| format!("unix:{}", &parts[1]))
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
            let mut shown = format!("{name} {}", paths.join(" "));
            let args = split(args);
            for (_, place) in arguments(name) {
                let arg = address(args.get(*place).map_or("", |arg| arg));
                shown += &format!(" {}", in_order(&arg));
            }
            calls.push((shown, result));
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
        same_calls(&shop, command, &[]);
    }
}

#[test]
fn the_same_calls_of_a_client_and_its_server_as_strace_sees() {
    if !require_root() || !has("strace") || !has("setarch") || !has("curl") {
        return;
    }
    let shop = Workshop::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes").unwrap();
        }
    });
    let body = shop.path("body");
    // How often it looks whether there is something yet depends on when that comes.
    let by_chance = ["poll", "rt_sigaction", "recvfrom", "brk"];
    let command = ["/usr/bin/curl", "-q", "-sS", "--noproxy", "*", "-o", text(&body), &url];
    same_calls(&shop, &command, &by_chance);
    assert_eq!(fs::read_to_string(&body).unwrap(), "yes");
}

/// Runs a command under both, and compares what each saw but for these calls.
fn same_calls(shop: &Workshop, command: &[&str], but_for: &[&str]) {
    // Where memory is decides how often more is asked for.
    let command = [&["setarch", "-R"], command].concat();
    let file = shop.path("calls.json");
    let mut words = rprof(["trace", "syscalls", "--json", "-o"]);
    let words = words.arg(&file).arg("--").args(&command).env("PYTHONHASHSEED", "1");
    let ran = run(words);
    assert!(ran.err.contains(" 0 lost;"), "{}", ran.err);
    let events = fs::read_to_string(&file).unwrap();
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut ours = by_rprof(&Traced { events, err: String::new(), ran });
    let folder = shop.path("strace");
    let _ = fs::remove_dir_all(&folder); // of the command before
    fs::create_dir(&folder).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-s", "4096", "-o"]).arg(folder.join("out"));
    run(strace.args(&command).env("PYTHONHASHSEED", "1"));
    let mut theirs = by_strace(&folder);
    assert_eq!(ours.len(), theirs.len(), "{command:?}");
    let is_compared = |call: &Normal| !but_for.contains(&call.0.split(' ').next().unwrap());
    for (ours, theirs) in ours.iter_mut().zip(&mut theirs) {
        ours.retain(is_compared);
        theirs.retain(is_compared);
        for (index, (ours, theirs)) in ours.iter().zip(theirs.iter()).enumerate() {
            assert_eq!(ours, theirs, "{command:?}: call {index}");
        }
        assert_eq!(ours.len(), theirs.len(), "{command:?}");
    }
}
