//! Real programs with allocators of their own kinds.

use std::{net::TcpStream, path::Path, process::Command, thread, time::Duration};

use crate::{
    common::workload::{Process, Workshop, need, require_root, wait_until},
    recorder::{Recorded, Recorder},
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

/// Real programs of `programs.sh`, at work, with all that they start.
struct Work {
    shell: std::process::Child,
    _folder: Workshop,
}

impl Work {
    fn start(name: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let folder = Workshop::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/programs.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg(name).arg(folder.path("")).process_group(0);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let shell = command.spawn().unwrap();
        wait_until("what the program works on", || folder.path("ready").exists().then_some(()));
        Self { shell, _folder: folder }
    }
}

impl Work {
    /// All of its processes, for `-p`: those that there are, and the shell that starts others.
    fn pids(&self) -> String {
        let group = self.shell.id().to_string();
        let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // State, parent and group follow the name in brackets (proc(5)).
            (stat.rsplit(") ").next()?.split(' ').nth(2)? == group).then(|| pid.to_string())
        });
        stats.collect::<Vec<_>>().join(",")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        use nix::{sys::signal::Signal, unistd::Pid};
        // All of its process group, whatever of it is still there.
        let _ = nix::sys::signal::killpg(Pid::from_raw(self.shell.id() as i32), Signal::SIGKILL);
        let _ = self.shell.wait();
    }
}

#[test]
fn programs_of_all_kinds_run_on_while_probes_come_and_go() {
    if !require_root() {
        return;
    }
    for name in ["sqlite3", "node", "java"] {
        let mut work = Work::start(name);
        let mut recorded = 0;
        for round in 0..4 {
            let words = ["-s", "heap", "--rate", "64KiB", "-d", "3s", "-p", &work.pids()];
            let recorder = Recorder::start(&words);
            recorded += usize::from(recorder.wait_for_any().is_some());
            assert!(work.shell.try_wait().unwrap().is_none(), "{name} ended in round {round}");
        }
        // Java's own objects are no business of malloc.
        assert!(recorded > 0 || name == "java", "{name}");
    }
}

/// Records `tests/workloads/heap.c`, every allocation by probes: who names an allocator has it
/// probed, also in a command that could have been preloaded with the shim.
fn probed(shape: &str) -> Recorded {
    let shop = Workshop::new();
    let program = shop.c("heap");
    let words = ["-s", "heap", "--rate", "0", "--allocator-prefix", "none_", "--"];
    Recorder::start(&[&words[..], &[program.to_str().unwrap(), shape]].concat()).wait()
}

#[test]
fn what_one_thread_allocates_another_frees() {
    if !require_root() {
        return;
    }
    let recorded = probed("threads");
    let made = recorded.report(&["--type", "alloc_space"]).bytes();
    assert!(made > 10e6, "{made}");
    // What is left is the program's own: its queues are empty.
    assert!(recorded.held() < 0.01 * made, "{} of {made}", recorded.held());
}

#[test]
fn a_child_frees_what_its_parent_allocated() {
    if require_root() {
        assert!(probed("fork").report(&["--type", "alloc_space"]).bytes() > 0.0);
    }
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
