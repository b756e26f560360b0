//! More than can be told: what is lost is counted, and the tracer neither stops nor slows the program
//! for it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use nix::sys::signal::Signal;

use crate::{
    common::{
        command::{rprof, run},
        workload::{self, C_FLAGS, Process, Workshop, require_root, wait_until},
    },
    tracer::text,
};

/// The program that makes a storm of opens, and the folder that it does so in.
fn storm(shop: &Workshop) -> (PathBuf, PathBuf) {
    let folder = shop.path("files");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    (shop.c("open"), folder)
}

/// Opens of the storm that are told in a file.
fn told(path: &PathBuf) -> u64 {
    let lines = fs::read_to_string(path).unwrap_or_default();
    lines.lines().filter(|line| line.ends_with(" file")).count() as u64
}

/// What rprof says at its end was lost.
fn lost(err: &str) -> u64 {
    let before = err.split(" lost;").next().unwrap();
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn every_event_is_told_or_counted_as_lost() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (program, folder) = storm(&shop);
    let out = shop.path("out");
    let words = ["trace", "open", "-o", text(&out), "--"];
    let ran = run(rprof(words).args([text(&program), text(&folder), "0", "2"]));
    let happened: u64 = ran.ok().trim().parse().unwrap();
    assert!(happened > 10_000, "{happened}");
    let (told, lost) = (told(&out), lost(&ran.err));
    // Those of the loader stand beside those of the storm: a few, lost or not.
    assert!((told + lost).abs_diff(happened) <= 5, "{told} + {lost}: {happened}");
}

#[test]
fn what_comes_while_nobody_reads_is_counted() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (_, folder) = storm(&shop);
    // A name that no other test has.
    let program = shop.build("open", "stopped-storm", &C_FLAGS);
    let (out, err) = (shop.path("out"), shop.path("err"));
    let words = ["trace", "open", "--comm", "stopped-storm", "--buffer", "64kB", "-o", text(&out)];
    let mut rprof = Process::start(rprof(words).stderr(File::create(&err).unwrap()));
    let storm = |seconds: &str| -> u64 {
        let mut storm = Command::new(&program);
        workload::run(storm.arg(&folder).args(["0", seconds])).trim().parse().unwrap()
    };
    let (mut storms, mut happened) = (1, 0);
    wait_until("an event is told", || {
        happened += storm("0.001");
        storms += 1;
        (told(&out) > 0).then_some(())
    });
    rprof.signal(Signal::SIGSTOP);
    let last = storm("0.3");
    happened += last;
    rprof.signal(Signal::SIGCONT);
    // It says so as it happens, and not at the end alone.
    wait_until("losses are told", || {
        fs::read_to_string(&err).unwrap().contains(" events lost so far").then_some(())
    });
    rprof.signal(Signal::SIGINT);
    assert!(rprof.wait().success());
    let (told, lost) = (told(&out), lost(&fs::read_to_string(&err).unwrap()));
    assert!(lost > 0);
    // What came before the probe was in is neither; beside the storms there are a few of the loader.
    assert!(told + lost <= happened + 5 * storms, "{told} + {lost}: {happened}");
    assert!(told + lost >= last, "{told} + {lost}: {last}");
}
