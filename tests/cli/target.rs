//! Targets, sources and words that there are not, targets that end, and commands.

use std::{
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, Instant},
};

use super::common::command::{Running, is_root, rprof, run};

/// The process id of a process that is gone.
fn gone() -> String {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id().to_string()
}

#[test]
fn a_process_that_is_gone_is_named_with_the_nearest() {
    let pid = gone();
    let ran = run(&mut rprof(["record", "-p", &pid, "-d", "30s"]));
    ran.fails(1, [&format!("no process {pid}; the nearest is ")]);
    let nearest = ran.err.split("the nearest is ").nth(1).unwrap();
    let (nearest, name) = nearest.trim().split_once(" (").unwrap();
    assert!(nearest.parse::<u32>().is_ok() && name.ends_with(')'), "{}", ran.err);
    // One of several is enough.
    let own = format!("{},{pid}", std::process::id());
    run(&mut rprof(["record", "-p", &own])).fails(1, [&format!("no process {pid};")]);
}

#[test]
fn sources_and_formats_that_there_are_not_are_told_what_there_is() {
    run(&mut rprof(["record", "-s", "cup"])).fails(1, ["no source \"cup\"", "cpu"]);
    let kept = super::common::command::kept_recording();
    let kept = kept.to_str().unwrap();
    run(&mut rprof(["report", kept, "-s", "heap"])).fails(1, ["no source heap", "it has: cpu"]);
    run(&mut rprof(["export", kept, "-f", "pproof"]))
        .fails(1, ["no format \"pproof\"", "pprof", "folded", "speedscope", "firefox", "json"]);
}

#[test]
fn usage_errors_exit_with_2() {
    for words in [
        &[][..],
        &["rekord"],
        &["record", "--pids", "1"],
        &["record", "-p", "self"],
        &["record", "-p", "-1"],
        &["record", "-p", "4294967296"],
        &["record", "--uid", "root"],
        &["record", "-F", "often"],
        &["record", "-d", "soon"],
        &["record", "-d", "0"],
        &["record", "-p", "1", "--", "true"],
        &["report", "--focus", "("],
        &["report", "--by", "colour"],
        &["report", "--from", "soon"],
        &["report", "--only", "colour=red"],
        &["report", "-n", "all"],
        &["report", "a", "b"],
        &["export"],
        &["doctor", "now"],
    ] {
        let ran = run(rprof([]).args(words));
        assert_eq!(ran.code(), 2, "{words:?}: {}", ran.err);
        assert!(ran.out.is_empty(), "{words:?}");
        assert!(ran.err.contains("Usage:") || ran.err.contains("--help"), "{words:?}: {}", ran.err);
    }
}

#[test]
fn a_misspelt_word_is_told_the_nearest() {
    run(&mut rprof(["rekord"])).fails(2, ["record"]);
    run(&mut rprof(["record", "--pids", "1"])).fails(2, ["--pid"]);
}

#[test]
fn a_time_range_that_ends_before_it_starts_is_said() {
    let kept = super::common::command::kept_recording();
    let words = ["report", kept.to_str().unwrap(), "--from", "5s", "--to", "2s"];
    run(&mut rprof(words)).fails(1, ["--from 5s is not before --to 2s"]);
}

#[test]
fn cgroups_that_there_are_not_are_named() {
    if super::cgroup2_is_missing() {
        return;
    }
    let ran = run(&mut rprof(["record", "--cgroup", "/no/such", "-d", "30s"]));
    ran.fails(1, ["no cgroup /no/such below /"]);
    run(&mut rprof(["record", "--cgroup", "../../../../etc", "-d", "30s"])).fails(1, ["etc"]);
}

#[test]
fn a_command_name_that_no_process_can_have_is_said() {
    let ran = run(&mut rprof(["record", "--comm", "a-name-of-20-letters", "-d", "30s"]));
    ran.fails(1, ["15 bytes at most", "--comm a-name-of-20-le"]);
    // Cut between characters, to what fits.
    let ran = run(&mut rprof(["record", "--comm", "äöüäöüäöü", "-d", "30s"]));
    ran.fails(1, ["15 bytes at most", "--comm äöüäöüä\n"]);
}

