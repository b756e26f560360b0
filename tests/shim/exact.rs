//! With a rate of 0 every allocation is announced, and every free: what is live in the end has to be
//! what the program says, to the byte, with every allocator.

use std::{collections::HashMap, path::Path, process::Command};

use super::{
    JEMALLOC,
    listen::{Heard, Listener},
    workload::{Workshop, require_program, require_root},
};

/// What the program printed last of each pointer: its size, or none if it was freed.
fn said(text: &str) -> HashMap<u64, Option<u64>> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let live = words.next() == Some("live");
        let pointer = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        let size = words.next().map(|size| size.parse().unwrap());
        assert_eq!(live, size.is_some(), "{line}");
        (pointer, size)
    };
    text.lines().map(line).collect()
}

/// Asserts that what was heard is what the program said.
fn agree(text: &str, heard: &Heard) {
    let said = said(text);
    assert!(said.len() > 12, "{text}");
    let processes: Vec<u32> = heard.allocations.iter().map(|(process, ..)| *process).collect();
    let process = processes[0];
    assert!(processes.iter().all(|other| *other == process));
    for (&pointer, &size) in &said {
        let found = heard.live.get(&(process, pointer)).map(|(size, _)| *size);
        assert_eq!(found, size, "{pointer:x}");
    }
    let weighs_its_size = |(_, size, weight): &(u32, u64, u64)| size == weight;
    assert!(heard.allocations.iter().all(weighs_its_size));
    // A size that stands for one call is announced once, though calls go through one another.
    for &size in said.values().flatten() {
        let times = heard.allocations.iter().filter(|(_, each, _)| *each == size).count();
        let wanted = said.values().filter(|each| **each == Some(size)).count();
        assert!(times == wanted || size == 1088 && times == wanted + 1, "{size}: {times} times");
    }
    assert_eq!((heard.twice, heard.unknown), (0, 0));
}

fn all_calls(program: &Path) -> Heard {
    let listener = Listener::start(0);
    let (text, heard) = listener.run(&mut Command::new(program));
    agree(&text, &heard);
    heard
}

const C: [&str; 3] = ["-O1", "-fno-builtin", "-Wall"];
const CPP: [&str; 5] = ["-x", "c++", "-O1", "-fno-builtin", "-Wall"];

#[test]
fn every_call_of_glibc_is_heard_once() {
    if require_root() {
        all_calls(&Workshop::new().build("heapcalls", "calls", &C));
    }
}

#[test]
fn every_call_of_musl_is_heard_once() {
    if require_root() && require_program("/usr/bin/musl-gcc") {
        all_calls(&Workshop::new().compile("musl-gcc", "heapcalls.c", "calls", &C));
    }
}

#[test]
fn every_operator_of_cpp_is_heard_once() {
    if require_root() {
        let heard = all_calls(&Workshop::new().compile("g++", "heapcalls.c", "calls", &CPP));
        assert!(heard.allocations.iter().any(|(_, size, _)| *size == 3456));
    }
}

#[test]
fn every_call_of_a_linked_jemalloc_is_heard_once() {
    if require_root() && require_program(JEMALLOC) {
        let flags = [&CPP[..], &["-Wl,--no-as-needed", "-l:libjemalloc.so.2"]].concat();
        all_calls(&Workshop::new().compile("g++", "heapcalls.c", "calls", &flags));
    }
}

#[test]
fn every_call_of_a_preloaded_jemalloc_is_heard_once() {
    if require_root() && require_program(JEMALLOC) {
        let shop = Workshop::new();
        let listener = Listener::start(0);
        // An own process for its own environment, where the preloaded library is found.
        let script = format!(
            "export LD_PRELOAD=$LD_PRELOAD:{JEMALLOC}; exec {}",
            shop.compile("g++", "heapcalls.c", "calls", &CPP).display()
        );
        let (text, mut heard) = listener.run(Command::new("sh").args(["-c", &script]));
        // The shell was the same process; its pointers went with its memory.
        let own = heard.allocations.iter().position(|(_, size, _)| *size == 1001).unwrap();
        heard.allocations.drain(..own);
        let kept = |(pointer, size): (u64, Option<u64>)| Some((pointer, size?));
        for (pointer, size) in said(&text).into_iter().filter_map(kept) {
            let process = heard.allocations[0].0;
            assert_eq!(heard.live[&(process, pointer)].0, size);
            let times = heard.allocations.iter().filter(|(_, each, _)| *each == size).count();
            let wanted = if size == 1001 || size == 1088 { 2 } else { 1 };
            assert_eq!(times, wanted, "{size}");
        }
    }
}

#[test]
fn a_leak_is_known_to_the_byte() {
    if !require_root() {
        return;
    }
    let program = Workshop::new();
    let program = (program.c("heap"), program);
    let (_, heard) = Listener::start(0).run(Command::new(&program.0).arg("leak"));
    assert_eq!(heard.held(40), 16_000_000);
    assert_eq!(heard.held(4000), 32_000_000);
    assert_eq!(heard.held(1_000_000), 20_000_000);
    assert_eq!(heard.held(100), 0);
    assert_eq!(heard.allocated(100), 20_000_000);
    assert_eq!((heard.twice, heard.unknown), (0, 0));
}
