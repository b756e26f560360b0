//! What the commands that read write, to terminals, pipes that end early, and full disks.

use std::{fs::File, io::Read, os::fd::OwnedFd, process::Stdio, thread};

use super::common::command::{Ran, is_root, kept_recording, rprof, run, run_with, wait};

const FORMATS: [&str; 5] = ["pprof", "folded", "speedscope", "firefox", "json"];

/// Every command that writes about the kept recording.
fn commands() -> Vec<Vec<String>> {
    let kept = kept_recording();
    let kept = kept.to_str().unwrap();
    let mut commands = vec![
        vec!["report", kept],
        vec!["report", kept, "--json"],
        vec!["flamegraph", kept],
        vec!["doctor"],
        vec!["doctor", "--json"],
        vec!["--help"],
        vec!["record", "--help"],
        vec!["--version"],
    ];
    commands.extend(FORMATS.map(|format| vec!["export", kept, "-f", format]));
    commands.into_iter().map(|words| words.into_iter().map(Into::into).collect()).collect()
}

/// Runs with a terminal as standard output; gives also what came to the terminal.
fn run_on_terminal(words: &[String]) -> (Ran, String) {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut screen = File::from(terminal.master);
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = screen.read_to_end(&mut text); // EIO: how a terminal says that all have left
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut command = rprof([]);
    let ran = run_with(command.args(words).stdout(terminal.slave));
    drop(command); // it holds the terminal open
    (ran, reader.join().unwrap())
}

#[test]
fn nothing_binary_goes_to_a_terminal() {
    let kept = kept_recording().to_str().unwrap().to_owned();
    for (words, redirect) in [
        (vec!["export", &kept, "-f", "pprof"], "rprof export -f pprof > out"),
        (vec!["flamegraph", &kept], "rprof flamegraph > out.svg"),
    ] {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let (ran, screen) = run_on_terminal(&words);
        assert_eq!(ran.code(), 1);
        assert_eq!(screen, "");
        assert!(ran.err.contains("terminal") && ran.err.contains(redirect), "{}", ran.err);
        // What it says to type works.
        run(rprof([]).args(&words)).ok_bytes();
    }
}

#[test]
fn text_goes_to_a_terminal() {
    let kept = kept_recording().to_str().unwrap().to_owned();
    for words in [vec!["report", &kept], vec!["export", &kept, "-f", "folded"], vec!["doctor"]] {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let (ran, screen) = run_on_terminal(&words);
        ran.code();
        assert!(screen.lines().count() > 5, "{words:?}: {screen}");
        assert!(!screen.contains('\x1b'), "{words:?}: {screen}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    for words in commands() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = rprof([]);
        let ran = run_with(command.args(&words).stdout(writer));
        // What doctor says of the machine is not the reader's doing.
        if words[0] != "doctor" {
            assert_eq!(ran.code(), 0, "{words:?}: {}", ran.err);
        }
        ran.code();
        assert_eq!(ran.err, "", "{words:?}");
    }
}

#[test]
fn nobody_has_to_read_what_record_tells() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let mut command = rprof(["record", "-F", "999", "--", "sh", "-c", spin]);
    command.current_dir(folder.path()).stdin(Stdio::null()).stderr(writer);
    let ran = wait(command.spawn().unwrap(), "record".into());
    assert_eq!(ran.code(), 0);
    assert_eq!(super::files(folder.path()), ["rprof.data"]);
}

#[test]
fn a_full_disk_is_said() {
    for words in commands().into_iter().filter(|words| !words[0].starts_with('-')) {
        if words.contains(&"--help".into()) {
            continue;
        }
        let full = OwnedFd::from(File::options().write(true).open("/dev/full").unwrap());
        let ran = run_with(rprof([]).args(&words).stdout(Stdio::from(full)));
        assert_eq!(ran.code(), 1, "{words:?}: {}", ran.err);
        let parts = ["cannot write to standard output", "No space left on device"];
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{words:?}: {}", ran.err);
    }
}

#[test]
fn a_view_that_shows_nothing_says_why() {
    let kept = kept_recording();
    let kept = kept.to_str().unwrap();
    for view in [
        ["--focus", "no_such_function"],
        ["--ignore", "."],
        ["--comm", "no-such-name"],
        ["-p", "4294967295"],
        ["--from", "1h"],
        ["--to", "1ms"],
    ] {
        let reason = ["none of the", "samples in", kept, "match"];
        run(rprof(["report", kept]).args(view)).fails(1, reason);
        run(rprof(["report", kept, "--json"]).args(view)).fails(1, reason);
        run(rprof(["flamegraph", kept]).args(view)).fails(1, reason);
        for format in FORMATS {
            run(rprof(["export", kept, "-f", format]).args(view)).fails(1, reason);
        }
    }
}
