//! Counts: what was taken, lost or cut is told, and what is told is in the recording.

use crate::{
    chance::assert_time,
    common::workload::{Workshop, require_root},
    recorder::{Recorder, Recording, record},
};

/// Asserts that the recording holds as many samples as it says, and that no more were taken than
/// the programs that take them ran. Returns samples and lost ones.
fn assert_counts(recording: &Recording) -> (u64, u64) {
    let shown = recording.shown();
    let report = recording.report();
    let count = |key: &str| report[key].as_u64().unwrap();
    let (samples, lost) = (count("samples"), count("lost"));
    assert_eq!(shown.stats["samples"], samples);
    assert_eq!(shown.total(), samples);
    let runs = report["self"]["bpf_runs"].as_u64().unwrap();
    assert!(samples + lost <= runs, "{samples} samples and {lost} lost in {runs} runs");
    (samples, lost)
}

#[test]
fn nothing_is_lost_at_default_settings() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (hog, threads) = (shop.c("hog"), shop.c("threads"));
    let script = format!("{} 1.5 & {} 0.5; wait", hog.display(), threads.display());
    let recording = Recorder::start(["--", "sh", "-c", &script]).end();
    let (_, lost) = assert_counts(&recording);
    assert_eq!(lost, 0);
    let report = recording.report();
    assert_eq!(report["missed"], serde_json::json!({}));
    assert_eq!(report["truncated"], 0);
    let shown = recording.shown();
    assert_time("hog_work", shown.own("hog_work"), 1.5, 99);
    assert_time("thread_work", shown.own("thread_work"), 2.0, 99);
    // What it stands for is time: 1/99 s each, less what keeps it out of step with the second.
    let period = report["source"]["period"].as_u64().unwrap();
    assert!((9_900_000..=10_200_000).contains(&period), "{period}");
    assert_eq!(report["value"].as_u64().unwrap(), shown.total() * period);
}

#[test]
fn what_is_lost_is_counted() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let deep = shop.c("deep");
    // The buffer covers a second or two of all CPUs at work, with stacks of usual depth. Here are
    // stacks three times as deep, each another, and nobody takes them in until it is over.
    let (seconds, frequency) = (2.0, 1700);
    let cpus = std::thread::available_parallelism().unwrap().get();
    let deep = deep.display();
    let script = format!("for i in $(seq {cpus}); do {deep} {seconds} 100 & done; wait; echo over");
    let mut recorder = Recorder::start(["-F", &frequency.to_string(), "--", "sh", "-c", &script]);
    recorder.wait_for_output("ready");
    recorder.process().signal(nix::sys::signal::Signal::SIGSTOP);
    recorder.wait_for_output("over");
    recorder.process().signal(nix::sys::signal::Signal::SIGCONT);
    let recording = recorder.end();
    assert!(recording.status.success(), "{}", recording.errors());
    let (samples, lost) = assert_counts(&recording);
    assert!(lost > 0, "{samples} samples");
    assert!(recording.errors().contains(" lost"), "{}", recording.errors());
    let shown = recording.shown();
    assert_eq!(shown.with("[stack lost]"), 0);
    // Besides the work: the shell, and the start and end of each process.
    let taken = samples + lost;
    let most = seconds * cpus as f64 * 1.2 + 1.0;
    assert!(taken as f64 <= most * f64::from(frequency), "{samples} and {lost} lost");
    assert!(taken as f64 >= seconds * cpus as f64 * f64::from(frequency) / 2.0, "{taken}");
}

#[test]
fn stacks_too_deep_are_counted_and_marked() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let recording = record([shop.c("deep").to_str().unwrap(), "0.3", "300"]);
    let shown = recording.shown();
    let cut = shown.count(|stack| stack.frames[0].name == "[truncated]");
    assert!(cut > 0);
    assert_eq!(shown.stats["truncated"], cut);
    // What is cut away is the root.
    assert_eq!(shown.count(|stack| stack.has("[truncated]") && stack.has("_start")), 0);
}
