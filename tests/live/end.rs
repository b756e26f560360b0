//! How recordings end: when told to, with their target, and by force.

use std::{
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;

use crate::{
    common::workload::{Process, Workshop, require_root, wait_until},
    recorder::{FAST, Recorder},
};

/// What a kill may cost: the second since the last commit, a wait for samples, and a while for a
/// busy machine to let rprof run at all.
const LOST_AT_MOST: Duration = Duration::from_secs(5);

#[test]
fn a_signal_ends_it_well() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut recorder = Recorder::of(hog.id());
        recorder.wait_for_samples();
        let partial = rprof::store::partial_path(&recorder.file());
        assert!(partial.exists() && !recorder.file().exists());
        recorder.process().signal(signal);
        let recording = recorder.end();
        assert!(recording.status.success(), "{signal}: {}", recording.errors());
        assert!(recording.file().exists() && !partial.exists());
        assert_eq!(recording.report()["info"]["complete"], true);
        assert!(recording.shown().own("hog_work") > 0);
    }
}

#[test]
fn it_ends_with_its_target() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let mut hog = Process::workload(&shop.c("hog"), &[]);
    let recorder = Recorder::of(hog.id());
    recorder.wait_for_samples();
    hog.signal(Signal::SIGKILL);
    hog.wait();
    let recording = recorder.end();
    assert!(recording.status.success(), "{}", recording.errors());
    assert!(recording.shown().own("hog_work") > 0);
}

#[test]
fn a_kill_costs_no_more_than_the_last_second() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let mut recorder = Recorder::of(hog.id());
    recorder.wait_for_samples();
    // Names come after their samples, on a busy machine a while after.
    wait_until("names", || (recorder.so_far(&[]).own("hog_work") > 0).then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    let killed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    recorder.process().signal(Signal::SIGKILL);
    let recording = recorder.end();
    assert_eq!(recording.status.signal(), Some(9));
    let file = recording.file();
    assert!(!file.exists() && rprof::store::partial_path(&file).exists());

    let report =
        Command::new(env!("CARGO_BIN_EXE_rprof")).arg("report").arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&report.stderr);
    assert!(report.status.success(), "{errors}");
    assert!(errors.contains("did not finish"), "{errors}");
    assert!(String::from_utf8_lossy(&report.stdout).contains("hog_work"));

    let shown = recording.shown();
    assert_eq!(shown.info["complete"], false);
    let number = |key: &str| Duration::from_nanos(shown.info[key].as_u64().unwrap());
    let lost = killed.saturating_sub(number("start") + number("duration"));
    assert!(lost <= LOST_AT_MOST, "{lost:?}");
    // Not only the facts, the samples too reach up to there.
    let from = number("duration").saturating_sub(LOST_AT_MOST / 2).as_millis();
    let last = recording.view(&["--from", &format!("{from}ms")]);
    assert!(last.own("hog_work") > 0);
    // What the kernel had counted by then may be on its way still.
    assert!(shown.total() <= shown.stats["samples"].as_u64().unwrap());
}

#[test]
fn a_duration_ends_it() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let (pid, hz) = (hog.id().to_string(), FAST.to_string());
    let recording = Recorder::start(["-d", "1500ms", "-F", &hz, "-p", &pid]).end();
    assert!(recording.status.success(), "{}", recording.errors());
    let duration = recording.report()["info"]["duration"].as_u64().unwrap();
    assert!(duration >= 1_500_000_000, "{duration}");
    // Its one thread cannot have had more time than there was.
    let most = duration as f64 / 1e9 * f64::from(FAST);
    let own = recording.shown().own("hog_work") as f64;
    assert!(own <= most + 5.0 * most.sqrt() + 1.0, "{own} of {most}");
}
