//! `gc` against what the runtimes themselves log.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    common::{
        command::{rprof, run},
        workload::{self, Process, Workshop, need, require_root, wait_until},
    },
    gauge::{Gauge, Interval, Worker, number},
};

/// Programs that are attached with no runtime in sight, and for a target; and probes of Java.
const PROGRAMS: usize = 2;
const TARGET_PROGRAMS: usize = 2;
const JAVA_PROBES: usize = 4;

/// Java's collectors, and whether a whole cycle of theirs is no pause.
const COLLECTORS: [(&str, bool); 5] =
    [("Serial", false), ("Parallel", false), ("G1", false), ("Shenandoah", true), ("Z", true)];

/// Every Java that is installed and has probes.
fn javas() -> Vec<PathBuf> {
    let folders = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let homes = folders.filter_map(|folder| folder.path().canonicalize().ok());
    let mut homes: Vec<PathBuf> = homes
        .filter(|home| {
            let library = fs::read(home.join("lib/server/libjvm.so")).unwrap_or_default();
            home.join("bin/java").is_file() && has_probe(&library, b"mem__pool__gc__begin")
        })
        .collect();
    homes.sort();
    homes.dedup();
    need("a Java with probes: apt-get install default-jdk-headless", !homes.is_empty());
    homes
}

fn has_probe(file: &[u8], name: &[u8]) -> bool {
    file.windows(name.len()).any(|window| window == name)
}

/// The workload, compiled by the oldest Java there is with a compiler.
fn classes(folder: &Workshop, homes: &[PathBuf]) -> Option<PathBuf> {
    let compiler = homes.iter().map(|home| home.join("bin/javac")).find(|path| path.is_file());
    need("javac", compiler.is_some());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/gc.java");
    let classes = folder.path("classes");
    workload::run(
        Command::new(compiler?).args(["--release", "17", "-d"]).arg(&classes).arg(source),
    );
    Some(classes)
}

