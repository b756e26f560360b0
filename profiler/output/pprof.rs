//! pprof: the gzipped protobuf that `go tool pprof` and most profiling servers read.
//!
//! The message is <https://github.com/google/pprof/blob/main/proto/profile.proto>. A location is a
//! frame of the model. Its address is one of the ELF file, not of a process, so each mapping has
//! start, limit and offset 0, which pprof takes as adjusted already. A source of memory has the four
//! values of a heap profile as Go makes it: what was allocated in the time that is shown, and what
//! is in use at its end.

use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use pprof::protos::{self as proto, Message};

use super::{Map, Output, summary, text};
use crate::model::{
    ALLOCATORS, Detail, FrameKind, Function, Label, Profile, Sample, Table, UID_UNKNOWN, View,
};

/// Gzipped pprof.
pub struct Pprof;

impl Output for Pprof {
    fn name(&self) -> &'static str {
        "pprof"
    }

    fn detail(&self) -> Detail {
        Detail { cpu: true, both: true, ..Detail::default() }
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn write(&self, profile: &Profile, view: &View, out: &mut dyn Write) -> Result<()> {
        // Level 1: most of the gain for a fraction of the time.
        let mut gzip = GzEncoder::new(out, Compression::fast());
        gzip.write_all(&message(profile, view, false).encode_to_vec())?;
        gzip.finish()?;
        Ok(())
    }
}

/// The message, not gzipped, for a profile that is one series of an engine: all that its samples
/// have in common is told beside it, and nothing else tells them apart. Engines make a series of
/// each label of a sample.
pub fn series(profile: &Profile) -> Vec<u8> {
    let mut message = message(profile, &View::default(), true);
    // Engines know waits by a type without a period.
    if profile.source.name == "offcpu" {
        (message.period_type, message.period) = (Some(proto::ValueType::default()), 0);
    }
    message.encode_to_vec()
}

/// The message for a profile. A bare one has no labels.
fn message(profile: &Profile, view: &View, bare: bool) -> proto::Profile {
    let mut builder =
        Builder { profile, out: proto::Profile::default(), strings: Table::default(), bare };
    builder.string("");
    builder.header(view);
    let samples = builder.samples();
    let mut frames: Vec<u32> = samples
        .iter()
        .map(|sample| sample.stack)
        .collect::<HashSet<_>>()
        .into_iter()
        .flat_map(|stack| profile.tables.stacks.frames(stack))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    frames.sort_unstable();
    let mappings = builder.mappings(&frames, main_binary(profile, &samples));
    builder.locations(&frames, &mappings);
    builder.out.string_table = builder.strings.since(0).cloned().collect();
    builder.out
}

/// A message that grows, and the strings that it has.
struct Builder<'a> {
    profile: &'a Profile,
    out: proto::Profile,
    strings: Table<String>,
    /// True if samples have no labels.
    bare: bool,
}

