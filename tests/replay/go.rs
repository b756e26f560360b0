//! `go tool pprof` opens what rprof exports, and shows the same numbers.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Output},
};

use serde_json::Value;

use super::{common::command::has, show};

/// An exported file, and a home for pprof, which keeps things there.
struct Exported {
    folder: tempfile::TempDir,
    report: Value,
}

impl Exported {
    /// None, said aloud, where there is no Go.
    fn new() -> Option<Self> {
        if !has("go") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cpu.pb.gz"), show("export", &["-f", "pprof"])).unwrap();
        let report = serde_json::from_slice(&show("report", &["--json"])).unwrap();
        Some(Self { folder, report })
    }

    /// What pprof prints; its words about itself go to standard error and are no warnings.
    fn pprof(&self, words: &[&str]) -> String {
        let mut command = Command::new("go");
        command.args(["tool", "pprof"]).args(words).arg("cpu.pb.gz");
        // Without a network, and without what the user's own settings do.
        command.env("HOME", self.folder.path()).env("PPROF_TMPDIR", self.folder.path());
        command.env("GOFLAGS", "").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        let Output { status, stdout, stderr } =
            command.current_dir(self.folder.path()).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{words:?}: {said}");
        for trouble in ["rror", "annot", "fail", "warning", "Fetching", "no such"] {
            assert!(!said.contains(trouble), "{words:?}: {said}");
        }
        String::from_utf8(stdout).unwrap()
    }

    /// Flat and cumulative samples by function, from `-top`.
    fn top(&self, words: &[&str]) -> HashMap<String, (u64, u64)> {
        let all = ["-top", "-sample_index=samples", "-nodecount=9999", "-nodefraction=0"];
        let text = self.pprof(&[&all, words].concat());
        let table = text.split_once("cum%\n").unwrap().1;
        let row = |line: &str| {
            let mut rest = line.trim_start();
            let mut cells = [""; 5];
            for cell in &mut cells {
                let (word, after) = rest.split_once(' ').unwrap();
                (*cell, rest) = (word, after.trim_start());
            }
            (rest.to_owned(), (cells[0].parse().unwrap(), cells[3].parse().unwrap()))
        };
        table.lines().map(row).collect()
    }
}

#[test]
fn top_has_the_numbers_of_the_report() {
    let Some(exported) = Exported::new() else { return };
    let top = exported.top(&[]);
    let mut compared = 0;
    for function in exported.report["functions"].as_array().unwrap() {
        let name = function["name"].as_str().unwrap();
        let kind = function["kind"].as_str().unwrap();
        // pprof names what has no function by its file, marks inlined functions, and knows no
        // difference between two functions of one name.
        let alike = exported.report["functions"].as_array().unwrap().iter();
        let alike = alike.filter(|other| other["name"] == function["name"]).count();
        if name.starts_with('[') || alike > 1 {
            continue;
        }
        let shown = match kind {
            "inlined" => format!("{name} (inline)"),
            _ => name.to_owned(),
        };
        let numbers = top.get(&shown).or_else(|| top.get(&format!("{name} (partial-inline)")));
        let numbers = numbers.unwrap_or_else(|| panic!("no {shown} in {top:?}"));
        let expected = (function["self"].as_u64().unwrap(), function["total"].as_u64().unwrap());
        assert_eq!(*numbers, expected, "{name}");
        compared += 1;
    }
    assert!(compared > 25, "{compared}");
}

#[test]
fn top_sums_up_time() {
    let Some(exported) = Exported::new() else { return };
    let text = exported.pprof(&["-top", "-unit=ns"]);
    let value = exported.report["value"].as_u64().unwrap();
    assert!(text.contains("Type: cpu\n"), "{text}");
    assert!(text.contains(&format!("of {value}ns total")), "{text}");
    assert!(text.contains("Duration: "), "{text}");
}

#[test]
fn traces_are_complete() {
    let Some(exported) = Exported::new() else { return };
    let text = exported.pprof(&["-traces", "-sample_index=samples"]);
    for part in
        ["comm:  demo", "comm:  pastel", "thread:  mixer", "pid:", "tid:", "cpu:", "Script:~scale"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The number before each trace's leaf.
    let count: u64 = text
        .split("-----------+")
        .skip(1)
        .filter_map(|trace| {
            let numbers = trace.lines().filter_map(|line| line.split_whitespace().next());
            numbers.filter_map(|word| word.parse::<u64>().ok()).next()
        })
        .sum();
    assert_eq!(count, exported.report["samples"]);
}

#[test]
fn peek_shows_callers_and_callees() {
    let Some(exported) = Exported::new() else { return };
    let text = exported.pprof(&["-peek", "Brush", "-sample_index=samples"]);
    let line = |name: &str| text.lines().position(|line| line.contains(name));
    let (caller, callee) = (line("climb").unwrap(), line("mix (inline)").unwrap());
    let here = text.lines().position(|line| line.contains("Brush") && line.contains('%')).unwrap();
    assert!(caller < here && here < callee, "{text}");
}

#[test]
fn tags_select() {
    let Some(exported) = Exported::new() else { return };
    for command in exported.report["commands"].as_array().unwrap() {
        let focus = format!("-tagfocus=comm={}", command["name"].as_str().unwrap());
        let samples: u64 = exported.top(&[&focus]).values().map(|(flat, _)| flat).sum();
        assert_eq!(samples, command["samples"], "{focus}");
    }
    let mixer: u64 = exported.top(&["-tagfocus=thread=mixer"]).values().map(|(flat, _)| flat).sum();
    let expected = super::samples(&super::folded(&["--comm", "mixer"]));
    assert_eq!(mixer, expected);
}

#[test]
fn raw_has_mappings_with_build_ids() {
    let Some(exported) = Exported::new() else { return };
    let text = exported.pprof(&["-raw"]);
    let maps = text.split_once("Mappings\n").unwrap().1;
    let map = |file: &str| {
        let line = maps.lines().find(|line| line.contains(file));
        line.unwrap_or_else(|| panic!("no {file} in {maps}"))
    };
    // Main binary first: pprof names the profile after it.
    assert!(maps.lines().next().unwrap().contains("/tmp/demo/demo"), "{maps}");
    for file in ["/tmp/demo/demo", "/tmp/demo/pastel", "libc.so.6", "/tmp/demo/libplain.so"] {
        let build_id = map(file).split_whitespace().find(|word| word.len() == 40);
        assert!(
            build_id.is_some_and(|id| id.chars().all(|c| c.is_ascii_hexdigit())),
            "{}",
            map(file)
        );
    }
    assert!(map("/tmp/demo/demo").contains("[FN][FL][LN][IN]"), "{maps}");
    assert!(text.contains("samples/count cpu/nanoseconds"), "{text}");
}
