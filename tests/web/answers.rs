//! What the API answers: all of it agrees with the command line, and with itself.

use std::{fs, io::Read};

use serde_json::Value;

use super::{
    Server,
    client::{ask, connect, encode},
    common::command::{kept_recording, rprof, run, wait_until},
    copy,
};

/// Views in the words of the command line, and in those of the API.
const VIEWS: [(&[&str], &str); 8] = [
    (&[], ""),
    (&["--to", "1s"], "to=1s"),
    (&["--from=-1s"], "from=-1s"),
    (&["--comm", "pastel"], "comm=pastel"),
    (&["--focus", "main", "--from", "200ms"], "focus=main&from=200ms"),
    (&["--ignore", "getrandom", "--by", "thread"], "ignore=getrandom&by=thread"),
    (&["--inverted", "--by", "none"], "inverted=true&by=none"),
    (&["--only", "comm=demo", "--by", "process"], "only=comm%3Ddemo&by=process"),
];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn sum(list: &Value) -> u64 {
    list.as_array().unwrap().iter().map(number).sum()
}

/// The sum of `key` of each item.
fn sum_of(list: &Value, key: &str) -> u64 {
    list.as_array().unwrap().iter().map(|item| number(&item[key])).sum()
}

/// What the command line reports.
fn report(view: &[&str]) -> Value {
    let kept = kept_recording();
    let mut command = rprof(["report", kept.to_str().unwrap(), "--json"]);
    serde_json::from_slice(run(command.args(view)).ok_bytes()).unwrap()
}

/// Asserts that the boxes of a flame graph add up, each with those that stand on it.
#[track_caller]
fn adds_up(graph: &Value) {
    let tree = &graph["tree"];
    let numbers =
        |key: &str| -> Vec<u64> { tree[key].as_array().unwrap().iter().map(number).collect() };
    let (depth, total, own) = (numbers("depth"), numbers("total"), numbers("self"));
    for (place, level) in depth.iter().enumerate() {
        let below = depth[place + 1..].iter().take_while(|below| *below > level).count();
        let children = (place + 1..=place + below).filter(|child| depth[*child] == level + 1);
        let sum: u64 = children.map(|child| total[child]).sum();
        assert_eq!(total[place], own[place] + sum, "box {place}");
    }
    assert_eq!(own.iter().sum::<u64>(), number(&graph["total"]));
    assert_eq!(total.first().copied(), Some(number(&graph["total"])));
    let functions = graph["functions"]["name"].as_array().unwrap().len();
    for (key, list) in [("kind", "kinds"), ("module", "modules"), ("file", "files")] {
        let indices = graph["functions"][key].as_array().unwrap();
        assert_eq!(indices.len(), functions, "{key}");
        let texts = graph[list].as_array().unwrap().len() as u64;
        assert!(indices.iter().all(|index| number(index) < texts), "{key}");
    }
    assert!(tree["function"].as_array().unwrap().iter().all(|f| number(f) < functions as u64));
}

#[test]
fn all_answers_come_to_the_same() {
    let server = Server::kept();
    for (words, query) in VIEWS {
        let report = report(words);
        let samples = number(&report["samples"]);
        let value: u64 = sum_of(&report["functions"], "self_value");
        assert!(samples > 0);

        let table = server.json(&format!("/api/table?limit=100000&{query}"));
        assert_eq!(
            (number(&table["samples"]), number(&table["total"])),
            (samples, value),
            "{query}"
        );
        assert_eq!(sum_of(&table["functions"], "self"), value, "{query}");
        for function in table["functions"].as_array().unwrap() {
            let same =
                |row: &&Value| row["name"] == function["name"] && row["kind"] == function["kind"];
            let rows = report["functions"].as_array().unwrap().iter().filter(same);
            let own: u64 = rows.map(|row| number(&row["self_value"])).sum();
            assert_eq!(number(&function["self"]), own, "{query}: {function}");
        }
        for nodes in ["1", "10", "1000000"] {
            let graph = server.json(&format!("/api/flamegraph?nodes={nodes}&{query}"));
            assert_eq!(number(&graph["total"]), value, "{query}");
            assert_eq!(number(&graph["samples"]), samples, "{query}");
            adds_up(&graph);
        }
        for columns in ["1", "7", "1000"] {
            let line = server.json(&format!("/api/timeline?columns={columns}&top=1&{query}"));
            assert_eq!(number(&line["total"]), value, "{query}");
            let series = sum_of(&line["series"], "total");
            assert_eq!(series + sum(&line["other"]), value, "{query}");
            for series in line["series"].as_array().unwrap() {
                assert_eq!(sum(&series["values"]), number(&series["total"]), "{query}");
                let columns: usize = columns.parse().unwrap();
                assert_eq!(series["values"].as_array().unwrap().len(), columns);
            }
        }
        let map = server.json(&format!("/api/heatmap?{query}"));
        assert_eq!(sum(&map["values"]), value, "{query}");
        assert_eq!(number(&map["seconds"]) * number(&map["rows"]), {
            map["values"].as_array().unwrap().len() as u64
        });
        assert_eq!(map["start"].as_f64().unwrap() % 1000.0, 0.0);
        for label in ["comm", "process", "thread", "unit", "uid"] {
            let values = server.json(&format!("/api/labels?label={label}&{query}"));
            assert_eq!(sum_of(&values["values"], "total"), value, "{query} {label}");
        }
        let folded = server.get(&format!("/api/export?format=folded&{query}"));
        let counts = folded.text().lines().map(|line| line.rsplit_once(' ').unwrap().1);
        assert_eq!(counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), samples);
    }
}

