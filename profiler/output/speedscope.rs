//! speedscope: the JSON that <https://www.speedscope.app> shows in a browser, without a server.
//!
//! One `sampled` profile for each root label of the view, its stacks weighted by the value that the
//! view shows. The format is <https://www.speedscope.app/file-format-schema.json>.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::{Map, Output, summary};
use crate::model::{NameKind, Profile, View};

/// speedscope JSON.
pub struct Speedscope;

impl Output for Speedscope {
    fn name(&self) -> &'static str {
        "speedscope"
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, &file(profile, view))?;
        writeln!(out)?;
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Sampled>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

/// A function; the lines of it that were sampled are one frame, or speedscope would show it as
/// several functions.
#[derive(Clone, Serialize)]
struct Frame<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    /// The first line that was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    col: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    /// Frames of each stack, root first.
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

fn file<'a>(profile: &'a Profile, view: &View) -> File<'a> {
    let tables = &profile.tables;
    let by_count = view.value_type.is_some() && !view.is_by_value(profile);
    let mut groups: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    for sample in &profile.samples {
        let stacks =
            groups.entry(view.root(sample, tables).unwrap_or_else(|| "all".into())).or_default();
        *stacks.entry(sample.stack).or_default() +=
            if by_count { sample.count } else { sample.value };
    }
    let mut frames = Frames::default();
    let mut profiles: Vec<Sampled> = groups
        .into_iter()
        .map(|(name, stacks)| frames.sampled(profile, name, stacks, by_count))
        .collect();
    // What most is of comes first, as it is what is shown first.
    profiles.sort_by_key(|group| std::cmp::Reverse(group.end_value));
    File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: format!("rprof@{}", profile.info.version),
        name: format!(
            "{}: {} · {}",
            summary::title(profile),
            summary::origin(profile),
            summary::counts(profile)
        ),
        active_profile_index: 0,
        shared: Shared { frames: frames.list },
        profiles,
    }
}

/// Distinct functions, and those of each frame of the model.
#[derive(Default)]
struct Frames<'a> {
    list: Vec<Frame<'a>>,
    functions: Map<(Cow<'a, str>, NameKind, &'a str), usize>,
    known: Map<u32, Vec<usize>>,
}

impl<'a> Frames<'a> {
    fn sampled(
        &mut self,
        profile: &'a Profile,
        name: String,
        stacks: BTreeMap<u32, u64>,
        by_count: bool,
    ) -> Sampled {
        let (mut samples, mut weights) = (Vec::new(), Vec::new());
        for (stack, weight) in stacks {
            let mut frames = Vec::new();
            for frame in profile.tables.stacks.frames(stack) {
                frames.extend(self.functions(profile, frame));
            }
            frames.reverse();
            samples.push(frames);
            weights.push(weight);
        }
        Sampled {
            kind: "sampled",
            name,
            unit: if by_count { "none" } else { unit(&profile.value_type().unit) },
            start_value: 0,
            end_value: weights.iter().sum(),
            samples,
            weights,
        }
    }

    /// The functions of a frame, innermost first.
    fn functions(&mut self, profile: &'a Profile, frame: u32) -> &[usize] {
        let tables = &profile.tables;
        if !self.known.contains_key(&frame) {
            let mut functions = Vec::new();
            for (name, line) in tables.named_lines(frame) {
                let function = line.and_then(|line| tables.functions.get(line.function));
                let file = tables.strings.get(function.map_or(0, |function| function.file));
                // The binary tells apart, and colours, what has no source file.
                let file = if file.is_empty() { tables.binary_path(frame) } else { file };
                let at = line.filter(|line| line.line > 0).map(|line| (line.line, line.column));
                functions.push(self.function(name.text, name.kind, file, at));
            }
            self.known.insert(frame, functions);
        }
        self.known.get(&frame).map_or(&[], |functions| functions)
    }

    /// The index of a function, of which `at` (line and column) was sampled.
    fn function(
        &mut self,
        name: Cow<'a, str>,
        kind: NameKind,
        file: &'a str,
        at: Option<(u32, u32)>,
    ) -> usize {
        let index = *self.functions.entry((name.clone(), kind, file)).or_insert_with(|| {
            self.list.push(Frame { name, file, line: None, col: None });
            self.list.len() - 1
        });
        let frame = &mut self.list[index];
        if let Some((line, col)) = at
            && frame.line.is_none_or(|first| line < first)
        {
            (frame.line, frame.col) = (Some(line), (col > 0).then_some(col));
        }
        index
    }
}

/// The unit in speedscope's words, which are the keys of its schema's enumeration.
fn unit(unit: &str) -> &'static str {
    match unit {
        "nanoseconds" => "nanoseconds",
        "bytes" => "bytes",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::Label;
    use crate::output::example;

    fn written(view: &View) -> Value {
        let mut bytes = Vec::new();
        Speedscope.write(&example::profile(), view, &mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn each_group_is_a_profile_that_adds_up() {
        let file = written(&View { by: Some(Label::Process), ..View::default() });
        let profiles = file["profiles"].as_array().unwrap();
        let names: Vec<_> = profiles.iter().map(|profile| profile["name"].as_str()).collect();
        assert_eq!(names, [Some("app (10)"), Some("node (20)")]);
        let frames = file["shared"]["frames"].as_array().unwrap().len() as u64;
        for profile in profiles {
            let weights = profile["weights"].as_array().unwrap();
            let samples = profile["samples"].as_array().unwrap();
            assert_eq!(samples.len(), weights.len());
            let sum: u64 = weights.iter().filter_map(Value::as_u64).sum();
            assert_eq!(Some(sum), profile["endValue"].as_u64());
            let mut indices = samples.iter().flat_map(|stack| stack.as_array().unwrap());
            assert!(indices.all(|index| index.as_u64().unwrap() < frames));
            assert_eq!(profile["unit"], "nanoseconds");
        }
    }

    #[test]
    fn a_function_is_one_frame() {
        let file = written(&View::default());
        let frames = file["shared"]["frames"].as_array().unwrap();
        let work: Vec<_> = frames.iter().filter(|frame| frame["name"] == "work").collect();
        assert_eq!(work.len(), 1);
        assert_eq!((&work[0]["file"], &work[0]["line"]), (&"src/work.c".into(), &7.into()));
        let memcpy = frames.iter().filter(|frame| frame["name"] == "memcpy").count();
        assert_eq!(memcpy, 2, "kernel and user");
    }
}
