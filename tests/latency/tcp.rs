//! `tcpconnlat` and `tcprtt` over a line that is as slow as the test wants it: bounds from what the
//! line takes, and from what the program saw that used it. The line is a TUN device that gives
//! packets back later, in a network namespace of the program's own.

use std::process::Command;

use serde_json::Value;

use crate::{
    common::workload::{Workshop, need, require_root},
    gauge::{Gauge, Interval, Worker, number},
};

/// What a packet takes one way, and so a connection and a round trip at the least.
const MS: u64 = 30;
const LEAST: u64 = 2 * MS * 1_000_000;

fn worker(folder: &Workshop, name: &str) -> Option<Worker> {
    let there = std::path::Path::new("/dev/net/tun").exists();
    if !require_root() || !need("/dev/net/tun (CONFIG_TUN)", there) {
        return None;
    }
    let mut worker = Worker::start(Command::new(folder.c(name)).arg(MS.to_string()));
    assert_eq!(worker.listen(), "ready");
    Some(worker)
}

/// The numbers that a workload says.
fn numbers(said: &str) -> Vec<u64> {
    said.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// That a histogram has so many times, none shorter than the line makes it, and no more in all than
/// the program saw.
fn assert_took(series: &Value, count: u64, seen: u64) {
    assert_eq!(number(series, "count"), count, "{series}");
    assert!(number(&series["buckets"][0], "to") > LEAST, "{series}");
    let sum = number(series, "sum");
    assert!((count * LEAST..=seen).contains(&sum), "{sum}, seen {seen}: {series}");
}

#[test]
fn connections_take_what_the_line_takes() {
    let folder = Workshop::new();
    let Some(mut worker) = worker(&folder, "tcpconnlat") else { return };
    let pid = worker.id().to_string();
    let by = ["-p", &pid, "--by", "remote-address,remote-port,result", "--each"];
    let gauge = Gauge::start("tcpconnlat", 3, by);
    let four = numbers(&worker.work("4 80 10"));
    let six = numbers(&worker.work("6 80 10"));
    let refused = numbers(&worker.work("4 81 5"));
    let lines = gauge.end();
    assert_eq!((four[1], six[1], refused[1]), (10, 10, 0));
    let (each, intervals): (Vec<Value>, Vec<Value>) =
        lines.into_iter().partition(|line| line["series"].is_null());
    let interval = Interval(intervals.into_iter().next().unwrap());
    assert_eq!(interval.series().len(), 3);
    assert_took(interval.find("remote-address", "fd09::2").unwrap(), 10, six[0]);
    assert_took(interval.find("result", "connection refused").unwrap(), 5, refused[0]);
    let of_four = interval.series().into_iter().find(|series| {
        let labels = &series["labels"];
        labels["remote-address"] == "10.9.0.2" && labels["remote-port"] == "80"
    });
    assert_took(of_four.unwrap(), 10, four[0]);
    // Each of them by itself, and nothing else.
    assert_eq!(each.len(), 25);
    let sum: u64 = each.iter().map(|line| number(line, "duration")).sum();
    assert_eq!(sum, interval.total("sum"));
    for line in &each {
        let labels = &line["labels"];
        assert_eq!(labels["process"], format!("tcpconnlat ({pid})"));
        let six = labels["remote-address"] == "fd09::2";
        assert_eq!(labels["local-address"], if six { "fd09::1" } else { "10.9.0.1" });
    }
}

#[test]
fn only_the_connections_that_were_asked_for() {
    let folder = Workshop::new();
    let Some(mut worker) = worker(&folder, "tcpconnlat") else { return };
    let pid = worker.id().to_string();
    let args = ["-p", &pid, "--remote-address", "fd09::2", "--remote-port", "80"];
    let gauge = Gauge::start("tcpconnlat", 3, args);
    worker.work("4 80 3");
    worker.work("6 81 3");
    let seen = numbers(&worker.work("6 80 4"));
    let interval = gauge.interval();
    assert_eq!(interval.series().len(), 1);
    assert_took(interval.find("result", "connected").unwrap(), 4, seen[0]);
    let gauge = Gauge::start("tcpconnlat", 3, ["-p", &pid, "-4"]);
    let seen = numbers(&worker.work("4 80 2"));
    worker.work("6 80 2");
    let interval = gauge.interval();
    assert_took(interval.find("result", "connected").unwrap(), 2, seen[0]);
}

#[test]
fn a_connection_that_nobody_waits_for_any_more_is_given_up() {
    let folder = Workshop::new();
    let Some(mut worker) = worker(&folder, "tcpconnlat") else { return };
    let pid = worker.id().to_string();
    let gauge = Gauge::start("tcpconnlat", 3, ["-p", &pid]);
    let script = "import socket,sys; s=socket.socket(); s.setblocking(False); \
                  s.connect_ex(('10.9.0.2', 80)); s.close()";
    // In the worker's network, but no process of its.
    let inside = |command: &mut Command| {
        assert!(command.args(["python3", "-c", script]).status().unwrap().success());
    };
    inside(Command::new("nsenter").args(["-t", &pid, "-n"]));
    worker.work("4 80 1");
    let interval = gauge.interval();
    assert!(interval.find("result", "given up").is_none(), "it was none of the target");
    let gauge = Gauge::start("tcpconnlat", 1, ["--remote-address", "10.9.0.2"]);
    inside(Command::new("nsenter").args(["-t", &pid, "-n"]));
    let interval = gauge.interval();
    assert_eq!(number(interval.find("result", "given up").unwrap(), "count"), 1);
}

#[test]
fn round_trips_take_what_the_line_takes() {
    let folder = Workshop::new();
    let Some(mut worker) = worker(&folder, "tcprtt") else { return };
    for (family, address) in [("4", "10.9.0.2"), ("6", "fd09::2")] {
        // From the side that asks: what the other sends last is acknowledged when it pleases.
        let args = ["--remote-port", "80", "--remote-address", address, "--by", "remote-address"];
        let gauge = Gauge::start("tcprtt", 1, args);
        let seen = numbers(&worker.work(&format!("{family} 15")));
        let interval = gauge.interval();
        assert_eq!(interval.series().len(), 1);
        let series = interval.find("remote-address", address).unwrap();
        assert!(number(series, "count") >= 15, "{series}");
        // TCP reads its clock a little later than the packet leaves, in whole us.
        assert!(number(&series["buckets"][0], "to") > LEAST * 99 / 100, "{series}");
        assert!(number(series, "max") <= seen[1] * 101 / 100, "{seen:?}: {series}");
    }
}

#[test]
fn packets_are_of_no_process() {
    if !require_root() {
        return;
    }
    let pid = std::process::id().to_string();
    let refused = crate::common::command::run(&mut crate::common::command::rprof([
        "latency", "tcprtt", "-p", &pid,
    ]));
    refused.fails(1, ["tcprtt", "--pid", "no process"]);
}
