//! What a recording has besides stacks, recorded for real and asked for: which commands ran when, and
//! where a Java program waited.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    Server,
    common::{
        command::{rprof, run},
        workload::{self, Workshop, need, require_root},
    },
};

/// Commands that live for a moment.
const COMMANDS: usize = 200;

/// What a script does is recorded, with these sources; gives the recording.
fn record(shop: &Workshop, sources: &str, words: &[&str]) -> PathBuf {
    let path = shop.path("recording");
    let mut command = rprof(["record", "-s", sources, "-F", "499", "-o"]);
    let ran = run(command.arg(&path).arg("--").args(words));
    assert!(ran.status.success(), "{}", ran.err);
    path
}

fn lane<'a>(line: &'a Value, source: &str) -> &'a Value {
    let lanes = line["lanes"].as_array().unwrap();
    lanes.iter().find(|lane| lane["source"] == source).unwrap_or_else(|| panic!("{source}: {line}"))
}

/// A name may stand for stacks and for histograms.
fn latency<'a>(line: &'a Value, source: &str) -> &'a Value {
    let mut lanes = line["lanes"].as_array().unwrap().iter();
    lanes.find(|lane| lane["source"] == source && lane["kind"] == "latency").unwrap()
}

fn numbers(values: &Value) -> Vec<Option<u64>> {
    values.as_array().unwrap().iter().map(Value::as_u64).collect()
}

#[test]
fn no_command_is_too_short_to_be_there() {
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let script = format!(
        "n=0; while [ $n -lt {COMMANDS} ]; do /bin/true number $n; n=$((n+1)); done; \
         /bin/sh -c 'exit 3'; /bin/sh -c 'kill -9 $$'; {} 0.3",
        shop.c("hog").display(),
    );
    let path = record(&shop, "cpu,runqlat", &["sh", "-c", &script]);
    let server = Server::of(&path);

    let listed = server.json("/api/recording")["lanes"].clone();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|lane| lane["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["exec", "exit", "runqlat"]);

    let answer = server.json("/api/processes?limit=5000");
    let runs = answer["processes"].as_array().unwrap();
    assert_eq!(
        (answer["more"].as_u64(), answer["count"].as_u64()),
        (Some(0), Some(runs.len() as u64))
    );
    let lines: HashMap<&str, &Value> =
        runs.iter().map(|run| (run["cmdline"].as_str().unwrap(), run)).collect();
    let (start, end) = {
        let recording = server.json("/api/recording");
        (recording["start"].as_f64().unwrap(), recording["end"].as_f64().unwrap())
    };
    for number in 0..COMMANDS {
        let run = lines.get(&*format!("/bin/true number {number}"));
        let run = run.unwrap_or_else(|| panic!("number {number} of {answer}"));
        assert_eq!((&run["comm"], &run["code"]), (&"true".into(), &0.into()), "{run}");
        let (from, to) = (run["start"].as_f64().unwrap(), run["end"].as_f64().unwrap());
        assert!(start <= from && from <= to && to <= end, "{run}");
    }
    let whole =
        lines.values().find(|run| run["cmdline"].as_str().unwrap().starts_with("sh -c n=0"));
    let whole = whole.unwrap();
    let first = runs.iter().filter_map(|run| run["start"].as_f64()).fold(f64::MAX, f64::min);
    assert_eq!(whole["start"], first);
    assert_eq!(lines["/bin/sh -c exit 3"]["code"], 3);
    assert_eq!(lines["/bin/sh -c kill -9 $$"]["signal"], "SIGKILL");

    let killed = server.json("/api/marks?name=exit&text=SIGKILL");
    assert_eq!((&killed["count"], &killed["marks"][0]["kind"]), (&1.into(), &"killed".into()));
    assert_eq!(killed["marks"][0]["level"], "error");
    let pid = killed["marks"][0]["pid"].as_u64().unwrap();
    let of_it = server.json(&format!("/api/marks?name=exec,exit&pid={pid}"));
    assert_eq!(of_it["count"], 2, "{of_it}");

    let line = server.json("/api/timeline?columns=50&marks=20");
    let exec = lane(&line, "exec");
    let counted: u64 = numbers(&exec["count"]).into_iter().flatten().sum();
    assert!(counted >= COMMANDS as u64 + 4, "{counted}");
    assert_eq!(exec["marks"].as_array().unwrap().len(), 20);
    assert_eq!(exec["more"], counted - 20);
    // The longest are listed: the script itself, and what used CPU time.
    let texts: Vec<&str> = exec["marks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| mark["text"].as_str().unwrap())
        .collect();
    assert!(texts.iter().any(|text| text.ends_with("hog 0.3")), "{texts:?}");
    let waits = latency(&line, "runqlat");
    let all = &waits["all"];
    let counts: u64 = numbers(&waits["count"]).into_iter().flatten().sum();
    assert_eq!(all["count"], counts);
    assert!(counts > COMMANDS as u64, "{counts}");
    for column in 0..50 {
        let at = |name: &str| numbers(&waits[name])[column];
        let (p50, p99, max) = (at("p50"), at("p99"), at("max"));
        assert!(p50 <= at("p90") && at("p90") <= p99 && p99 <= max, "{waits}");
    }
    // Of one process alone there are fewer.
    let hog = runs.iter().find(|run| run["comm"] == "hog").unwrap();
    let narrow = server.json(&format!("/api/timeline?columns=50&pid={}", hog["pid"]));
    let of_hog = latency(&narrow, "runqlat");
    assert_eq!(of_hog["filtered"], true);
    assert!(of_hog["all"]["count"].as_u64().unwrap() < counts, "{of_hog}");
    assert_eq!(lane(&narrow, "exec")["marks"].as_array().unwrap().len(), 1);

    assert!(server.get("/api/marks?name=nothing").refuses(400).contains("exec"));
    assert!(server.get("/api/marks?text=(").refuses(400).contains("pattern"));
    let metrics = server.get("/metrics");
    for wanted in [
        "rprof_marks_total{source=\"exec\"} ",
        "# TYPE rprof_latency_seconds summary",
        "rprof_latency_seconds{source=\"runqlat\",quantile=\"0.99\"} ",
        &format!("rprof_latency_seconds_count{{source=\"runqlat\"}} {counts}\n"),
    ] {
        assert!(metrics.text().contains(wanted), "{wanted}: {}", metrics.text());
    }

    tells_in_a_terminal(&path, counts);
}

/// The same recording by the command line.
fn tells_in_a_terminal(path: &Path, times: u64) {
    let report = |words: &[&str]| {
        let ran = run(rprof(["report"]).arg(path).args(words));
        (ran.status.success(), String::from_utf8(ran.out).unwrap(), ran.err)
    };
    let (_, text, _) = report(&["-s", "exec"]);
    assert!(text.contains("/bin/true number 199"), "{text}");
    let (_, text, _) = report(&["-s", "exec", "--json", "--comm", "true"]);
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), COMMANDS);
    assert_eq!(events[7]["args"].as_array().unwrap().len(), 3);
    let (_, text, _) = report(&["-s", "runqlat", "--type", "latency", "--json"]);
    let histogram: Value = serde_json::from_str(&text).unwrap();
    let series = histogram["series"].as_array().unwrap();
    assert_eq!(series.iter().map(|one| one["count"].as_u64().unwrap()).sum::<u64>(), times);
    let (_, text, _) = report(&["-s", "runqlat", "--type", "latency", "-n", "2"]);
    assert!(text.contains("p99") && text.contains("PROCESS") && text.contains("… and "), "{text}");
    let words = ["export", "-f", "json", "-s", "runqlat", "--type", "latency"];
    let exported = run(rprof(words).arg(path));
    assert_eq!(serde_json::from_slice::<Value>(&exported.out).unwrap(), histogram);
    let (good, _, error) = report(&["-s", "hardirqs"]);
    assert!(!good && error.contains("no source hardirqs"), "{error}");
    let picture = run(rprof(["flamegraph", "-s", "exec"]).arg(path));
    assert!(picture.err.contains("rprof report -s exec"), "{}", picture.err);
}

