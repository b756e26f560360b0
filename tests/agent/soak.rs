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

/// Slope of the line through evenly spaced values that fits best, per step, and its standard error.
fn slope(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let (x_mean, y_mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let x = |at: usize| at as f64 - x_mean;
    let sxx: f64 = (0..values.len()).map(|at| x(at).powi(2)).sum();
    let sxy: f64 = values.iter().enumerate().map(|(at, y)| x(at) * (y - y_mean)).sum();
    let slope = sxy / sxx;
    let rest = |(at, y): (usize, &f64)| (y - y_mean - slope * x(at)).powi(2);
    let variance = values.iter().enumerate().map(rest).sum::<f64>() / (count - 2.0);
    (slope, (variance / sxx).sqrt())
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

    // The first half is for caches to fill.
    let (slope, error) = slope(&memory[memory.len() / 2..]);
    let most = memory.iter().copied().fold(0.0, f64::max);
    println!("{slope:.0} bytes a second, give or take {error:.0}; {most:.0} bytes at most");
    // No trend, or none that would come to a tenth of its bound within an hour.
    let tolerable = (12 << 20) as f64 / 3600.0;
    assert!(slope - 5.0 * error <= tolerable, "{slope:.0} bytes a second, {memory:?}");
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
