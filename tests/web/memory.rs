//! Memory by the API: what is in use at any moment, of any age, in any answer and under any filter
//! comes to the same, which is known by what was made up.

use std::path::Path;

use rprof::{
    model::{
        EMPTY_STACK, Frame, FrameKind, Free, Function, Info, Line, Process, Sample, SourceInfo,
        Stats, Tables, Thread, ValueType,
    },
    store::{SourceState, Writer},
};
use serde_json::Value;

use super::{
    Server,
    common::command::{rprof, run},
};

const S: u64 = 1_000_000_000;
const START: u64 = 1_795_248_000 * S;
const MIB: u64 = 1 << 20;
/// Seconds of the recording.
const SECONDS: u64 = 100;
/// The stacks: who calls malloc.
const FUNCTIONS: [&str; 2] = ["cache", "leak"];

/// What was allocated, and how long it lives: each second `cache` takes 4 MiB for ten seconds, and
/// `leak` takes 1 MiB for good, from the 20th on.
fn made() -> Vec<(u64, usize, u64, Option<u64>)> {
    let cache = (0..SECONDS).map(|second| (second, 0, 4 * MIB, Some(second + 10)));
    cache.chain((20..SECONDS).map(|second| (second, 1, MIB, None))).collect()
}

/// Bytes in use at a second, by function.
fn in_use(at: u64, older: u64) -> [u64; 2] {
    let mut sums = [0; 2];
    for (born, function, bytes, end) in made() {
        // Half a second after it.
        if born + older < at && end.is_none_or(|end| end >= at) {
            sums[function] += bytes;
        }
    }
    sums
}

fn record(path: &Path) {
    let mut tables = Tables::default();
    let comm = tables.strings.intern("app");
    let process = Process { pid: 7, comm, exe: 0, cmdline: 0, uid: 0, cgroup: 0, service: 0 };
    let process = tables.processes.intern(process);
    let thread = tables.threads.intern(Thread { process, tid: 7, name: comm });
    let frame = |tables: &mut Tables, name: &str, address| {
        let frame = tables.frame(Frame { kind: FrameKind::User, binary: 0, address });
        let name = tables.strings.intern(name);
        let function = tables.functions.intern(Function { name, system_name: name, file: 0 });
        tables.lines[frame as usize] = [Line { function, line: 1, column: 0 }].into();
        frame
    };
    let malloc = frame(&mut tables, "malloc", 1);
    let stacks = [0, 1].map(|which| {
        let caller = frame(&mut tables, FUNCTIONS[which], 2 + which as u64);
        let stack = tables.stacks.push(EMPTY_STACK, caller);
        tables.stacks.push(stack, malloc)
    });
    let heap = SourceInfo {
        name: "heap".into(),
        period: MIB / 2,
        count: ValueType::new("alloc_objects", "count"),
        value: ValueType::new("alloc_space", "bytes"),
        held: true,
        ..SourceInfo::default()
    };
    let cpu = SourceInfo {
        name: "cpu".into(),
        frequency: 1,
        period: S,
        value: ValueType::new("cpu", "nanoseconds"),
        ..SourceInfo::default()
    };
    let (mut taken, mut freed, mut ran) = (Vec::new(), Vec::new(), Vec::new());
    for (born, function, value, end) in made() {
        let time = born * S + S / 2;
        let stack = stacks[function];
        let sample = Sample { time, cpu: 0, thread, stack, count: value / MIB, value };
        taken.push(sample);
        if let Some(end) = end.filter(|end| *end < SECONDS) {
            let sample = Sample { time: end * S + S / 2, ..sample };
            freed.push(Free { sample, born: time });
        }
        ran.push(Sample { count: 1, value: S, ..sample });
    }
    let info =
        Info { start: START, duration: SECONDS * S, complete: true, cpus: 1, ..Info::default() };
    let stats = Stats { samples: taken.len() as u64, ..Stats::default() };
    let named: Vec<u32> = (0..tables.frames.len() as u32).collect();
    let mut writer = Writer::create(path).unwrap();
    let mut states = [
        SourceState { info: &heap, stats: &stats, samples: &mut taken, frees: &mut freed },
        SourceState { info: &cpu, stats: &stats, samples: &mut ran, frees: &mut Vec::new() },
    ];
    writer.commit(&info, &mut states, &tables, &named).unwrap();
    writer.finish().unwrap();
}

fn served() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.recording");
    record(&path);
    let server = Server::of(&path);
    (folder, server)
}

fn total(answer: &Value) -> u64 {
    answer["total"].as_u64().unwrap()
}

#[test]
fn every_answer_has_the_same_in_use() {
    let (_folder, server) = served();
    for (to, older) in [(100, 0), (50, 0), (20, 0), (100, 15), (60, 5), (3, 5)] {
        let expected = in_use(to, older);
        let sum = expected.iter().sum::<u64>();
        let age = if older > 0 { format!("&older={older}s") } else { String::new() };
        for filter in ["", "&by=thread", "&by=none", "&pid=7", "&comm=app", "&focus=malloc"] {
            let ask =
                |what: &str| server.json(&format!("/api/{what}source=heap&to={to}s{age}{filter}"));
            for what in
                ["flamegraph?", "table?", "flamegraph?inverted=true&", "timeline?", "heatmap?"]
            {
                assert_eq!(total(&ask(what)), sum, "{what} {to} {older} {filter}");
            }
            let line = ask("timeline?columns=10&");
            let levels = line["series"][0]["values"].as_array();
            let last = levels.and_then(|values| values.last()?.as_u64()).unwrap_or_default();
            assert_eq!((last, &line["in_use"]), (sum, &true.into()), "{to} {older} {filter}");
        }
        let table = server.json(&format!("/api/table?source=heap&to={to}s{age}"));
        for (name, bytes) in FUNCTIONS.iter().zip(expected) {
            let rows = table["functions"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == *name);
            // Of who called malloc, and not malloc's own.
            assert_eq!(row.map_or(0, |row| row["self"].as_u64().unwrap()), bytes, "{name} {to}");
        }
        assert_eq!(table["unit"], "bytes");
    }
}