#[test]
fn values_can_be_samples() {
    let server = Server::kept();
    let table = server.json("/api/table?type=samples");
    assert_eq!(table["unit"], "count");
    assert_eq!(table["total"], table["samples"]);
    assert_eq!(server.json("/api/timeline?type=samples")["total"], table["total"]);
    assert_eq!(server.json("/api/flamegraph?type=samples")["total"], table["total"]);
}

#[test]
fn a_patch_of_the_heat_map_is_a_view() {
    let server = Server::kept();
    let map = server.json("/api/heatmap");
    let start = map["start"].as_f64().unwrap();
    let values: Vec<u64> = map["values"].as_array().unwrap().iter().map(number).collect();
    let mut hit = 0;
    for (patch, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let from = start + patch as f64 * 20.0;
        let words = format!("from={from:.0}&to={:.0}", from + 20.0);
        assert_eq!(number(&server.json(&format!("/api/table?{words}"))["total"]), *value);
        hit += 1;
    }
    assert!(hit > 10);
}

#[test]
fn a_sandwich_has_the_function_in_the_middle() {
    let server = Server::kept();
    let table = server.json("/api/table");
    for function in table["functions"].as_array().unwrap().iter().take(20) {
        let name = function["name"].as_str().unwrap();
        let sandwich = server.json(&format!("/api/sandwich?function={}", encode(name)));
        // Functions of one name are one here, whatever their kind.
        let rows = table["functions"].as_array().unwrap().iter();
        let rows: Vec<_> = rows.filter(|row| row["name"] == *name).collect();
        for half in ["callers", "callees"] {
            let graph = &sandwich[half];
            adds_up(graph);
            assert_eq!(graph["names"][number(&graph["tree"]["function"][0]) as usize], *name);
            if let [row] = rows[..] {
                assert_eq!(graph["total"], row["total"], "{name}");
            }
        }
    }
    let words = server.get("/api/sandwich?function=no+such").refuses(404);
    assert!(words.contains("no such"), "{words}");
    server.get("/api/sandwich").refuses(400);
}

#[test]
fn a_base_stands_beside_it() {
    let server = Server::kept();
    let halves = "from=1s&base_to=1s";
    let graph = server.json(&format!("/api/flamegraph?nodes=1000000&{halves}"));
    let (after, before) = (server.json("/api/table?from=1s"), server.json("/api/table?to=1s"));
    assert_eq!(graph["total"], after["total"]);
    assert_eq!(graph["base_total"], before["total"]);
    assert_eq!(graph["tree"]["base"][0], before["total"]);
    adds_up(&graph);
    let table = server.json(&format!("/api/table?{halves}"));
    assert_eq!(sum_of(&table["functions"], "base_self"), number(&before["total"]));
    assert_eq!(sum_of(&table["functions"], "self"), number(&after["total"]));
}

