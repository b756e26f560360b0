//! A folder of recordings: one store, whatever hours and files its time is made of.

use std::{path::Path, time::Duration};

use rprof::{
    model::{
        EMPTY_STACK, Frame, FrameKind, Function, Info, Line, Process, Sample, SourceInfo, Stats,
        Tables, Thread, ValueType,
    },
    store::{Folder, Limits, SourceState},
};
use serde_json::Value;

use super::Server;

const S: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * S;
/// 2026-11-20T21:00:00Z.
const START: u64 = 1_795_208_400 * S;
/// A sample each so often.
const PERIOD: u64 = 2 * S;
/// Hours of the first and of the second recording.
const HOURS: [u64; 2] = [3, 4];

/// A recording of so many hours: two programs take turns, the second more and more often.
fn record(folder: &Folder, start: u64, hours: u64) {
    let mut tables = Tables::default();
    let mut leaves = Vec::new();
    for (number, comm) in (0..).zip(["app", "db"]) {
        let comm = tables.strings.intern(comm);
        let process = Process {
            pid: 10 + number,
            comm,
            exe: 0,
            cmdline: 0,
            uid: number,
            cgroup: 0,
            service: 0,
        };
        let process = tables.processes.intern(process);
        tables.threads.intern(Thread { process, tid: 10 + number, name: comm });
        let mut stack = EMPTY_STACK;
        for name in ["main", ["serve", "query"][number as usize]] {
            let address = (u64::from(number) << 8) + name.len() as u64;
            let frame = tables.frame(Frame { kind: FrameKind::User, binary: 0, address });
            let name = tables.strings.intern(name);
            let function = Function { name, system_name: name, file: 0 };
            let function = tables.functions.intern(function);
            tables.lines[frame as usize] = [Line { function, line: 1, column: 0 }].into();
            stack = tables.stacks.push(stack, frame);
        }
        leaves.push(stack);
    }
    let mut info = Info { cpus: 1, start, ..Info::default() };
    let source = SourceInfo {
        name: "cpu".into(),
        event: "cpu-clock".into(),
        frequency: 1,
        period: PERIOD,
        value: ValueType::new("cpu", "nanoseconds"),
        ..SourceInfo::default()
    };
    let mut stats = Stats::default();
    let mut writer = folder.begin(start).unwrap();
    let named: Vec<u32> = (0..tables.frames.len() as u32).collect();
    let (mut samples, mut time) = (Vec::new(), 0);
    while time < hours * HOUR {
        let index = time / PERIOD;
        let which = u32::from(index % (2 * hours) < time / HOUR);
        let stack = leaves[which as usize];
        samples.push(Sample { time, cpu: 0, thread: which, stack, count: 1, value: PERIOD });
        stats.samples += 1;
        time += PERIOD;
        if time % (10 * 60 * S) == 0 {
            info.duration = time;
            info.complete = time == hours * HOUR;
            let named: &[u32] = if time == 10 * 60 * S { &named } else { &[] };
            let state = SourceState {
                info: &source,
                stats: &stats,
                samples: &mut samples,
                frees: &mut Vec::new(),
            };
            writer.commit(&info, &mut [state], &tables, named).unwrap();
        }
    }
    writer.finish().unwrap();
}

/// Two recordings with two hours between them.
fn store(path: &Path) {
    let limits = Limits { keep: Duration::from_secs(u32::MAX.into()), max_bytes: 1 << 30 };
    let folder = Folder::open(path, limits, None).unwrap();
    record(&folder, START, HOURS[0]);
    record(&folder, START + (HOURS[0] + 2) * HOUR, HOURS[1]);
}

fn total(answer: &Value) -> u64 {
    answer["total"].as_u64().unwrap()
}

