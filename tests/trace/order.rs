//! Several sources at once, and how a run ends.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::{
    common::{
        command::{rprof, run},
        workload::{Process, Workshop, require_root, wait_until},
    },
    tracer::trace,
};

#[test]
fn several_sources_come_in_the_order_of_time() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = "for i in $(seq 50); do /bin/cat /etc/hostname > /dev/null & done; wait";
    let traced = trace(&shop, &["exec,exit,open,unlink"], &["sh", "-c", script]).whole();
    let times: Vec<f64> =
        traced.events.iter().map(|event| event["time"].as_f64().unwrap()).collect();
    assert!(times.is_sorted());
    let cats = traced.of(|event| event["event"] == "exec" && event["comm"] == "cat");
    assert_eq!(cats.len(), 50);
    for cat in cats {
        let own: Vec<&str> = traced
            .of(|event| event["pid"] == cat["pid"] && event["event"] != "open")
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(own, ["exec", "exit"]);
        let opens =
            traced.of(|event| event["pid"] == cat["pid"] && event["path"] == "/etc/hostname");
        assert_eq!(opens.len(), 1);
    }
}

#[test]
fn the_command_keeps_its_own_output_and_exit_code() {
    if !require_root() {
        return;
    }
    let ran = run(&mut rprof(["trace", "exec", "--", "sh", "-c", "echo out; exit 5"]));
    assert_eq!((ran.code(), ran.text()), (5, "out\n"));
    assert!(ran.err.starts_with("TIME"), "{}", ran.err);
    assert!(ran.err.contains("sh -c 'echo out; exit 5'"), "{}", ran.err);
}

#[test]
fn totals_alone() {
    if !require_root() {
        return;
    }
    let script = "for i in 1 2 3; do /bin/true; done; cat /not/there";
    let ran = run(&mut rprof(["trace", "exec,exit", "--count", "--", "sh", "-c", script]));
    let lines: Vec<Vec<&str>> =
        ran.err.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["COUNT", "FAILED", "EVENT", "COMMAND"]), "{}", ran.err);
    for row in [["3", "0", "exec", "true"], ["3", "0", "exit", "true"], ["1", "0", "exec", "cat"]] {
        assert!(lines.contains(&row.to_vec()), "{row:?}: {}", ran.err);
    }
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let file = shop.path("out");
    let mut trace = Process::start(
        rprof(["trace", "exec", "-o"])
            .arg(&file)
            .stderr(Stdio::from(std::fs::File::create(shop.path("err")).unwrap())),
    );
    wait_until("an event", || {
        assert!(Command::new("/bin/true").status().unwrap().success());
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("/bin/true").then_some(())
    });
    trace.signal(Signal::SIGINT);
    assert!(trace.wait().success());
    let err = std::fs::read_to_string(shop.path("err")).unwrap();
    assert!(err.contains(" 0 lost;"), "{err}");
}

#[test]
fn mistakes_are_said() {
    let words: [(&[&str], i32, &str); 6] = [
        (&["opne"], 1, "no events \"opne\"; there are: exec, exit, open"),
        (&["exec,exec"], 1, "exec is named twice"),
        (&["exec", "--min", "1s"], 1, "--min is for exit"),
        (&["open", "-L", "80"], 1, "a port is for tcpstates"),
        (&["signal", "--signal", "SIGNOT"], 2, "is no signal"),
        (&[], 2, "<NAME>"),
    ];
    for (words, code, part) in words {
        run(rprof(["trace"]).args(words)).fails(code, [part]);
    }
}
