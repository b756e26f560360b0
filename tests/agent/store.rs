//! What an agent writes: windows that can be read while it runs, in files for the right eyes.

use std::{fs, os::unix::fs::PermissionsExt};

use nix::sys::signal::Signal;

use crate::{
    agent::{Agent, Recording, recordings, report},
    workload::{Process, Workshop, require_root, wait_until},
};

#[test]
fn a_window_lands_in_the_store_and_is_read() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let mut agent = Agent::start(&shop, ["-F", "99", "-p", &hog.id().to_string()]);
    agent.wait_for_samples();
    // Names come after their samples.
    let store = agent.store().to_owned();
    let file = recordings(&store).pop().unwrap();
    let hog_work = || Some(Recording::so_far(&file)?.with("hog_work").0).filter(|n| *n > 0);
    wait_until("a name", hog_work);
    let live = report(&store).expect("a store that is written can be read");
    assert!(live["samples"].as_u64().unwrap() > 0);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&store), 0o750);
    assert_eq!(mode(&file), 0o640);
    agent.end();
    let recording = Recording::read(&file);
    assert_eq!(recording.info["complete"], true);
    assert_eq!(recording.info["begun_by"], "agent start");
    recording.assert_counts();
    let own = &recording.stats["self"];
    assert!(own["rss_bytes"].as_u64().unwrap() > 1 << 20, "{own}");
    assert!(own["cpu_seconds"].as_f64().unwrap() > 0.0, "{own}");
    assert!(own["bpf_ns"].as_u64().unwrap() > 0, "{own}");
}

#[test]
fn a_hang_up_begins_a_new_recording() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let mut agent = Agent::start(&shop, ["-F", "99", "-p", &hog.id().to_string()]);
    agent.wait_for_samples();
    agent.signal(Signal::SIGHUP);
    agent.wait_for("a new recording: SIGHUP");
    wait_until("samples in the second recording", || {
        let files = recordings(agent.store());
        (files.len() == 2 && Recording::so_far(&files[1])?.with("hog_work").0 > 0).then_some(())
    });
    let store = agent.store().to_owned();
    agent.end();
    let both: Vec<Recording> =
        recordings(&store).iter().map(|file| Recording::read(file)).collect();
    for recording in &both {
        assert_eq!(recording.info["complete"], true);
        recording.assert_counts();
        // Also in the second, whose stacks the kernel knows from the first and announces no more.
        assert_eq!(recording.with("[stack lost]").0, 0);
        assert!(recording.with("hog_work").0 > 0);
    }
    assert_eq!(both[1].info["begun_by"], "SIGHUP");
    // The one begins where the other ends.
    let start = |n: usize| both[n].info["start"].as_u64().unwrap() as f64 / 1e9;
    assert!((start(1) - start(0) - both[0].duration()).abs() < 0.1);
}
