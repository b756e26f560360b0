//! A machine full of different work, in one recording: each program's stacks are complete and
//! correct, and the report says what share of them is. By itself, so that it takes no time from
//! other tests. It needs root, and the packages below.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "common/stacks.rs"]
mod stacks;
#[allow(dead_code)]
#[path = "common/workload.rs"]
mod workload;

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use stacks::{Process, Recorder, Recording, Stack, Workshop, require, require_root, wait_until};

/// What has to be installed, and Debian's packages of it.
const NEEDED: [(&str, &str); 14] = [
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("gzip", "gzip"),
    ("sqlite3", "sqlite3"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("node", "nodejs"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("git", "git"),
    ("go", "golang-go"),
    ("g++", "g++"),
];
/// The share of complete stacks of a program that lives long.
const LONG: f64 = 0.995;
/// The same where some processes live for milliseconds.
const SHORT: f64 = 0.95;
/// How long the machine is watched.
const WATCHED: Duration = Duration::from_secs(12);
/// How long until the tables of all programs are there: rprof itself is not optimized in tests.
const WARM_UP: Duration = Duration::from_secs(20);
/// Samples a second.
const HZ: u32 = 199;

/// A program of `tests/workloads/programs.sh`.
struct Program {
    /// Its name there.
    name: &'static str,
    /// What the kernel calls it.
    comm: &'static str,
    /// The share of complete stacks that it has to have.
    share: f64,
    /// Functions that most of its stacks lead through, in that order; one of a stripped program is
    /// the program in brackets.
    chain: &'static [&'static str],
}

const fn long(name: &'static str, comm: &'static str, chain: &'static [&'static str]) -> Program {
    Program { name, comm, share: LONG, chain }
}

const PROGRAMS: [Program; 13] = [
    long("xz", "xz", &["start_thread"]),
    long("zstd", "zstd", &["start_thread"]),
    long("gzip", "gzip", &["__libc_start_main", "[gzip]"]),
    long("sqlite3", "sqlite3", &["__libc_start_main", "[sqlite3]", "sqlite3_step"]),
    long("openssl", "openssl", &["__libc_start_main", "[openssl]"]),
    long("python3", "python3", &["Py_RunMain", "_PyEval_EvalFrameDefault"]),
    long("redis-server", "redis-server", &["__libc_start_main", "main", "aeMain"]),
    long("node", "node", &["__libc_start_main", "node::Start"]),
    long("java", "java", &["start_thread", "JavaMain"]),
    // Packing is done in threads.
    long("git", "git", &["start_thread"]),
    // Some of what cargo starts lives for some milliseconds.
    Program { name: "cargo", comm: "rustc", share: SHORT, chain: &[] },
    long("go", "stacks-go", &["runtime.goexit", "main.work", "main.recurse"]),
    long("c++", "stacks-c++", &["__libc_start_main", "main", "sort_numbers", "before"]),
];

/// True if the stack leads through all of `chain`, whatever comes between.
fn leads_through(stack: &Stack, chain: &[&str]) -> bool {
    let mut frames = stack.user.iter();
    // Some of libc's functions have several names, with and without an ending.
    let is = |frame: &String, name: &str| {
        frame == name || frame.strip_prefix(name).is_some_and(|rest| rest.starts_with("_impl"))
    };
    chain.iter().all(|name| frames.any(|frame| is(frame, name)))
}

fn assert_correct(program: &Program, recording: &Recording) {
    let all = recording.count(|stack| stack.failed.is_none() && !stack.user.is_empty());
    let right =
        recording.count(|stack| stack.failed.is_none() && leads_through(stack, program.chain));
    assert!(
        right * 2 > all,
        "{}: {right} of {all} lead through {:?}: {:#?}",
        program.name,
        program.chain,
        recording.stacks.iter().take(10).collect::<Vec<_>>()
    );
}

#[test]
fn all_programs_at_once() {
    if !require_root() || !NEEDED.iter().all(|(name, package)| require(name, package).is_some()) {
        return;
    }
    let shop = Workshop::new();
    let script = stacks::workload("programs.sh");
    let _running: Vec<Process> = PROGRAMS
        .iter()
        .map(|program| {
            let folder = shop.path(program.name);
            fs::create_dir(&folder).unwrap();
            let mut command = Command::new("sh");
            command.arg(&script).arg(program.name).arg(&folder);
            Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        })
        .collect();
    for program in &PROGRAMS {
        let ready = shop.path(program.name).join("ready");
        wait_until(program.name, || ready.exists().then_some(()));
    }
    let mut recorder = Recorder::start(HZ, [] as [&str; 0]);
    // A whole machine is never without a program that is new.
    recorder.wait_for_samples();
    thread::sleep(WARM_UP);
    recorder.leave_out();
    thread::sleep(WATCHED);
    let whole = recorder.interrupt();
    eprintln!("the report says that {:.2} % are complete", 100.0 * whole.complete);
    for program in &PROGRAMS {
        let recording = whole.of(program.comm);
        recording.assert_whole(program.name, program.share);
        assert_correct(program, &recording);
    }
    // Of all, with those from before the tables were there.
    assert!((0.5..=1.0).contains(&whole.complete), "the report says {}", whole.complete);
}