/// Java with probes of its collector, and its compiler.
fn java() -> Option<(PathBuf, PathBuf)> {
    let homes = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let mut homes: Vec<PathBuf> = homes.map(|home| home.path()).collect();
    homes.sort();
    homes.into_iter().find_map(|home| {
        let (java, compiler) = (home.join("bin/java"), home.join("bin/javac"));
        let library = fs::read(home.join("lib/server/libjvm.so")).unwrap_or_default();
        let name = b"mem__pool__gc__begin";
        let has_probes = library.windows(name.len()).any(|window| window == name);
        (has_probes && java.is_file() && compiler.is_file()).then_some((java, compiler))
    })
}

#[test]
fn pauses_waits_and_cpu_time_of_java_are_on_one_time_line() {
    let found = java();
    let there = need("a Java with probes: apt-get install default-jdk-headless", found.is_some());
    let Some((java, compiler)) = found.filter(|_| there) else { return };
    if !require_root() {
        return;
    }
    let shop = Workshop::new();
    let (classes, log) = (shop.path("classes"), shop.path("log"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/gc.java");
    workload::run(Command::new(compiler).arg("-d").arg(&classes).arg(source).stderr(Stdio::null()));
    let script = format!(
        "printf '400\\nfull\\n100\\n' | {} -Xmx96m -XX:+UseSerialGC -Xlog:gc:file={} -cp {} gc",
        java.display(),
        log.display(),
        classes.display(),
    );
    let path = record(&shop, "cpu,runqlat,gc", &["sh", "-c", &script]);
    let logged = fs::read_to_string(&log).unwrap().matches(" Pause ").count();
    assert!(logged >= 3, "{logged}");

    let server = Server::of(&path);
    let line = server.json("/api/timeline?columns=20");
    assert!(line["total"].as_u64().unwrap() > 0);
    let pauses = latency(&line, "gc");
    let marks = pauses["marks"].as_array().unwrap();
    assert_eq!(marks.len(), logged, "{pauses}");
    for mark in marks {
        assert_eq!((&mark["kind"], &mark["source"]), (&"gc".into(), &"gc".into()));
        assert!(mark["process"].as_str().unwrap().starts_with("java ("), "{mark}");
        let lasted = (mark["end"].as_f64().unwrap() - mark["time"].as_f64().unwrap()) * 1e6;
        let told = mark["fields"]["duration_ns"].as_f64().unwrap();
        assert!((lasted - told).abs() < 1000.0, "{mark}");
    }
    assert_eq!(pauses["all"]["count"], logged);
    assert!(latency(&line, "runqlat")["all"]["p99"].as_u64().unwrap() > 0);
    assert!(lane(&line, "exec")["marks"].to_string().contains("UseSerialGC"));
}