#[test]
fn levels_are_those_of_each_moment() {
    let (_folder, server) = served();
    for filter in ["", "&focus=malloc"] {
        let line = server.json(&format!("/api/timeline?source=heap&columns=10{filter}"));
        let values: Vec<u64> = line["series"][0]["values"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let expected: Vec<u64> =
            (1..=10).map(|column| in_use(column * 10, 0).iter().sum()).collect();
        assert_eq!(values, expected);
        // From the middle on, what was there before is there.
        let line = server.json(&format!("/api/timeline?source=heap&columns=5&from=50s{filter}"));
        assert_eq!(line["series"][0]["values"][0], in_use(60, 0).iter().sum::<u64>());
    }
    let line = server.json("/api/timeline?columns=10");
    let lane = &line["lanes"][0];
    assert_eq!(
        (&lane["source"], &lane["type"], &lane["in_use"]),
        (&"heap".into(), &"inuse_space".into(), &true.into())
    );
    assert_eq!(lane["values"][9], in_use(100, 0).iter().sum::<u64>());
    let line = server.json("/api/timeline?source=heap&type=alloc_space&columns=10");
    assert_eq!(
        (total(&line), &line["in_use"]),
        (made().iter().map(|one| one.2).sum(), &false.into())
    );
}

#[test]
fn growth_is_an_amount_and_what_stays_is_no_noise() {
    let (_folder, server) = served();
    let table = server.json("/api/table?source=heap&to=90s&base_to=60s");
    let rows = table["functions"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let leak = row("leak");
    assert_eq!(leak["total"].as_u64().unwrap() - leak["base_total"].as_u64().unwrap(), 30 * MIB);
    // 30 MiB at 512 KiB a sample: 60 samples that only one side has.
    assert_eq!((leak["z"].as_f64().unwrap(), &leak["significant"]), (7.75, &true.into()));
    // All of the cache is new, and as large as before.
    assert_eq!(
        (row("cache")["z"].as_f64().unwrap(), &row("cache")["significant"]),
        (0.0, &false.into())
    );
    let graph = server.json("/api/flamegraph?source=heap&to=90s&base_to=60s&by=none");
    let names: Vec<&str> =
        graph["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let place = (0..names.len()).find(|place| {
        let function = graph["tree"]["function"][place].as_u64().unwrap() as usize;
        names[graph["functions"]["name"][function].as_u64().unwrap() as usize] == "leak"
    });
    assert_eq!(graph["tree"]["z"][place.unwrap()], 7.75);
    assert_eq!(graph["in_use"], true);
}

#[test]
fn types_are_those_of_the_source_and_others_are_refused() {
    let (_folder, server) = served();
    let sources = &server.json("/api/recording")["sources"];
    assert_eq!((&sources[1]["name"], &sources[1]["held"]), (&"heap".into(), &true.into()));
    assert_eq!(sources[1]["types"].as_array().unwrap().len(), 4);
    assert_eq!(server.json("/api/table")["unit"], "nanoseconds", "cpu comes first");
    let objects = server.json("/api/table?source=heap&type=inuse_objects");
    assert_eq!(
        (total(&objects), &objects["unit"]),
        (in_use(100, 0).iter().sum::<u64>() / MIB, &"objects".into())
    );
    for wrong in ["type=samples", "type=cpu", "type=alloc_space&older=5s", "older=x"] {
        let reply = server.get(&format!("/api/table?source=heap&{wrong}"));
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
    }
    // Who names no source means one that has it.
    let old = server.json("/api/table?older=5s");
    assert_eq!((total(&old), &old["unit"]), (in_use(100, 5).iter().sum(), &"bytes".into()));
    assert_eq!(server.json("/api/table?type=alloc_objects")["unit"], "objects");
    assert_eq!(server.get("/api/table?source=cpu&older=5s").status, 400);
}

#[test]
fn the_command_line_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.recording");
    record(&path);
    let json = |words: &[&str]| -> Value {
        let ran = run(rprof([]).args(words).arg(&path));
        assert_eq!(ran.code(), 0, "{}", ran.err);
        serde_json::from_slice(&ran.out).unwrap()
    };
    for (to, older) in [(100, 0), (50, 0), (60, 5)] {
        let (to_word, older_word) = (format!("{to}s"), format!("{older}s"));
        let mut words = vec!["report", "--json", "-s", "heap", "--to", &to_word];
        if older > 0 {
            words.extend(["--older", &older_word]);
        }
        let report = json(&words);
        assert_eq!(report["value"], in_use(to, older).iter().sum::<u64>(), "{to} {older}");
        assert_eq!(report["others"][0], "cpu");
    }
    let diff = json(&["diff", "--json", "-s", "heap", "--base-to", "60s", "--to", "90s"]);
    let leak = &diff["functions"][0];
    assert_eq!((&leak["name"], &leak["significant"]), (&"leak".into(), &true.into()));
    assert_eq!(leak["change"], (30 * MIB) as f64);
    // Of the 60 samples that only one of the moments has.
    assert!((leak["z"].as_f64().unwrap() - 60f64.sqrt()).abs() < 1e-9, "{leak}");
    let shares =
        json(&["diff", "--json", "--type", "alloc_space", "--base-to", "50s", "--from", "50s"]);
    assert_eq!((&shares["type"], &shares["of_amounts"]), (&"alloc_space".into(), &false.into()));
}