impl Builder<'_> {
    /// The index of `text`, made safe to print: pprof prints names as they are.
    fn string(&mut self, text: &str) -> i64 {
        self.strings.intern(text::clean(text).into_owned()).into()
    }

    /// String `index` of the model.
    fn model(&mut self, index: u32) -> i64 {
        let profile = self.profile;
        self.string(profile.tables.strings.get(index))
    }

    fn value_type(&mut self, name: &str, unit: &str) -> proto::ValueType {
        proto::ValueType { ty: self.string(name), unit: self.string(unit) }
    }

    /// What the values are, when they were measured, and what is missing.
    fn header(&mut self, view: &View) {
        let profile = self.profile;
        let (info, source) = (&profile.info, &profile.source);
        let types = source.types();
        self.out.sample_type =
            types.iter().map(|one| self.value_type(&one.name, &one.unit)).collect();
        let default = match (&view.value_type, types.last()) {
            (Some(name), _) => name,
            (None, last) => last.map_or("", |last| &last.name),
        };
        self.out.default_sample_type = self.string(default);
        let period = if source.held { "space" } else { &source.value.name };
        self.out.period_type = Some(self.value_type(period, &source.value.unit));
        self.out.period = source.period as i64;
        if source.is_memory() {
            self.out.drop_frames = self.string(ALLOCATORS);
        }
        let to = if profile.to == 0 { info.duration } else { profile.to };
        self.out.time_nanos = info.start.saturating_add(profile.from) as i64;
        self.out.duration_nanos = to.saturating_sub(profile.from) as i64;
        let machine = format!(
            "rprof {} on {}, Linux {} {}, {} CPUs",
            info.version, info.host, info.kernel, info.architecture, info.cpus
        );
        let lines = [machine, summary::origin(profile)];
        let counts = summary::counts(profile);
        let lines = lines.iter().map(String::as_str).chain(counts.split(" · "));
        self.out.comment = lines.map(|line| self.string(line)).collect();
    }

    /// Adds the samples, and gives them in the order in which they were added.
    fn samples(&mut self) -> Vec<Sample> {
        let profile = self.profile;
        let rows = rows(profile, self.bare);
        let mut threads: Map<u32, Vec<proto::Label>> = Map::default();
        let cpu = self.string("cpu");
        for (sample, in_use) in &rows {
            let mut label = Vec::new();
            if !self.bare {
                let known = threads.entry(sample.thread);
                label.clone_from(known.or_insert_with(|| self.labels(sample.thread)));
                // A number of 0 without a unit is no label at all; this is the unit that pprof
                // itself would take.
                let num = sample.cpu.into();
                let of_cpu = proto::Label { key: cpu, num, num_unit: cpu, ..Default::default() };
                label.extend((!profile.source.held).then_some(of_cpu));
            }
            let mut value = vec![sample.count as i64, sample.value as i64];
            if profile.source.held {
                value.extend([in_use.0 as i64, in_use.1 as i64]);
            }
            let mut location_id: Vec<u64> =
                profile.tables.stacks.frames(sample.stack).map(location_id).collect();
            if location_id.is_empty() {
                location_id.push(NO_STACK);
            }
            self.out.sample.push(proto::Sample { location_id, value, label });
        }
        rows.into_iter().map(|(sample, _)| sample).collect()
    }

    /// Labels of a thread's samples. Command lines are left out: they are long, and most of them
    /// say no more than the executable does.
    fn labels(&mut self, index: u32) -> Vec<proto::Label> {
        const TEXTS: [Label; 9] = [
            Label::Comm,
            Label::Exe,
            Label::Cgroup,
            Label::Container,
            Label::Unit,
            Label::Service,
            Label::Pod,
            Label::Namespace,
            Label::ContainerName,
        ];
        let tables = &self.profile.tables;
        let (Some(thread), Some(process)) = (tables.threads.get(index), tables.process_of(index))
        else {
            return Vec::new();
        };
        let mut labels = Vec::new();
        let uid = (process.uid != UID_UNKNOWN).then_some(("uid", process.uid));
        for (key, num) in [("pid", process.pid), ("tid", thread.tid)].into_iter().chain(uid) {
            // A number of 0 without a unit is no label at all; this is the unit that pprof itself
            // would take.
            let key = self.string(key);
            let num_unit = if num == 0 { key } else { 0 };
            labels.push(proto::Label { key, num: num.into(), num_unit, ..Default::default() });
        }
        let name = ("thread", tables.strings.get(thread.name).into());
        let texts = TEXTS.map(|label| (label.word(), tables.label(label, index)));
        for (key, text) in texts.into_iter().chain([name]).filter(|(_, text)| !text.is_empty()) {
            let (key, str) = (self.string(key), self.string(&text));
            labels.push(proto::Label { key, str, ..Default::default() });
        }
        labels
    }

    /// Adds a mapping for each binary of `frames`, `main` first; gives their ids.
    fn mappings(&mut self, frames: &[u32], main: Option<u32>) -> Map<u32, u64> {
        let tables = &self.profile.tables;
        let mut named: Map<u32, bool> = Map::default();
        for index in frames {
            if let Some(frame) = tables.frames.get(*index).filter(|f| f.kind != FrameKind::Note) {
                *named.entry(frame.binary).or_default() |= !tables.lines(*index).is_empty();
            }
        }
        let mut binaries: Vec<(u32, bool)> = named.into_iter().collect();
        binaries.sort_unstable_by_key(|(binary, _)| (Some(*binary) != main, *binary));
        let mut ids = Map::default();
        for (id, (index, named)) in (1..).zip(binaries) {
            let Some(binary) = tables.binaries.get(index) else { continue };
            let (filename, build_id) = (self.model(binary.path), self.model(binary.build_id));
            // With any of these set, pprof looks for no symbols of its own.
            self.out.mapping.push(proto::Mapping {
                id,
                filename,
                build_id,
                has_functions: named,
                has_filenames: named,
                has_line_numbers: named,
                has_inline_frames: named,
                ..Default::default()
            });
            ids.insert(index, id);
        }
        ids
    }

    /// Adds a location for each of `frames`, and the functions of their lines.
    fn locations(&mut self, frames: &[u32], mappings: &Map<u32, u64>) {
        let tables = &self.profile.tables;
        let mut functions: Table<u32> = Table::default();
        for index in frames {
            // The address of a note is a number of ours, and tells nobody anything.
            let (mapping_id, address) = match tables.frames.get(*index) {
                Some(frame) if frame.kind != FrameKind::Note => {
                    (mappings.get(&frame.binary).copied().unwrap_or_default(), frame.address)
                }
                _ => (0, 0),
            };
            let lines = tables.lines(*index).iter().map(|line| proto::Line {
                function_id: u64::from(functions.intern(line.function)) + 1,
                line: line.line.into(),
            });
            let (id, line) = (location_id(*index), lines.collect());
            let location = proto::Location { id, mapping_id, address, line, is_folded: false };
            self.out.location.push(location);
        }
        let next = functions.len() as u64 + 1;
        if self.out.sample.iter().any(|sample| sample.location_id == [NO_STACK]) {
            let line = vec![proto::Line { function_id: next, line: 0 }];
            self.out.location.push(proto::Location { id: NO_STACK, line, ..Default::default() });
            let name = self.string(summary::NO_STACK);
            self.out.function.push(proto::Function { id: next, name, ..Default::default() });
        }
        for (id, index) in (1..).zip(functions.since(0)) {
            let unknown = Function { name: 0, system_name: 0, file: 0 };
            let function = tables.functions.get(*index).copied().unwrap_or(unknown);
            let name = self.model(function.name);
            // Two names that are the same make pprof take the name for a mangled one, and strip
            // what is in brackets: `<Vec<T> as Drop>::drop` became `::drop`.
            let bracket = tables.strings.get(function.name).contains(['<', '(']);
            let plain = function.name == function.system_name && bracket;
            let system_name = if plain { 0 } else { self.model(function.system_name) };
            let filename = self.model(function.file);
            let function = proto::Function { id, name, system_name, filename, start_line: 0 };
            self.out.function.push(function);
        }
    }
}

