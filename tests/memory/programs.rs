//! Real programs with allocators of their own kinds.

use std::{net::TcpStream, path::Path, process::Command, thread, time::Duration};

use crate::{
    common::workload::{Process, Workshop, need, require_root, wait_until},
    recorder::Recorder,
};

/// A port of loopback that nobody has.
fn port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn redis_has_what_it_was_given() {
    let (server, bench) = ("/usr/bin/redis-server", "/usr/bin/redis-benchmark");
    if !require_root() || !need(server, Path::new(server).is_file()) {
        return;
    }
    let (shop, port) = (Workshop::new(), port().to_string());
    let mut command = Command::new(server);
    command.args(["--port", &port, "--save", "", "--dir"]).arg(shop.path(""));
    let redis = Process::start(command.stdout(std::process::Stdio::null()));
    wait_until("redis", || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let recorder =
        Recorder::start(&["-s", "heap", "--max-overhead", "0", "-p", &redis.id().to_string()]);
    recorder.wait_until_probing(".so.2"); // libjemalloc
    // 20,000 keys of 2,000 bytes.
    let words = ["-p", &port, "-t", "set", "-n", "100000", "-r", "20000", "-d", "2000", "-q"];
    let status = Command::new(bench).args(words).stdout(std::process::Stdio::null()).status();
    assert!(status.unwrap().success());
    thread::sleep(Duration::from_millis(500));
    let recorded = recorder.end();
    let report = recorded.report(&[]);
    report.assert_whole();
    // 40 MB of values, most of which the last round replaced by others.
    let held = report.bytes();
    assert!((20e6..90e6).contains(&held), "{held}");
    let made = recorded.report(&["--type", "alloc_space"]).bytes();
    assert!(made > 3.0 * held, "{made} {held}");
    drop(redis);
}

#[test]
fn python_leaks_where_it_leaks() {
    if !require_root() {
        return;
    }
    let code = "import time\nkept = []\nfor i in range(400):\n  kept.append(bytearray(100000))\n  \
                [bytearray(100000) for _ in range(3)]\n  time.sleep(0.005)\ntime.sleep(100)";
    let python = Process::start(Command::new("/usr/bin/python3").args(["-c", code]));
    let recorder = Recorder::start(&[
        "-s",
        "heap",
        "--max-overhead",
        "0",
        "-p",
        &python.id().to_string(),
        "-d",
        "6s",
    ]);
    let recorded = recorder.wait();
    let report = recorded.report(&[]);
    report.assert_whole();
    // Up to 40 MB, of what was allocated once the probes were set.
    let (held, made) = (report.bytes(), recorded.report(&["--type", "alloc_space"]).bytes());
    assert!(held < 60e6 && made > 1.5 * held, "{held} of {made}");
    drop(python);
}