#[test]
fn frequencies_that_the_kernel_does_not_take_are_said() {
    if !is_root() {
        return;
    }
    run(&mut rprof(["record", "-F", "0", "-d", "30s"])).fails(1, ["0 Hz"]);
    let path = "/proc/sys/kernel/perf_event_max_sample_rate";
    let most: u64 = std::fs::read_to_string(path).unwrap().trim().parse().unwrap();
    let more = (most + 1).to_string();
    let ran = run(&mut rprof(["record", "-F", &more, "-d", "30s"]));
    let remedy = format!("kernel.perf_event_max_sample_rate={more}");
    ran.fails(1, [&format!("{more} Hz"), &format!("-F {most}"), &remedy]);
    let huge = u64::MAX.to_string();
    run(&mut rprof(["record", "-F", &huge, "-d", "30s"])).fails(1, ["more than this kernel"]);
}

#[test]
fn a_command_that_there_is_not_is_said_before_anything() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["no-such-command", "./no-such-command", "/no/such/command", ""] {
        let ran = run(rprof(["record", "--", name]).current_dir(folder.path()));
        ran.fails(1, ["no command", name]);
    }
    run(&mut rprof(["record", "--", "slepe"])).fails(1, ["no command slepe; the nearest is sleep"]);
    std::fs::write(folder.path().join("plain"), "not a program").unwrap();
    let ran = run(rprof(["record", "--", "./plain"]).current_dir(folder.path()));
    ran.fails(1, ["./plain", "not executable"]);
    assert_eq!(super::files(folder.path()), ["plain"]);
}

#[test]
fn a_target_that_uses_no_cpu_time_leaves_nothing() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rprof.data"), "from before").unwrap();
    // At 1 Hz a moment's work is not met, but for bad luck.
    let ran = (0..3)
        .map(|_| run(rprof(["record", "-F", "1", "--", "true"]).current_dir(folder.path())))
        .find(|ran| ran.code() != 0)
        .unwrap();
    ran.fails(1, ["no samples", "command true used no CPU time"]);
    let mut sleep = Running::start(Command::new("sleep").arg("0.5"));
    let pid = sleep.pid();
    let start = Instant::now();
    let ran = run(rprof(["record", "-F", "1", "-p", &pid]).current_dir(folder.path()));
    ran.fails(1, ["no samples", &format!("process {pid} (sleep)")]);
    assert!(start.elapsed() < Duration::from_secs(20));
    sleep.wait();
    let ran =
        run(rprof(["record", "--comm", "no-such-name", "-d", "200ms"]).current_dir(folder.path()));
    ran.fails(1, ["no samples", "no process is called no-such-name now"]);
    assert_eq!(super::files(folder.path()), ["rprof.data"]);
    assert_eq!(std::fs::read(folder.path().join("rprof.data")).unwrap(), b"from before");
}

#[test]
fn the_exit_code_is_the_commands() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let record = |end: &str| {
        let script = format!("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; {end}");
        let words = ["record", "-F", "999", "--", "sh", "-c", &script];
        run(rprof(words).current_dir(folder.path()))
    };
    assert_eq!(record("exit 7").code(), 7);
    assert_eq!(record("kill -9 $$").code(), 128 + 9);
    let ran = record("echo out; echo err >&2");
    assert_eq!(ran.ok(), "out\n");
    assert!(ran.err.starts_with("err\n"), "{}", ran.err);
}

#[test]
fn signals_reach_the_command_and_the_recording_is_whole() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'exit 3' TERM; touch ready; while :; do :; done";
    let mut command = rprof(["record", "-F", "499", "--", "sh", "-c", script]);
    let mut record = Running::start(command.current_dir(folder.path()));
    let ready = folder.path().join("ready");
    super::common::command::wait_until("ready", || ready.exists());
    std::thread::sleep(Duration::from_secs(1));
    let pid = nix::unistd::Pid::from_raw(record.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = record.wait();
    assert_eq!((status.signal(), status.code()), (None, Some(3)));
    run(rprof(["report"]).current_dir(folder.path())).ok();
}

#[test]
fn ctrl_c_ends_a_recording_of_the_machine() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _spin = Running::spin();
    for signal in ["INT", "TERM", "HUP"] {
        let mut command = rprof(["record", "-F", "99"]);
        let mut record = Running::start(command.current_dir(folder.path()));
        let partial = folder.path().join("rprof.data.partial");
        super::common::command::wait_until("recording", || {
            run(rprof(["report"]).arg(&partial)).code() == 0
        });
        Command::new("kill").args(["-s", signal, &record.pid()]).status().unwrap();
        assert_eq!(record.wait().code(), Some(0), "{signal}");
        assert_eq!(super::files(folder.path()), ["rprof.data"]);
        let ran = run(rprof(["report"]).current_dir(folder.path()));
        assert!(!ran.ok().contains("not ended"), "{signal}");
        std::fs::remove_file(folder.path().join("rprof.data")).unwrap();
    }
}