/// The workload on that Java with that collector, which logs to `log`. None if this Java is built
/// without the collector.
fn java(home: &Path, collector: &str, classes: &Path, log: &Path) -> Option<Worker> {
    let flag = format!("-XX:+Use{collector}GC");
    let java = home.join("bin/java");
    let mut probe = Command::new(&java);
    probe.args([&flag, "-version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().unwrap().success() {
        return None;
    }
    let logging = format!("-Xlog:gc,gc+phases:file={}::filecount=0", log.display());
    let mut command = Command::new(java);
    command.args(["-Xmx96m", &flag, &logging]);
    if collector == "Z" {
        // Or it collects when it has nothing else to do, after we have looked.
        command.arg("-XX:-ZProactive");
    }
    command.arg("-cp").arg(classes).arg("gc");
    Some(Worker::start(&mut command))
}

/// Pauses in a log, ns.
fn logged(log: &Path) -> Vec<u64> {
    let text = fs::read_to_string(log).unwrap();
    let pauses = text.lines().filter(|line| line.contains("] GC(") && line.contains(" Pause "));
    let times = pauses.filter_map(|line| line.strip_suffix("ms")?.rsplit(' ').next());
    times.map(|ms| (ms.parse::<f64>().unwrap() * 1e6) as u64).collect()
}

/// Waits until nothing more is logged: what runs beside the program may go on after it.
fn settle(log: &Path) {
    let mut before = 0;
    wait_until("collections that are over", || {
        let now = fs::metadata(log).unwrap().len();
        thread::sleep(Duration::from_millis(500));
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
}

fn is_concurrent(series: &Value) -> bool {
    series["labels"]["collection"].as_str().unwrap().ends_with("(concurrent)")
}

/// The middle of what two accounts of the same times differ by.
fn median_difference(a: &[u64], b: &[u64]) -> u64 {
    let mut differences: Vec<u64> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
    differences.sort_unstable();
    differences[differences.len() / 2]
}

#[test]
fn each_pause_of_each_collector_is_in_javas_own_log() {
    if !require_root() {
        return;
    }
    let homes = javas();
    let folder = Workshop::new();
    let Some(classes) = classes(&folder, &homes) else { return };
    let mut tried = 0;
    for home in &homes {
        for (collector, has_cycles) in COLLECTORS {
            let log = folder.path("log");
            let _ = fs::remove_file(&log);
            let Some(mut worker) = java(home, collector, &classes, &log) else { continue };
            assert_eq!(worker.work("1"), "done");
            settle(&log);
            let pid = worker.id().to_string();
            let programs = PROGRAMS + TARGET_PROGRAMS + JAVA_PROBES;
            let gauge = Gauge::start("gc", programs, ["-p", &pid, "--each"]);
            // What some collect while the program starts is over.
            let early = logged(&log).len();
            worker.work("300");
            worker.work("full");
            worker.work("100");
            settle(&log);
            let (each, intervals): (Vec<Value>, Vec<Value>) =
                gauge.end().into_iter().partition(|line| line["series"].is_null());
            let what = format!("{collector} of {}", home.display());
            let interval = Interval(intervals.into_iter().next().unwrap());
            let pauses = each.iter().filter(|line| !is_concurrent(line));
            let pauses: Vec<u64> = pauses.map(|line| number(line, "duration")).collect();
            let logged = &logged(&log)[early..];
            assert_eq!(
                pauses.len(),
                logged.len(),
                "{what}: {pauses:?}, {logged:?}: {:?}",
                interval.0["missed"]
            );
            assert!(pauses.len() >= 3, "{what}: {pauses:?}");
            let difference = median_difference(&pauses, logged);
            // ZGC logs what it takes to stop all threads with it, and the probes do not.
            let sums = (pauses.iter().sum::<u64>(), logged.iter().sum::<u64>());
            let agrees = match collector {
                "Z" => sums.0 <= sums.1 + sums.1 / 10,
                _ => difference < 200_000,
            };
            assert!(agrees, "{what}: {difference} ns: {pauses:?}, {logged:?}");
            eprintln!("{what}: {} pauses, median difference {difference} ns", pauses.len());
            assert_eq!(interval.series().into_iter().any(is_concurrent), has_cycles, "{what}");
            assert_eq!(interval.total("count"), each.len() as u64);
            tried += 1;
        }
    }
    assert!(tried >= 3, "only {tried} collectors");
}

#[test]
fn not_even_the_first_pause_of_a_java_that_starts_later_is_missed() {
    if !require_root() {
        return;
    }
    let homes = javas();
    let folder = Workshop::new();
    let Some(classes) = classes(&folder, &homes) else { return };
    let gauge = Gauge::start("gc", PROGRAMS + JAVA_PROBES * homes.len(), ["--min", "1us"]);
    for home in &homes {
        let log = folder.path("log");
        let mut worker = java(home, "Serial", &classes, &log).unwrap();
        worker.work("200");
        worker.work("full");
        assert!(logged(&log).len() >= 3);
        fs::rename(&log, folder.path(&format!("log.{}", worker.id()))).unwrap();
    }
    let interval = gauge.interval();
    for file in fs::read_dir(folder.path("")).unwrap() {
        let path = file.unwrap().path();
        let Some(pid) = path.extension().and_then(|pid| pid.to_str()) else { continue };
        let of_it = interval.series().into_iter().filter(|series| {
            series["labels"]["process"].as_str().unwrap().ends_with(&format!("({pid})"))
        });
        let count: u64 = of_it.map(|series| number(series, "count")).sum();
        assert_eq!(count, logged(&path).len() as u64);
    }
}

#[test]
fn a_python_that_nobody_has_seen_before_is_noticed() {
    let python = Path::new("/usr/bin/python3").canonicalize().unwrap_or_default();
    let program = fs::read(&python).unwrap_or_default();
    let there = has_probe(&program, b"gc__start");
    if !require_root() || !need("a python3 with probes, as Debian's", there) {
        return;
    }
    let gauge = Gauge::start("gc", PROGRAMS, ["-i", "100ms"]);
    wait_until("a beginning", || (!gauge.printed().is_empty()).then_some(()));
    let before = gauge.attached();
    // A file of its own, with what it needs from where it was.
    let folder = Workshop::new();
    let copy = folder.path("python3");
    fs::copy(&python, &copy).unwrap();
    let script = "import gc, sys\n\
                  gc.disable()\n\
                  for line in sys.stdin:\n \
                      for _ in range(int(line)): gc.collect()\n \
                      print('done', flush=True)\n";
    let mut worker =
        Worker::start(Command::new(copy).env("PYTHONHOME", "/usr").args(["-S", "-c", script]));
    wait_until("probes in a new file", || (gauge.attached() >= before + 2).then_some(()));
    worker.work("25");
    let process = format!("python3 ({})", worker.id());
    let intervals: Vec<Interval> = gauge.end().into_iter().map(Interval).collect();
    let found = intervals.iter().filter_map(|interval| interval.find("process", &process));
    let generations: Vec<&Value> =
        found.clone().map(|series| &series["labels"]["collection"]).collect();
    assert!(generations.iter().all(|generation| *generation == "generation 2"));
    assert_eq!(found.map(|series| number(series, "count")).sum::<u64>(), 25);
}

#[test]
fn a_java_without_probes_is_named_with_the_way_out() {
    if !require_root() {
        return;
    }
    // To rprof a library of this name is Java's.
    let folder = Workshop::new();
    let library = folder.plug("libjvm.so");
    let script = "import ctypes, sys, time; ctypes.CDLL(sys.argv[1]); time.sleep(100)";
    let process =
        Process::start(Command::new("/usr/bin/python3").args(["-c", script]).arg(&library));
    let pid = process.id().to_string();
    wait_until("a mapped library", || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        maps.contains("libjvm.so").then_some(())
    });
    let ended = run(&mut rprof(["latency", "gc", "-p", &pid, "-d", "200ms"]));
    ended_without(&ended.err, &pid);
    assert_eq!(ended.code(), 1);
}

fn ended_without(errors: &str, pid: &str) {
    for part in ["libjvm.so", pid, "has no probes", "--enable-dtrace", "-Xlog:gc"] {
        assert!(errors.contains(part), "no {part:?} in {errors}");
    }
}
