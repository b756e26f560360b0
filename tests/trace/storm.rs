//! More than can be told: what is lost is counted, and the tracer neither stops nor slows the program
//! for it.

use std::fs;

use crate::{
    common::{
        command::{rprof, run},
        workload::{Workshop, require_root},
    },
    tracer::text,
};

/// Events of file `file` in the trace, those that rprof says were lost, and those that happened.
fn storm(buffer: &str) -> (u64, u64, u64) {
    let shop = Workshop::new();
    let (program, folder) = (shop.c("open"), shop.path("files"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    let out = shop.path("out");
    let words = ["trace", "open", "--buffer", buffer, "-o", text(&out), "--"];
    let ran = run(rprof(words).args([text(&program), text(&folder), "0", "2"]));
    let happened: u64 = ran.ok().trim().parse().unwrap();
    let lines = fs::read_to_string(&out).unwrap();
    let seen = lines.lines().filter(|line| line.ends_with(" file")).count() as u64;
    let lost = ran.err.split(" lost;").next().unwrap().rsplit(' ').next().unwrap();
    (seen, lost.replace(',', "").parse().unwrap(), happened)
}

#[test]
fn every_event_is_seen_or_counted_as_lost() {
    if !require_root() {
        return;
    }
    for buffer in ["64kB", "8MB"] {
        let (seen, lost, happened) = storm(buffer);
        assert!(happened > 10_000, "{happened}");
        // Those of the loader stand beside those of the storm: a few, lost or not.
        assert!((seen + lost).abs_diff(happened) <= 5, "{buffer}: {seen} + {lost}: {happened}");
    }
}
