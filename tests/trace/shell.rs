//! `readline`.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Command, Stdio},
};

use nix::pty::openpty;

use crate::{
    common::{
        command::{RPROF, wait_until},
        workload::{Process, Workshop, require_program, require_root},
    },
    tracer::{text, trace},
};

#[test]
fn lines_typed_into_bash_are_seen() {
    if !require_root() || !require_program("/bin/bash") {
        return;
    }
    let shop = Workshop::new();
    let pty = openpty(None, None).unwrap();
    let end = || Stdio::from(File::from(pty.slave.try_clone().unwrap()));
    let mut bash = Command::new("/bin/bash");
    bash.args(["--norc", "--noprofile", "-i"]).env("PS1", "ready> ").env_remove("HISTFILE");
    let mut bash = Process::start(bash.stdin(end()).stdout(end()).stderr(end()));
    let mut terminal = File::from(pty.master);
    let mut until = |what: &str| {
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&said).contains(what) {
            let count = terminal.read(&mut chunk).unwrap();
            said.extend_from_slice(&chunk[..count]);
        }
    };
    until("ready> ");
    let lines = shop.path("lines.json");
    let mut trace = Process::start(
        Command::new(RPROF)
            .args(["trace", "readline", "--json", "-p", &bash.id().to_string(), "-o"])
            .arg(&lines),
    );
    let read = || std::fs::read_to_string(&lines).unwrap_or_default();
    // It is not known when the probe is in; a line that was seen tells.
    let mut keys = terminal.try_clone().unwrap();
    wait_until("a line is seen", || {
        keys.write_all(b"true\n").unwrap();
        read().contains("\"true\"")
    });
    let typed = ["echo a 'b'; echo \u{e9}", "exit 3"];
    for line in typed {
        keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    drop(keys);
    assert_eq!(bash.wait().code(), Some(3));
    // It ends with its target.
    assert!(trace.wait().success());
    let seen: Vec<serde_json::Value> =
        read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last: Vec<&str> =
        seen[seen.len() - 2..].iter().map(|event| event["line"].as_str().unwrap()).collect();
    assert_eq!(last, typed);
    assert!(seen.iter().all(|event| event["pid"] == bash.id() && event["comm"] == "bash"));
}

#[test]
fn another_program_is_probed_by_name() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = shop.c("readline");
    let options = ["readline", "--file", text(&program)];
    let traced = trace(&shop, &options, &[text(&program), "50"]).whole();
    assert_eq!(traced.events.len(), 50);
    for (index, event) in traced.events.iter().enumerate() {
        let line = event["line"].as_str().unwrap();
        match index {
            // Longer than what is read of it.
            2 => assert_eq!(line, "x".repeat(4095)),
            _ => assert_eq!(line, format!("line {} \u{1b}[31m\u{fffd}", index + 1)),
        }
    }
    let none = shop.c("exec");
    let traced = trace(&shop, &["readline", "--file", text(&none)], &["true"]).ran;
    traced.fails(1, ["has no function readline"]);
}
