//! The whole machine: all CPUs, those that come and go too, and never the idle task.

use std::{collections::BTreeSet, fs};

use pprof::protos::Sample;

use crate::{
    chance::{assert_share, assert_time},
    common::workload::{Process, Workshop, need, require_root},
    recorder::{Recorder, Recording},
};

fn online() -> Vec<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let numbers = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    text.trim().split(',').flat_map(numbers).collect()
}

/// The CPUs that samples of that process's hog_work() were taken on.
fn cpus_of(recording: &Recording, process: &Process) -> BTreeSet<i64> {
    let profile = recording.pprof();
    let text = |index: i64| &*profile.string_table[index as usize];
    let number = |sample: &Sample, key: &str| {
        sample.label.iter().find(|label| text(label.key) == key).map(|label| label.num)
    };
    let works = |sample: &&Sample| {
        let leaf = profile.location.iter().find(|location| location.id == sample.location_id[0]);
        let line = leaf.and_then(|leaf| leaf.line.first());
        let function =
            line.and_then(|line| profile.function.iter().find(|f| f.id == line.function_id));
        function.is_some_and(|function| text(function.name) == "hog_work")
    };
    let own = |sample: &&Sample| number(sample, "pid") == Some(process.id().into());
    let samples = profile.sample.iter().filter(own).filter(works);
    samples.filter_map(|sample| number(sample, "cpu")).collect()
}

#[test]
fn two_hogs_have_their_shares_and_idle_has_none() {
    let cpus = online();
    if !require_root() || !need("two CPUs", cpus.len() >= 2) {
        return;
    }
    let shop = Workshop::new();
    let hog = shop.c("hog");
    // At the default rate: who else works on this machine is none of the test's doing.
    let recorder = Recorder::start([""; 0]);
    recorder.wait_for_samples();
    let seconds = 1.5;
    let pinned = |cpu: usize| Process::workload(&hog, &[&seconds.to_string(), &cpu.to_string()]);
    let mut hogs = [pinned(cpus[0]), pinned(cpus[1])];
    for hog in &mut hogs {
        assert!(hog.wait().success());
    }
    let recording = recorder.interrupt();
    let shown = recording.view(&["--by", "process"]);
    assert_eq!(shown.stats["lost"], 0);
    let own = hogs.each_ref().map(|hog| {
        let root = format!("hog ({})", hog.id());
        shown.count(|stack| stack.root == root && stack.is_in("hog_work"))
    });
    for samples in own {
        assert_time("hog_work", samples, seconds, 99);
        assert_share("hog_work", samples, own[0] + own[1], 0.5);
    }
    for (hog, cpu) in hogs.iter().zip(&cpus) {
        assert_eq!(cpus_of(&recording, hog), BTreeSet::from([*cpu as i64]));
    }
    let threads = recording.view(&["--by", "thread"]);
    let idle = |root: &&str| root.starts_with("swapper") || root.ends_with(" (0)");
    assert!(!threads.roots().iter().any(idle), "{:?}", threads.roots());
}
