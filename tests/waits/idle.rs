//! Threads that wait for work, of a real program.

use std::{net::TcpStream, path::Path, process::Command};

use crate::{
    common::workload::{Process, Workshop, need, require_root, run, wait_until},
    recorder::Recorded,
};

/// A port of loopback that nobody has.
fn port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn redis_without_clients_is_idle() {
    let server = "/usr/bin/redis-server";
    if !require_root() || !need(server, Path::new(server).is_file()) {
        return;
    }
    let (shop, port) = (Workshop::new(), port().to_string());
    let mut command = Command::new(server);
    command.args(["--port", &port, "--save", "", "--dir"]).arg(shop.path(""));
    let redis = Process::start(command.stdout(std::process::Stdio::null()));
    wait_until("redis", || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let shop = Workshop::new();
    let file = shop.path("out");
    let mut record = Command::new(env!("CARGO_BIN_EXE_rprof"));
    record.args(["record", "-s", "offcpu", "-d", "2s", "-p", &redis.id().to_string(), "-o"]);
    run(record.arg(&file));
    let recorded = Recorded::new(file, shop);
    let grouped = recorded.through(&[], &["[idle]", "epoll_wait", "[sleep]"]);
    assert!(grouped > 1e9, "{:?}", recorded.stacks(&[]));
    let shown = recorded.through(&["--idle", "show"], &["epoll_wait", "[sleep]"]);
    assert!((shown - grouped).abs() < 10.0, "{shown} {grouped}");
    assert_eq!(recorded.through(&["--idle", "show"], &["[idle]"]), 0.0);
    // Its threads for slow work wait on a condition, which may be for anything.
    assert_eq!(recorded.through(&["--idle", "hide"], &["epoll_wait", "[sleep]"]), 0.0);
    assert!(recorded.through(&["--idle", "hide"], &["[lock]"]) > 1e9);
}