#[test]
fn hours_come_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let server = Server::of(folder.path());
    let recording = server.json("/api/recording");
    assert_eq!(recording["start"], START as f64 / 1e6);
    assert_eq!(recording["end"], (START + 9 * HOUR) as f64 / 1e6);
    assert_eq!(recording["live"], false);
    let whole = 7 * HOUR / PERIOD * PERIOD;
    for query in ["", "by=process", "focus=query", "only=uid%3D1", "type=samples", "inverted=true"]
    {
        let ask = |what: &str, from: u64, to: u64| {
            let (from, to) = ((START + from) / 1_000_000, (START + to) / 1_000_000);
            server.json(&format!("/api/{what}?from={from}&to={to}&{query}"))
        };
        let all = total(&server.json(&format!("/api/table?{query}")));
        if query.is_empty() {
            assert_eq!(all, whole);
        }
        // Whole hours come from memory, and what is around them from the recordings.
        for (from, to) in
            [(0, 9 * HOUR), (17 * S, 8 * HOUR + 31 * S), (HOUR, 8 * HOUR), (0, 4 * HOUR)]
        {
            let expected = total(&ask("table", from, to));
            let mut parts = 0;
            let mut start = from;
            while start < to {
                // Less than the hours that are kept.
                let end = (start + 47 * 60 * S).min(to);
                parts += total(&ask("table", start, end));
                start = end;
            }
            assert_eq!(parts, expected, "{query} {from} {to}");
            assert_eq!(total(&ask("flamegraph", from, to)), expected, "{query} {from} {to}");
        }
        for columns in [1, 9, 540, 2000] {
            let line = server.json(&format!("/api/timeline?columns={columns}&{query}"));
            assert_eq!(total(&line), all, "{query} {columns}");
            assert!(line["other"].as_array().unwrap().len() <= columns);
        }
        // The answers stay the same when they are asked for again.
        assert_eq!(total(&server.json(&format!("/api/flamegraph?{query}"))), all);
    }
}

#[test]
fn what_happened_to_the_recording_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let line = Server::of(folder.path()).json("/api/timeline");
    let marks: Vec<_> = line["marks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| mark["kind"].as_str().unwrap())
        .collect();
    for kind in ["start", "stop", "gap"] {
        assert!(marks.contains(&kind), "{marks:?}");
    }
    let gap = line["marks"].as_array().unwrap().iter().find(|mark| mark["kind"] == "gap").unwrap();
    assert_eq!(gap["time"], (START + HOURS[0] * HOUR) as f64 / 1e6);
    assert_eq!(gap["end"], (START + (HOURS[0] + 2) * HOUR) as f64 / 1e6);
}

#[test]
fn another_store_can_be_the_base() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let kept = super::kept_recording();
    let mut command = std::process::Command::new(super::RPROF);
    command
        .arg("web")
        .arg(folder.path())
        .arg("--base")
        .arg(&kept)
        .args(["--listen", "127.0.0.1:0"]);
    let server = Server::start(&mut command);
    let expected = total(&Server::kept().json("/api/table"));
    for what in ["flamegraph", "table"] {
        let answer = server.json(&format!("/api/{what}?base=1"));
        assert_eq!(answer["base_total"], expected, "{what}");
        assert_eq!(total(&answer), 7 * HOUR, "{what}");
    }
    assert_eq!(server.json("/api/recording")["base"]["start"], 1_795_248_000_000.0);
    Server::kept().get("/api/table?base=1").refuses(400);
    // What got more, by how much, and surely so.
    let hours = server.json("/api/table?from=2h&to=3h&base_from=0s&base_to=1h");
    let row = |name: &str| {
        let rows = hours["functions"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == *name).unwrap().clone()
    };
    assert!(row("query")["z"].as_f64().unwrap() > 10.0 && row("query")["significant"] == true);
    assert!(row("serve")["z"].as_f64().unwrap() < -10.0);
    assert_eq!(
        (row("main")["z"].as_f64(), &row("main")["significant"]),
        (Some(0.0), &false.into())
    );
}
