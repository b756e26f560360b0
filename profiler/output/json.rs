//! JSON of rprof's own: all that a view shows, for programs.
//!
//! ```json
//! {"format": "rprof", "version": 1,
//!  "info": {…}, "source": {…}, "others": ["heap"], "stats": {…},
//!  "count_type": {"name": "samples", "unit": "count"},
//!  "value_type": {"name": "cpu", "unit": "nanoseconds"}, "from": 0, "to": 10000000000,
//!  "frames": [{"name": "memcpy", "kind": "user", "file": "…", "line": 1, "column": 2,
//!              "binary": "/usr/lib/libc.so.6", "address": "0x9000"}],
//!  "stacks": [{"root": "app", "frames": [0, 3, 4], "samples": 7, "value": 70707070}],
//!  "processes": [{"pid": 10, "comm": "app", "exe": "…", "cmdline": "…", "uid": 0, "cgroup": "…",
//!                 "container": "…", "unit": "…", "service": "…",
//!                 "pod": "…", "namespace": "…", "container_name": "…", "samples": 7, "value": 70707070}]}
//! ```
//!
//! `info`, `source` and `stats` are those of the recording; times are ns, `from` and `to` since its
//! start. `root` is missing if the view gives stacks no root frame. A stack's frames are indices into `frames`, leaf first; functions inlined into one
//! another have a frame each, at one address. A key of a frame or a process is left out where its
//! value is not known. `kind` is user, kernel, jit, inlined, unknown or note. `samples` are what `count_type`
//! says, and `value` what `value_type` says. Keys may be added; `version` changes if one goes or changes its meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::{Map, Output};
use crate::model::{
    FrameKind, Info, Label, Profile, SourceInfo, Stats, Tables, UID_UNKNOWN, ValueType, View,
};

/// rprof's JSON.
pub struct Json;

impl Output for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, &file(profile, view))?;
        writeln!(out)?;
        Ok(())
    }
}

#[derive(Serialize)]
struct File<'a> {
    format: &'static str,
    version: u32,
    info: &'a Info,
    source: &'a SourceInfo,
    others: &'a [String],
    stats: &'a Stats,
    count_type: ValueType,
    value_type: ValueType,
    from: u64,
    to: u64,
    frames: Vec<Frame<'a>>,
    stacks: Vec<Stack>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: Cow<'a, str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    line: u32,
    #[serde(skip_serializing_if = "is_zero")]
    column: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    binary: &'a str,
    /// In hexadecimal, as text: a number of JSON does not hold 64 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Serialize)]
struct Stack {
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    frames: Vec<usize>,
    samples: u64,
    value: u64,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    #[serde(flatten)]
    labels: BTreeMap<&'static str, Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    samples: u64,
    value: u64,
}

/// Labels of a process that are texts.
const TEXTS: [Label; 10] = [
    Label::Comm,
    Label::Exe,
    Label::Cmdline,
    Label::Cgroup,
    Label::Container,
    Label::Unit,
    Label::Service,
    Label::Pod,
    Label::Namespace,
    Label::ContainerName,
];

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn file<'a>(profile: &'a Profile, view: &View) -> File<'a> {
    let tables = &profile.tables;
    let mut groups: BTreeMap<(Option<String>, u32), (u64, u64)> = BTreeMap::new();
    for sample in &profile.samples {
        let sums = groups.entry((view.root(sample, tables), sample.stack)).or_default();
        sums.0 += sample.count;
        sums.1 += sample.value;
    }
    let (mut frames, mut known) = (Vec::new(), Map::default());
    let mut stacks = Vec::with_capacity(groups.len());
    for ((root, stack), (samples, value)) in groups {
        let mut indices = Vec::new();
        for frame in tables.stacks.frames(stack) {
            let range = known.entry(frame).or_insert_with(|| {
                let first = frames.len();
                frames.extend(described(tables, frame));
                first..frames.len()
            });
            indices.extend(range.clone());
        }
        stacks.push(Stack { root, frames: indices, samples, value });
    }
    File {
        format: "rprof",
        version: 1,
        info: &profile.info,
        source: &profile.source,
        others: &profile.others,
        stats: &profile.stats,
        count_type: profile.count_type(),
        value_type: profile.value_type(),
        from: profile.from,
        to: profile.to,
        frames,
        stacks,
        processes: processes(profile),
    }
}

/// The processes that have samples, by pid.
fn processes(profile: &Profile) -> Vec<Process<'_>> {
    let tables = &profile.tables;
    let mut sums: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for sample in &profile.samples {
        let Some(thread) = tables.threads.get(sample.thread) else { continue };
        let sums = sums.entry(thread.process).or_default();
        sums.0 += sample.count;
        sums.1 += sample.value;
    }
    let describe = |(index, (samples, value))| {
        let process = tables.processes.get(index)?;
        let known = |label: Label| {
            let text = tables.process_label(label, index);
            (!text.is_empty()).then_some((label.word(), text))
        };
        let uid = (process.uid != UID_UNKNOWN).then_some(process.uid);
        let labels = TEXTS.into_iter().filter_map(known).collect();
        Some(Process { pid: process.pid, labels, uid, samples, value })
    };
    let mut processes: Vec<_> = sums.into_iter().filter_map(describe).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

/// The functions of a frame, innermost first.
fn described(tables: &Tables, index: u32) -> impl Iterator<Item = Frame<'_>> {
    let code = tables.frames.get(index).filter(|frame| frame.kind != FrameKind::Note);
    tables.named_lines(index).map(move |(name, line)| {
        let function = line.and_then(|line| tables.functions.get(line.function));
        Frame {
            name: name.text,
            kind: name.kind.word(),
            file: tables.strings.get(function.map_or(0, |function| function.file)),
            line: line.map_or(0, |line| line.line),
            column: line.map_or(0, |line| line.column),
            binary: tables.binary_path(index),
            address: code.map(|frame| format!("{:#x}", frame.address)),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::output::example;

    #[test]
    fn stacks_and_frames_are_all_there() {
        let mut bytes = Vec::new();
        Json.write(&example::profile(), &View::default(), &mut bytes).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let stacks = file["stacks"].as_array().unwrap();
        let samples: u64 = stacks.iter().filter_map(|stack| stack["samples"].as_u64()).sum();
        assert_eq!(samples, 23);
        let name = |index: &Value| &file["frames"][index.as_u64().unwrap() as usize]["name"];
        let inlined = stacks.iter().find(|stack| stack["samples"] == 7).unwrap();
        let names: Vec<_> = inlined["frames"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(names, ["fast_copy", "copy_all", "work", "main", "_start"]);
        let frames = file["frames"].as_array().unwrap();
        let note = frames.iter().find(|frame| frame["kind"] == "note").unwrap();
        assert_eq!(note.as_object().unwrap().len(), 2, "{note}");
        let kernel = frames.iter().find(|frame| frame["kind"] == "kernel").unwrap();
        assert!(kernel["address"].as_str().unwrap().starts_with("0xffffffff8100"));
        assert_eq!(file["stats"]["lost"], 2);
        assert!(frames.iter().any(|frame| frame["name"] == example::HOSTILE));
    }
}
