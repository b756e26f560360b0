//! The agent's queue: receivers that are down, restarts, and what is given up.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use prost::Message;
use serde_json::Value;

use crate::{
    message::{Pprof, PushRequest, label},
    pushing::rprof,
    server::{Reply, Server, free_port, listens},
    workload::{Process, Workshop, require_root, wait_until},
};

/// An agent that pushes windows of a second, two seconds after they ended.
struct Agent {
    process: Process,
    log: std::path::PathBuf,
}

impl Agent {
    fn start(shop: &Workshop, log: &str, args: &[&str]) -> Self {
        let log = shop.path(log);
        let output = fs::File::create(&log).unwrap();
        let mut command = rprof();
        command.args(["agent", "--listen", "none", "--window", "500ms", "-F", "99", "--store"]);
        command.arg(shop.path("store")).args(["--push-every", "1s", "--push-settle", "2s"]);
        command.args(["--push-back-off", "50ms", "--push-timeout", "1s"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        Self { process: Process::start(&mut command), log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn end(mut self) -> String {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait().success());
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

/// What is kept of the one receiver of a store.
fn progress(store: &Path) -> Option<Value> {
    let mut files = fs::read_dir(store.join("push")).ok()?.flatten().map(|file| file.path());
    let file = files.find(|path| path.extension().is_some_and(|ending| ending == "json"))?;
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// When the windows of the requests begin, in whole seconds, in the order in which they came.
fn windows(server: &Server) -> Vec<i64> {
    let mut seconds = Vec::new();
    for request in server.requests() {
        let mut all = Vec::new();
        for series in PushRequest::decode(&*request.body).unwrap().series {
            assert!(label(&series.labels, "pid").is_none());
            for sample in &series.samples {
                all.push(Pprof::read(&sample.raw_profile).0.time_nanos / 1_000_000_000);
            }
        }
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        seconds.push(all[0]);
    }
    seconds
}

#[test]
fn what_a_receiver_misses_it_gets_later_also_after_a_restart() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let busy = shop.c("cpu");
    let _busy = Process::workload(&busy, &[]);
    let port = free_port();
    let to = format!("pyroscope+http://127.0.0.1:{port}");
    let agent = Agent::start(&shop, "first", &["--push", &to]);
    wait_until("an attempt that fails", || {
        progress(&shop.path("store"))?["failed"].as_u64().filter(|failed| *failed >= 3)
    });
    let log = agent.end();
    assert!(log.contains("takes nothing") && log.contains("refused"), "{log}");
    // Told once, however often it fails.
    assert_eq!(log.matches("takes nothing").count(), 1, "{log}");
    assert!(!listens(port));

    let agent = Agent::start(&shop, "second", &["--push", &to]);
    wait_until("another attempt that fails", || {
        agent.log().contains("takes nothing").then_some(())
    });
    let server = Server::at(port, |_, _| Reply::ok());
    // What was there before the restart, what came after, and what came while it is there.
    wait_until("windows", || (windows(&server).len() >= 8).then_some(()));
    let log = agent.end();
    assert!(log.contains("takes profiles again"), "{log}");
    let windows = windows(&server);
    assert!(windows.is_sorted(), "{windows:?}");
    let kept = progress(&shop.path("store")).unwrap();
    assert_eq!(kept["dropped"], 0, "{kept}");
    assert_eq!(kept["receiver"], to);
    // All but the one that was under way when it ended.
    let sent = kept["windows"].as_u64().unwrap();
    assert!(sent == windows.len() as u64 || sent + 1 == windows.len() as u64, "{kept} {windows:?}");
}

#[test]
fn the_oldest_is_given_up_and_counted() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let busy = shop.c("cpu");
    let _busy = Process::workload(&busy, &[]);
    let port = free_port();
    let to = format!("pyroscope+http://127.0.0.1:{port}");
    let agent = Agent::start(&shop, "log", &["--push", &to, "--push-keep", "2s"]);
    let dropped = wait_until("windows that are given up", || {
        progress(&shop.path("store"))?["dropped"].as_u64().filter(|dropped| *dropped >= 2)
    });
    let server = Server::at(port, |_, _| Reply::ok());
    wait_until("windows", || (windows(&server).len() >= 2).then_some(()));
    let log = agent.end();
    let kept = progress(&shop.path("store")).unwrap();
    assert!(kept["dropped"].as_u64().unwrap() >= dropped && kept["windows"].as_u64() > Some(0));
    assert!(log.contains("waited too long"), "{log}");
}

#[test]
fn a_receiver_that_says_nothing_holds_up_nobody() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let busy = shop.c("cpu");
    let _busy = Process::workload(&busy, &[]);
    let silent = Server::start(|_, _| Reply::Silence);
    let refuses = Server::start(|_, _| Reply::status(400));
    let good = Server::start(|_, _| Reply::ok());
    let urls = [&silent, &refuses, &good].map(|server| server.url("pyroscope+http"));
    let args: Vec<&str> = urls.iter().flat_map(|url| ["--push", url]).collect();
    let agent = Agent::start(&shop, "log", &args);
    let samples = |shop: &Workshop| {
        let output = rprof().args(["report", "--json"]).arg(shop.path("store")).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        report["samples"].as_u64()
    };
    wait_until("windows of the good one", || (good.requests().len() >= 5).then_some(()));
    let before = samples(&shop).unwrap();
    wait_until("more samples", || samples(&shop).filter(|now| *now > before));
    wait_until("refusals", || (refuses.requests().len() >= 3).then_some(()));
    // What is refused is not sent again, and what is not answered is.
    let bodies: Vec<_> = refuses.requests().into_iter().map(|one| one.body).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] != pair[1]));
    wait_until("attempts", || (silent.requests().len() >= 2).then_some(()));
    let bodies: Vec<_> = silent.requests().into_iter().map(|one| one.body).collect();
    assert_eq!(bodies[0], bodies[1]);
    let start = Instant::now();
    let log = agent.end();
    assert!(log.contains("refuses") && log.contains("status 400: as told"), "{log}");
    // One that says nothing is not waited for at the end either.
    assert!(start.elapsed() < Duration::from_secs(60));
}
