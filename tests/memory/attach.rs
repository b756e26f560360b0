//! Probes come and go while programs run: nothing breaks, and nothing stays.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    common::workload::{Process, Workshop, require_root},
    recorder::Recorder,
};

/// The breakpoints that a process has in its libc: bytes that differ from the file's.
fn breakpoints(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line =
        maps.lines().find(|line| line.contains("libc.so") && line.contains(" r-xp ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (start, end) = words[0].split_once('-').unwrap();
    let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let (start, end, offset) = (address(start), address(end), address(words[2]));
    let read = |path: &Path, at: u64| {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; (end - start) as usize];
        let count = fs::File::open(path).unwrap().read_at(&mut bytes, at).unwrap();
        bytes.truncate(count);
        bytes
    };
    let memory = read(Path::new(&format!("/proc/{pid}/mem")), start);
    let file = read(Path::new(words[5]), offset);
    memory.iter().zip(&file).filter(|(memory, file)| memory != file).count()
}

/// A program that allocates all the time.
fn python() -> Process {
    let code = "x = []\nwhile True:\n  x.append(bytearray(5000))\n  x = x[-100:]";
    Process::start(Command::new("/usr/bin/python3").args(["-c", code]))
}

#[test]
fn fifty_times_on_and_off() {
    if !require_root() {
        return;
    }
    let program = python();
    thread::sleep(Duration::from_millis(200));
    let pid = program.id();
    assert_eq!(breakpoints(pid), 0);
    let mut sampled = 0.0;
    for round in 0..50 {
        let recorder =
            Recorder::start(&["-s", "heap", "--max-overhead", "0", "-p", &pid.to_string()]);
        recorder.wait_until_probing("libc.so.6");
        if round % 10 == 0 {
            assert!(breakpoints(pid) > 0);
            thread::sleep(Duration::from_millis(300));
            sampled += recorder.end().report(&["--type", "alloc_space"]).bytes();
        } else {
            // The last of them must not be empty of samples, so it is killed.
            recorder.signal(Signal::SIGKILL);
            drop(recorder);
        }
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(sampled > 0.0);
    crate::common::workload::wait_until("no breakpoint", || (breakpoints(pid) == 0).then_some(()));
    // It runs on: its CPU time grows.
    let time = || fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let before = time();
    thread::sleep(Duration::from_millis(200));
    assert_ne!(before, time());
    drop(program);
}

#[test]
fn others_that_map_the_same_file_have_no_breakpoint() {
    if !require_root() {
        return;
    }
    let (program, other) = (python(), python());
    thread::sleep(Duration::from_millis(200));
    let recorder =
        Recorder::start(&["-s", "heap", "--max-overhead", "0", "-p", &program.id().to_string()]);
    recorder.wait_until_probing("libc.so.6");
    assert!(breakpoints(program.id()) > 0);
    assert_eq!(breakpoints(other.id()), 0);
    drop(recorder.end());
}

#[test]
fn a_program_that_dies_while_it_is_probed() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let program = python();
    thread::sleep(Duration::from_millis(200));
    let recorder =
        Recorder::start(&["-s", "heap", "--max-overhead", "0", "-p", &program.id().to_string()]);
    recorder.wait_until_probing("libc.so.6");
    thread::sleep(Duration::from_millis(300));
    program.signal(Signal::SIGSEGV);
    let report = recorder.wait().report(&["--type", "alloc_space"]);
    assert!(report.bytes() > 0.0);
    drop(shop);
}
