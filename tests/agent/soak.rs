//! Processes that come and go for minutes: memory stays flat, and nothing is lost.
//!
//! `make soak` runs it for ten minutes with a release build, where the budget is to be kept too.

use std::{fs, thread, time::Duration};

use crate::{
    agent::{Agent, Recording, recordings},
    workload::{Process, Workshop, require_root},
};

/// How long, s, unless SOAK says otherwise.
const SECONDS: u64 = 60;
const NO_WORDS: [&str; 0] = [];
/// Processes a second.
const RATE: &str = "100";

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// From how long on growth tells of a leak, s: in a minute, what else the machine does fills more.
const LONG: u64 = 300;
/// What resident memory may grow by from one quarter of the run to the next, bytes: room for the
/// rows of those processes that were sampled, and for a cache that fills late. Of 15,000 processes in
/// a quarter of ten minutes, a leak of 200 bytes each is more.
const GROWTH: u32 = 3 << 20;

/// What is left when all that is passing was given back: a leak raises it, a burst of work does not.
fn floor(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[test]
fn processes_come_and_go() {
    if !require_root() {
        return;
    }
    let seconds = std::env::var("SOAK").map_or(SECONDS, |text| text.parse().unwrap());
    let shop = Workshop::new();
    let churn = shop.c("churn");
    let mut agent = Agent::with_windows(&shop, "5s", NO_WORDS);
    agent.wait_for("recording cpu into");
    let mut work = Process::workload(&churn, &[RATE, &seconds.to_string()]);
    let mut memory = Vec::new();
    for _ in 0..seconds {
        thread::sleep(Duration::from_secs(1));
        memory.push(resident(agent.id()));
        assert!(agent.is_alive(), "{}", agent.log());
    }
    work.wait();
    let store = agent.store().to_owned();
    let log = agent.end();

    // The first half is for caches to fill, and they do so in steps; and the rest of the machine
    // has work too, which is recorded. So no slope, but the floors of two quarters.
    let quarter = memory.len() / 4;
    let growth = floor(&memory[3 * quarter..]) - floor(&memory[2 * quarter..3 * quarter]);
    let most = memory.iter().copied().fold(0.0, f64::max);
    println!("{growth:.0} bytes more in the last quarter; {most:.0} bytes at most");
    if seconds >= LONG {
        assert!(growth <= f64::from(GROWTH), "{growth:.0} bytes, {memory:?}");
    }
    assert!(most <= (128 << 20) as f64, "{memory:?}");
    let mut children = 0;
    for file in recordings(&store) {
        let recording = Recording::read(&file);
        let stats = &recording.stats;
        recording.assert_counts();
        for what in ["processes not followed", "mappings not followed", "process events lost"] {
            assert_eq!(stats["missed"].get(what), None, "{stats}");
        }
        children += recording.with("churn_work").0;
        if !cfg!(debug_assertions) {
            let own = &stats["self"];
            let cost = own["cpu_seconds"].as_f64().unwrap() + own["bpf_ns"].as_f64().unwrap() / 1e9;
            println!("{:.2} % of a CPU", 100.0 * cost / recording.duration());
            assert!(cost <= 0.01 * recording.duration() + 3.0, "{stats}");
        }
    }
    // Processes that live for 4.5 ms are seen for what they are.
    assert!(children > 0, "{log}");
}
