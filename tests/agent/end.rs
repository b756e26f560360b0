//! How agents end, and what they leave.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::{
    agent::{Agent, Recording, recordings, rprof},
    workload::{Process, Workshop, require_root, wait_until},
};

#[test]
fn a_signal_ends_it_with_nothing_lost() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    for (number, signal) in [Signal::SIGTERM, Signal::SIGINT].into_iter().enumerate() {
        let mut agent = Agent::start(&shop, ["-F", "99", "-p", &hog.id().to_string()]);
        agent.wait_for("recording cpu into");
        wait_until("names", || {
            let file = recordings(agent.store()).get(number).cloned()?;
            (Recording::so_far(&file)?.with("hog_work").0 > 0).then_some(())
        });
        agent.signal(signal);
        let status = agent.wait();
        assert!(status.success(), "{status}: {}", agent.log());
        let files = recordings(agent.store());
        assert_eq!(files.len(), number + 1);
        let recording = Recording::read(&files[number]);
        assert_eq!(recording.info["complete"], true);
        recording.assert_counts();
        assert!(recording.with("hog_work").0 > 0);
    }
}

#[test]
fn the_next_one_takes_over_from_one_that_was_killed() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let hog = Process::workload(&shop.c("hog"), &[]);
    let pid = hog.id().to_string();
    let mut killed = Agent::start(&shop, ["-F", "99", "-p", &pid]);
    killed.wait_for_samples();
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.wait().signal(), Some(9));
    let left = Recording::read(&recordings(killed.store())[0]);
    assert_eq!(left.info["complete"], false);
    assert!(left.samples() > 0);

    let mut next = Agent::start(&shop, ["-F", "99", "-p", &pid]);
    next.wait_for("recording cpu into");
    let store = next.store().to_owned();
    wait_until("samples of the next agent", || {
        let files = recordings(&store);
        (files.len() == 2 && Recording::so_far(&files[1])?.samples() > 0).then_some(())
    });
    next.end();
    let files = recordings(&store);
    assert_eq!(files.len(), 2);
    assert_eq!(Recording::read(&files[0]).samples(), left.samples());
    assert_eq!(Recording::read(&files[1]).info["complete"], true);
}

#[test]
fn a_second_agent_is_turned_away() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let mut first = Agent::start(&shop, ["-F", "19"]);
    first.wait_for("recording cpu into");
    let mut second = Agent::start(&shop, ["-F", "19"]);
    let status = second.wait();
    assert_eq!(status.code(), Some(1), "{}", second.log());
    assert!(second.log().contains(&first.id().to_string()), "{}", second.log());
    assert!(first.is_alive());
    first.end();
}

#[test]
fn what_it_cannot_do_is_said_before_it_starts() {
    let fails = |args: &[&str], words: &[&str]| {
        let output = rprof().arg("agent").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?}");
        for word in words {
            assert!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
    };
    let none = ["--listen", "none"];
    let with = |args: &[&'static str]| [&none[..], args].concat();
    fails(&with(&["--max-memory", "8MB"]), &["--max-memory", "64MB"]);
    fails(&with(&["--max-overhead", "1"]), &["1%"]);
    fails(&with(&["--max-size", "7XB"]), &["GB"]);
    fails(&with(&["-s", "cpu,cpu"]), &["twice"]);
    fails(&with(&["-s", "gpu"]), &["no source \"gpu\"", "cpu"]);
    fails(&["--web-user", "nobody-at-all"], &["no user nobody-at-all"]);
}
