//! Programs that we did not write: they run as they would without the shim, nothing comes to their
//! standard error, and what they allocate is heard, through every way of starting another.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
};

use super::{
    listen::{Heard, Listener},
    workload::{Process, Workshop, require_program, require_root, run, wait_until},
};

fn processes(heard: &Heard) -> usize {
    heard.allocations.iter().map(|(process, ..)| *process).collect::<HashSet<_>>().len()
}

fn shell(script: &str) -> (String, Heard) {
    Listener::start(512).run(Command::new("sh").args(["-c", script]))
}

#[test]
fn children_are_heard_however_they_are_started() {
    if !require_root() || !require_program("/usr/bin/python3") {
        return;
    }
    let (text, heard) = shell("ls / | sort | wc -l; exec cat /dev/null");
    assert!(text.trim().parse::<u32>().unwrap() > 5);
    assert!(processes(&heard) >= 4, "{} processes", processes(&heard));
    // Python closes all descriptors in its children.
    let python = "import subprocess; print(subprocess.run(['ls', '/'], close_fds=True).returncode)";
    let mut command = Command::new("/usr/bin/python3");
    let (text, heard) = Listener::start(512).run(command.args(["-c", python]));
    assert!(text.ends_with("0\n"), "{text}");
    assert_eq!(processes(&heard), 2);
}

#[test]
fn a_child_that_changes_its_user_is_heard() {
    if require_root() && require_program("/usr/bin/setpriv") {
        let (text, heard) = shell("setpriv --reuid 65534 --regid 65534 --clear-groups id -u; true");
        assert_eq!(text, "65534\n");
        assert!(processes(&heard) >= 2);
    }
}

#[test]
fn a_child_without_an_environment_runs_unheard() {
    if require_root() {
        let (text, heard) = shell("env -i /bin/ls /; true");
        assert!(text.contains("etc\n"));
        assert!(processes(&heard) >= 1);
    }
}

#[test]
fn a_program_that_closes_everything_runs_on() {
    if require_root() && require_program("/usr/bin/python3") {
        let script = "import os; os.closerange(0, 4096); os.execv('/bin/ls', ['ls', '/'])";
        let mut command = Command::new("/usr/bin/python3");
        let listener = Listener::start(512);
        command.args(["-c", script]).envs(listener.shim.environment());
        // ls has nowhere to write to, and says so by its exit status.
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(2));
        assert!(listener.heard().allocations.len() > 20);
    }
}

#[test]
fn interpreters_do_their_work() {
    if !require_root() || !require_program("/usr/bin/python3") {
        return;
    }
    let work = "import json, threading\n\
        def work():\n    s = json.dumps([str(i) * 50 for i in range(20000)]); json.loads(s)\n\
        ts = [threading.Thread(target=work) for _ in range(4)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]\n\
        print('done')";
    let mut command = Command::new("/usr/bin/python3");
    let (text, heard) = Listener::start(64 << 10).run(command.args(["-c", work]));
    assert_eq!(text, "done\n");
    assert_eq!((heard.unknown, heard.twice), (0, 0));
    assert!(heard.frees > 100, "{} frees", heard.frees);
    if require_program("/usr/bin/node") {
        let work = "let b = []; for (let i = 0; i < 300; i++) b.push(Buffer.alloc(100000, i)); \
                    console.log(b.length)";
        let mut command = Command::new("/usr/bin/node");
        let (text, heard) = Listener::start(64 << 10).run(command.args(["-e", work]));
        assert_eq!(text, "300\n");
        // Thirty megabytes of buffers, which node gets by calloc or malloc.
        let sum: u64 = heard.allocations.iter().map(|(_, _, weight)| weight).sum();
        assert!(sum > 25_000_000, "{sum} bytes");
        assert_eq!((heard.unknown, heard.twice), (0, 0));
    }
}

#[test]
fn a_java_vm_does_its_work() {
    if !require_root() || !require_program("/usr/bin/java") {
        return;
    }
    let rate = 64 << 10;
    let mut command = Command::new("/usr/bin/java");
    let listener = Listener::start(rate);
    command.args(["-Xint", "-version"]).envs(listener.shim.environment());
    // It prints its version to standard error, and nothing else.
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("preload"), "{errors}");
    let heard = listener.heard();
    assert!(heard.allocations.len() > 10, "{} samples", heard.allocations.len());
    assert_eq!((heard.unknown, heard.twice), (0, 0));
}

/// Redis under load, as Debian builds it: with a jemalloc that is a library of its own.
#[test]
fn redis_holds_what_is_heard() {
    let programs = ["/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/bin/redis-benchmark"];
    if !require_root() || !programs.iter().all(|program| require_program(program)) {
        return;
    }
    let shop = Workshop::new();
    let socket = shop.path("socket");
    let rate = 16 << 10;
    let listener = Listener::start(rate);
    let mut command = Command::new("/usr/bin/redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    command.stdout(Stdio::null()).envs(listener.shim.environment());
    let mut server = Process::start(&mut command);
    wait_until("redis", || socket.exists().then_some(()));
    let client = |program: &str, words: &[&str]| {
        run(Command::new(program).arg("-s").arg(&socket).args(words))
    };
    let load = ["-q", "-t", "set", "-n", "40000", "-r", "20000", "-d", "1000", "-c", "8"];
    client("/usr/bin/redis-benchmark", &load);
    let used = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.unwrap().trim().parse::<f64>().unwrap()
    };
    let used = used(&client("/usr/bin/redis-cli", &["info", "memory"]));
    let heard = listener.heard();
    let held: f64 = heard.live.values().map(|(_, weight)| *weight as f64).sum();
    // Redis counts what the allocator rounded sizes up to: by a fifth at most, and 1.2 % on the mean
    // of the blocks that matter here.
    let luck = 5.0 * (used * rate as f64).sqrt();
    assert!(used > 17e6, "redis uses {used} bytes only");
    assert!(held < used + luck && held > used / 1.2 - luck, "{held} bytes held, redis uses {used}");
    assert_eq!((heard.unknown, heard.twice), (0, 0));
    client("/usr/bin/redis-cli", &["shutdown", "nosave"]);
    assert!(server.wait().success());
}