#[test]
fn what_makes_no_sense_is_said() {
    let server = Server::kept();
    for (path, part) in [
        ("/api/table?colour=red", "colour"),
        ("/api/table?form=1s", "from"),
        ("/api/table?from=noon", "noon"),
        ("/api/table?from=2s&to=1s", "not before"),
        ("/api/table?by=colour", "colour"),
        ("/api/table?only=unit", "LABEL=VALUE"),
        ("/api/table?pid=x", "process id"),
        ("/api/table?limit=-1", "limit"),
        ("/api/labels", "label"),
        ("/api/labels?label=colour", "colour"),
        ("/api/export", "format"),
        ("/api/export?format=png", "format"),
    ] {
        let words = server.get(path).refuses(400);
        assert!(words.contains(part), "{path}: {words}");
    }
    server.get("/api/nothing").refuses(404);
    server.get("/api/").refuses(404);
    server.get("/api/export?format=folded&comm=nobody").refuses(404);
    // Nothing in a view is no error, but nothing.
    assert_eq!(server.json("/api/table?comm=nobody")["total"], 0);
    assert_eq!(server.json("/api/flamegraph?comm=nobody")["total"], 0);
    assert_eq!(server.json("/api/timeline?comm=nobody")["total"], 0);
    assert_eq!(server.json("/api/heatmap?from=1h")["total"], 0);
}

#[test]
fn downloads_are_files() {
    let server = Server::kept();
    for (format, name, begins) in [
        ("svg", "cpu.svg", &b"<?xml"[..]),
        ("pprof", "cpu.pb.gz", &[0x1f, 0x8b]),
        ("folded", "cpu.folded", b"demo;"),
        ("speedscope", "cpu.speedscope.json", b"{"),
        ("firefox", "cpu.firefox.json", b"{"),
        ("json", "cpu.json", b"{"),
    ] {
        let reply = server.get(&format!("/api/export?format={format}"));
        assert_eq!(reply.status, 200);
        let disposition = format!("attachment; filename=\"{name}\"");
        assert_eq!(reply.header("content-disposition"), Some(&*disposition));
        assert!(reply.body.starts_with(begins), "{format}");
    }
}

#[test]
fn an_answer_that_still_holds_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let server = Server::of(&path);
    let host = ("Host", "localhost");
    let get =
        |path: &str, tag: &str| ask(server.port, "GET", path, &[host, ("If-None-Match", tag)]);
    for path in ["/", "/api/table?comm=demo"] {
        let first = server.get(path);
        let tag = first.header("etag").unwrap().to_owned();
        let again = get(path, &tag);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(&*tag));
        assert_eq!(get(path, "W/\"0\"").status, 200);
    }
    let tag = server.get("/api/table").header("etag").unwrap().to_owned();
    assert_eq!(get("/api/table?comm=demo", &tag).status, 200, "another view");
    fs::copy(kept_recording(), &path).unwrap();
    wait_until("another recording", || get("/api/table", &tag).status == 200);
}

#[test]
fn answers_are_compressed_for_who_can_read_it() {
    let server = Server::kept();
    let path = "/api/flamegraph?nodes=1000000";
    let plain = server.get(path);
    let compressed = |coding| {
        let headers = [("Host", "localhost"), ("Accept-Encoding", coding)];
        let reply = ask(server.port, "GET", path, &headers);
        assert_eq!(reply.header("content-encoding"), Some(coding));
        assert!(reply.body.len() < plain.body.len() / 2);
        reply.body
    };
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&compressed("gzip")[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
    assert_eq!(zstd::decode_all(&compressed("zstd")[..]).unwrap(), plain.body);
}

#[test]
fn events_tell_the_end_of_the_recording() {
    use std::io::Write;
    let server = Server::kept();
    let mut stream = connect(server.port);
    stream
        .write_all(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    while !text.contains("\"end\"") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{text}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    assert!(text.contains("text/event-stream") && text.contains("content-encoding: identity"));
    let end = server.json("/api/recording")["end"].as_f64().unwrap();
    assert!(text.contains(&format!("event: grown\ndata: {{\"end\":{end}}}\n\n")), "{text}");
}

#[test]
fn the_examples_of_the_documentation_are_true() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, examples) = page.split_once("## Examples").unwrap();
    let server = Server::kept();
    let mut compared = 0;
    for example in examples.split("curl -s 'http://localhost:7171").skip(1) {
        let (question, rest) = example.split_once('\'').unwrap();
        if let Some(answer) = rest.strip_prefix("\n```\n\n```json\n") {
            let answer = answer.split_once("\n```").unwrap().0;
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(server.json(question), answer, "{question}");
            compared += 1;
        } else {
            assert_eq!(server.get(question.split("&only=").next().unwrap()).status, 200);
        }
    }
    assert!(compared > 5);
}