/// The samples, what differs in time alone as one, each with count and value of what is in use of
/// it. Bare ones differ in nothing but their stack.
fn rows(profile: &Profile, bare: bool) -> Vec<(Sample, (u64, u64))> {
    let taken = profile.samples.iter().map(|sample| (*sample, (0, 0)));
    let in_use = profile
        .in_use
        .iter()
        .map(|sample| (Sample { count: 0, value: 0, ..*sample }, (sample.count, sample.value)));
    let mut rows: Vec<(Sample, (u64, u64))> = taken.chain(in_use).collect();
    if bare {
        rows.iter_mut().for_each(|(sample, _)| (sample.thread, sample.cpu) = (0, 0));
    }
    let key = |(sample, _): &(Sample, _)| (sample.thread, sample.stack, sample.cpu);
    rows.sort_unstable_by_key(key);
    rows.dedup_by(|next, kept| {
        let same = key(next) == key(kept);
        if same {
            kept.0.count += next.0.count;
            kept.0.value += next.0.value;
            kept.1 = (kept.1.0 + next.1.0, kept.1.1 + next.1.1);
        }
        same
    });
    rows
}

/// The location of samples without a stack, which pprof would leave out of every view.
const NO_STACK: u64 = 1;

/// The id of a frame's location; 0 means none.
fn location_id(frame: u32) -> u64 {
    u64::from(frame) + NO_STACK + 1
}

