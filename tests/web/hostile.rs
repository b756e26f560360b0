//! Names that were made to do harm: nothing of them is ever more than text.

use std::path::Path;

use rprof::{
    model::{
        Binary, EMPTY_STACK, Frame, FrameKind, Function, Info, Line, Process, Sample, SourceInfo,
        Stats, Tables, Thread, ValueType,
    },
    store::{SourceState, Writer},
};

use super::{Server, client::encode};

/// What programs and people can be called.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "a\"b'c`d",
        "javascript:alert(1)",
        "a\nb\r\nSet-Cookie: x=y",
        "null\0byte",
        "\u{202e}desrever",
        "\u{1b}[31mred",
        "&lt;b&gt;",
        "]]>",
        "{{constructor}}",
        "__proto__",
        "constructor",
        "../../etc/passwd",
        "a;b 5",
        " ",
        "\\",
        "%3Cscript%3E",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("<b>long</b>".repeat(900));
    names.push("<".repeat(10_000));
    names
}

/// A recording in which everything that has a name has such a one.
fn record(path: &Path) {
    let mut tables = Tables::default();
    let mut samples = Vec::new();
    for (number, name) in (0..).zip(names()) {
        let text = tables.strings.intern(&name);
        let binary = tables.binaries.intern(Binary { path: text, build_id: text });
        let function = Function { name: text, system_name: text, file: text };
        let function = tables.functions.intern(function);
        let frame = Frame { kind: FrameKind::User, binary, address: number };
        let frame = tables.frame(frame);
        tables.lines[frame as usize] = [Line { function, line: 1, column: 0 }].into();
        let process = Process {
            pid: 1 + number as u32,
            comm: text,
            exe: text,
            cmdline: text,
            uid: 0,
            cgroup: text,
            service: text,
        };
        let process = tables.processes.intern(process);
        let thread = tables.threads.intern(Thread { process, tid: 1 + number as u32, name: text });
        let stack = tables.stacks.push(EMPTY_STACK, frame);
        let time = number * 10_000_000;
        samples.push(Sample { time, cpu: 0, thread, stack, count: 1, value: 10_000_000 });
    }
    let evil = names()[0].clone();
    let info = Info {
        version: evil.clone(),
        host: evil.clone(),
        kernel: evil.clone(),
        target: evil.clone(),
        cpus: 1,
        start: 1_795_248_000_000_000_000,
        duration: 1_000_000_000,
        complete: true,
        ..Info::default()
    };
    let source = SourceInfo {
        name: "cpu".into(),
        event: evil.clone(),
        frequency: 100,
        period: 10_000_000,
        value: ValueType::new("cpu", "nanoseconds"),
        ..SourceInfo::default()
    };
    let mut stats = Stats { samples: samples.len() as u64, ..Stats::default() };
    stats.missed.insert(names()[5].clone(), 3);
    stats.unwind_failed.insert(names()[3].clone(), 4);
    let mut writer = Writer::create(path).unwrap();
    let named: Vec<u32> = (0..tables.frames.len() as u32).collect();
    let state =
        SourceState { info: &source, stats: &stats, samples: &mut samples, frees: &mut Vec::new() };
    writer.commit(&info, &mut [state], &tables, &named).unwrap();
    writer.finish().unwrap();
}

#[test]
fn names_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.recording");
    record(&path);
    let server = Server::of(&path);
    let names = names();
    let table = server.json("/api/table");
    let rows = table["functions"].as_array().unwrap();
    assert_eq!(rows.len(), names.len());
    let graph = server.json("/api/flamegraph?nodes=100000");
    let line = server.json("/api/timeline?top=100");
    for name in &names {
        let row = rows.iter().find(|row| row["name"] == **name).expect(name);
        assert_eq!((&row["self"], &row["module"]), (&10_000_000.into(), &(&**name).into()));
        assert!(graph["names"].as_array().unwrap().contains(&(&**name).into()), "{name}");
        let series = line["series"].as_array().unwrap();
        assert!(series.iter().any(|series| series["name"] == **name), "{name}");
        let sandwich = server.json(&format!("/api/sandwich?function={}", encode(name)));
        assert_eq!(sandwich["callees"]["total"], 10_000_000, "{name}");
        for word in ["comm", "only=cmdline%3D", "only=cgroup%3D", "only=service%3D"] {
            let word = if word == "comm" { "comm=".to_owned() } else { word.to_owned() };
            let narrowed = server.json(&format!("/api/table?{word}{}", encode(name)));
            assert_eq!(narrowed["samples"], 1, "{word} {name}");
        }
        // A name as a pattern is a pattern, good or bad, and nothing else.
        let reply = server.get(&format!("/api/table?focus={}", encode(name)));
        let known = [200, 400].contains(&reply.status);
        assert!(known, "{name:.50}: {} {:.200}", reply.status, reply.text());
    }
    for label in ["comm", "exe", "cmdline", "cgroup", "service", "process", "thread"] {
        let values = server.json(&format!("/api/labels?label={label}"));
        assert_eq!(values["values"].as_array().unwrap().len(), names.len(), "{label}");
    }
}

#[test]
fn no_answer_can_be_taken_for_markup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.recording");
    record(&path);
    let server = Server::of(&path);
    for question in ["recording", "stats", "timeline", "table", "flamegraph", "labels?label=comm"] {
        let reply = server.get(&format!("/api/{question}"));
        assert_eq!(reply.header("content-type"), Some("application/json"), "{question}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{question}");
    }
    // What a question says comes back as JSON too.
    let echo = server.get(&format!("/api/sandwich?function={}", encode("<script>none</script>")));
    assert!(echo.refuses(404).contains("<script>none"));
    assert_eq!(echo.header("content-type"), Some("application/json"));
    for format in ["svg", "pprof", "folded", "speedscope", "firefox", "json"] {
        let reply = server.get(&format!("/api/export?format={format}"));
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-disposition").unwrap().starts_with("attachment;"));
        assert_eq!(reply.header("set-cookie"), None);
        if format == "svg" {
            assert!(!reply.text().contains("<script>alert") && !reply.text().contains("<img"));
        }
    }
    let metrics = server.get("/metrics");
    for line in metrics.text().lines() {
        let sound = line.starts_with("# ") || line.starts_with("rprof_");
        assert!(sound, "{line:?}");
    }
    assert!(metrics.text().contains(r#"reason="a\"b'c`d"} 4"#), "{}", metrics.text());
}