/// The program that a profile is of, which readers name first: the file that is in the user stacks
/// of most samples. Libraries, and names in brackets, are in nearly all, so they count only where
/// there is nothing else.
fn main_binary(profile: &Profile, samples: &[Sample]) -> Option<u32> {
    let tables = &profile.tables;
    let mut counts: Map<u32, u64> = Map::default();
    let mut seen = HashSet::new();
    for sample in samples {
        seen.clear();
        for frame in tables.stacks.frames(sample.stack) {
            let Some(frame) = tables.frames.get(frame) else { continue };
            if frame.kind == FrameKind::User && seen.insert(frame.binary) {
                *counts.entry(frame.binary).or_default() += sample.count;
            }
        }
    }
    let rank = |binary: u32| {
        let path = tables.binaries.get(binary).map_or(0, |binary| binary.path);
        let file = tables.strings.get(path).rsplit('/').next().unwrap_or_default();
        match file {
            "" => 0,
            _ if file.starts_with('[') => 1,
            _ if file.ends_with(".so") || file.contains(".so.") => 2,
            _ => 3,
        }
    };
    let counts = counts.into_iter();
    counts.max_by_key(|(binary, count)| (rank(*binary), *count, u32::MAX - binary)).map(|(b, _)| b)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::output::example;

    fn written() -> proto::Profile {
        written_of(&example::profile(), &View::default())
    }

    fn written_of(profile: &Profile, view: &View) -> proto::Profile {
        let mut bytes = Vec::new();
        Pprof.write(profile, view, &mut bytes).unwrap();
        let mut message = Vec::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut message).unwrap();
        proto::Profile::decode(&*message).unwrap()
    }

    fn function(message: &proto::Profile, id: u64) -> &proto::Function {
        message.function.iter().find(|function| function.id == id).unwrap()
    }

    fn text(message: &proto::Profile, index: i64) -> &str {
        &message.string_table[index as usize]
    }

    #[test]
    fn values_and_counts_are_described() {
        let message = written();
        let types: Vec<_> = message
            .sample_type
            .iter()
            .map(|value| (text(&message, value.ty), text(&message, value.unit)))
            .collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
        assert_eq!(text(&message, message.default_sample_type), "cpu");
        assert_eq!(message.period, example::PERIOD as i64);
        assert_eq!(message.duration_nanos, 10_000_000_000);
        assert_eq!(message.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 23);
        let comments: Vec<_> = message.comment.iter().map(|line| text(&message, *line)).collect();
        assert!(comments.contains(&"2 lost (8.00%)"), "{comments:?}");
        assert_eq!(message.string_table[0], "");
    }

    #[test]
    fn memory_has_the_four_values_of_go() {
        let message = written_of(&example::heap(), &View::default());
        let types: Vec<_> = message
            .sample_type
            .iter()
            .map(|value| (text(&message, value.ty), text(&message, value.unit)))
            .collect();
        let expected = [
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ];
        assert_eq!(types, expected);
        assert_eq!(text(&message, message.default_sample_type), "inuse_space");
        let period = message.period_type.clone().unwrap();
        assert_eq!((text(&message, period.ty), text(&message, period.unit)), ("space", "bytes"));
        assert_eq!(message.period, 512 << 10);
        let mut values: Vec<_> = message.sample.iter().map(|sample| &*sample.value).collect();
        values.sort_unstable();
        assert_eq!(values, [[4, 4 << 20, 1, 1 << 20], [1000, 40_000, 1000, 40_000]]);
        let labels = message.sample.iter().flat_map(|sample| &sample.label);
        assert!(labels.into_iter().all(|label| text(&message, label.key) != "cpu"));
        let view = View { value_type: Some("alloc_space".into()), ..View::default() };
        let message = written_of(&example::heap(), &view);
        assert_eq!(text(&message, message.default_sample_type), "alloc_space");
    }

    #[test]
    fn the_main_program_comes_first_and_says_what_it_knows() {
        let message = written();
        let mapping = |id: usize| &message.mapping[id];
        assert_eq!(text(&message, mapping(0).filename), "/usr/bin/app");
        assert!(text(&message, mapping(0).build_id).starts_with("0123456789abcdef"));
        assert!(message.mapping.iter().all(|mapping| mapping.memory_limit == 0));
        for mapping in &message.mapping {
            let unnamed = text(&message, mapping.filename) == "/opt/libfoo.so";
            assert_eq!(mapping.has_functions, !unnamed);
        }
    }

    #[test]
    fn inlined_lines_stand_innermost_first() {
        let message = written();
        let location = message.location.iter().find(|location| location.line.len() == 3).unwrap();
        let names: Vec<_> = location
            .line
            .iter()
            .map(|line| text(&message, function(&message, line.function_id).name))
            .collect();
        assert_eq!(names, ["fast_copy", "copy_all", "work"]);
        assert_eq!(location.line[2].line, 8);
    }

    #[test]
    fn every_id_points_at_something() {
        let message = written();
        let ids: HashSet<u64> = message.location.iter().map(|location| location.id).collect();
        assert_eq!(ids.len(), message.location.len());
        for sample in &message.sample {
            assert!(!sample.location_id.is_empty());
            assert!(sample.location_id.iter().all(|id| ids.contains(id)));
        }
        for line in message.location.iter().flat_map(|location| &location.line) {
            assert!(!text(&message, function(&message, line.function_id).name).is_empty());
        }
        for location in &message.location {
            assert!(location.mapping_id <= message.mapping.len() as u64);
        }
    }
}
