//! Firefox profiler: JSON for <https://profiler.firefox.com>, with every sample at its own time.
//!
//! Threads stand under their processes, frames have a category by kind, and named frames belong to
//! their libraries. Samples of `cpu` are taken on CPU only, so between two of a thread that are
//! further apart than the rate explains, the thread is shown as idle. Samples of memory become
//! allocations and frees, with which the profiler shows what is retained; it keeps these by process.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fxprof_processed_profile::{
    self as fxprof, CategoryColor, CategoryPairHandle, CpuDelta, FrameFlags, FrameInfo,
    LibraryInfo, MarkerFieldFlags, MarkerFieldFormat, MarkerTiming, ProcessHandle,
    ReferenceTimestamp, SamplingInterval, StackHandle, StaticSchemaMarker, StaticSchemaMarkerField,
    StringHandle, Symbol, SymbolTable, ThreadHandle, Timestamp, WeightType, debugid::DebugId,
};

use super::{Map, Output, summary};
use crate::model::{Detail, FrameKind, Free, NameKind, Profile, Sample, View};

/// Firefox profiler JSON.
pub struct Firefox;

impl Output for Firefox {
    fn name(&self) -> &'static str {
        "firefox"
    }

    fn detail(&self) -> Detail {
        Detail { time: true, ..Detail::default() }
    }

    fn write(&self, profile: &Profile, _: &View, out: &mut dyn Write) -> Result<()> {
        let mut converter = Converter::new(profile);
        let mut samples: Vec<&Sample> = profile.samples.iter().collect();
        samples.sort_by_key(|sample| (sample.time, sample.thread, sample.stack, sample.cpu));
        if profile.source.held {
            converter.allocations(&samples);
        } else {
            samples.into_iter().for_each(|sample| converter.sample(sample));
        }
        converter.remark();
        serde_json::to_writer(&mut *out, &converter.out)?;
        writeln!(out)?;
        Ok(())
    }
}

/// The file that grows, and what of the model is in it already.
struct Converter<'a> {
    profile: &'a Profile,
    out: fxprof::Profile,
    categories: Map<NameKind, CategoryPairHandle>,
    libraries: Map<u32, fxprof::LibraryHandle>,
    processes: Map<u32, ProcessHandle>,
    threads: Map<(u32, u32), Thread>,
    first: Option<ThreadHandle>,
    /// Time between two samples of a thread that never sleeps, ns; 0 of what is not sampled by time.
    period: u64,
    /// What a sample counts for.
    weight: WeightType,
}

/// A thread of the file.
struct Thread {
    /// Process and thread id.
    key: (u32, u32),
    handle: ThreadHandle,
    /// Index in the model of the thread that it was last called after.
    called: Option<u32>,
    /// Time of its last sample, ns.
    last: Option<u64>,
    stacks: Map<u32, Option<StackHandle>>,
}

impl<'a> Converter<'a> {
    fn new(profile: &'a Profile) -> Self {
        let source = &profile.source;
        let by_time = source.frequency > 0 && source.value.unit == "nanoseconds";
        let period = if by_time { source.period } else { 0 };
        let interval = match period {
            0 => SamplingInterval::from_millis(1),
            period => SamplingInterval::from_nanos(period),
        };
        let weight = match &*source.value.unit {
            "bytes" => WeightType::Bytes,
            "nanoseconds" if !by_time => WeightType::TracingMs,
            _ => WeightType::Samples,
        };
        let product = format!("{} of {}", summary::title(profile), profile.info.target);
        let start = ReferenceTimestamp::from_duration_since_unix_epoch(Duration::from_nanos(
            profile.info.start,
        ));
        let mut out = fxprof::Profile::new(&product, start, interval);
        out.set_os_name(&format!("Linux {}", profile.info.kernel));
        // All names that are known are in the file; there is nothing to ask a symbol server for.
        out.set_symbolicated(true);
        let categories = [
            (NameKind::User, "User", CategoryColor::Orange),
            (NameKind::Inlined, "Inlined", CategoryColor::Yellow),
            (NameKind::Jit, "JIT", CategoryColor::Green),
            (NameKind::Kernel, "Kernel", CategoryColor::Blue),
            (NameKind::Unknown, "No symbol", CategoryColor::Gray),
            (NameKind::Note, "Note", CategoryColor::Magenta),
        ];
        let categories = categories
            .into_iter()
            .map(|(kind, name, color)| (kind, out.add_category(name, color).into()))
            .collect();
        let mut converter = Self {
            profile,
            out,
            categories,
            libraries: Map::default(),
            processes: Map::default(),
            threads: Map::default(),
            first: None,
            period,
            weight,
        };
        converter.libraries();
        converter
    }

    /// Adds the files that user frames are from, with the names of those frames.
    fn libraries(&mut self) {
        let tables = &self.profile.tables;
        let mut symbols: Map<u32, Vec<Symbol>> = Map::default();
        for (frame, index) in tables.frames.since(0).zip(0..) {
            if let Some(address) = relative(frame)
                && let Some(name) = tables.names(index).next_back()
            {
                // The model knows no bounds of functions: each address has a name for itself.
                let symbol = Symbol { address, size: Some(1), name: name.text.into_owned() };
                symbols.entry(frame.binary).or_default().push(symbol);
            }
        }
        let mut symbols: Vec<_> = symbols.into_iter().collect();
        symbols.sort_unstable_by_key(|(binary, _)| *binary);
        for (index, symbols) in symbols {
            let Some(binary) = tables.binaries.get(index) else { continue };
            let path = tables.strings.get(binary.path).to_owned();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let build_id = tables.strings.get(binary.build_id);
            let library = self.out.add_lib(LibraryInfo {
                debug_name: name.clone(),
                name,
                debug_path: path.clone(),
                path,
                debug_id: debug_id(build_id),
                code_id: (!build_id.is_empty()).then(|| build_id.to_owned()),
                arch: None,
                symbol_table: Some(Arc::new(SymbolTable::new(symbols))),
            });
            self.libraries.insert(index, library);
        }
    }

    /// Adds what was allocated, and freed of it. The profiler knows an object by its address: here
    /// objects are numbered, and a free has the number of an allocation that it may be of.
    fn allocations(&mut self, samples: &[&Sample]) {
        // Time and number, by thread, stack, count and value.
        type Open = Map<(u32, u32, u64, u64), BTreeSet<(u64, u64)>>;
        let mut open = Open::default();
        let key = |sample: &Sample| (sample.thread, sample.stack, sample.count, sample.value);
        let mut all: Vec<(Sample, u64, i64)> = Vec::new();
        for (number, sample) in (1..).zip(samples) {
            open.entry(key(sample)).or_default().insert((sample.time, number));
            all.push((**sample, number, sample.value.min(i64::MAX as u64) as i64));
        }
        for Free { sample, born } in &self.profile.frees {
            // One from before the time that is shown has no allocation here. Times are rounded.
            let Some(open) = open.get_mut(&key(sample)) else { continue };
            let before = open.range(..(*born, 0)).next_back();
            let nearest = before.into_iter().chain(open.range((*born, 0)..).next());
            let nearest = nearest.min_by_key(|(time, _)| time.abs_diff(*born)).copied();
            let Some((time, number)) = nearest.filter(|(time, _)| *time <= sample.time) else {
                continue;
            };
            open.remove(&(time, number));
            all.push((*sample, number, -(sample.value.min(i64::MAX as u64) as i64)));
        }
        all.sort_by_key(|(sample, number, _)| (sample.time, *number));
        for (sample, number, size) in all {
            let Some((thread, stack)) = self.place(&sample) else { continue };
            let time = Timestamp::from_nanos_since_reference(sample.time);
            self.out.add_allocation_sample(thread.handle, time, stack, number, size);
            self.threads.insert(thread.key, thread);
        }
    }

    /// The thread and the stack of a sample. The thread has to be put back.
    fn place(&mut self, sample: &Sample) -> Option<(Thread, Option<StackHandle>)> {
        let tables = &self.profile.tables;
        let thread = tables.threads.get(sample.thread)?;
        let process = tables.process_of(sample.thread)?;
        // Memory is freed by any thread of its process, and shown for one.
        let tid = if self.profile.source.held { process.pid } else { thread.tid };
        let key = (process.pid, tid);
        let mut thread = match self.threads.remove(&key) {
            Some(thread) => thread,
            None => self.thread(key, sample.time),
        };
        self.call(&mut thread, sample.thread);
        let stack = match thread.stacks.get(&sample.stack) {
            Some(stack) => *stack,
            None => self.stack(thread.handle, sample.stack),
        };
        thread.stacks.insert(sample.stack, stack);
        Some((thread, stack))
    }

    fn sample(&mut self, sample: &Sample) {
        let Some((mut thread, stack)) = self.place(sample) else { return };
        let time = Timestamp::from_nanos_since_reference;
        let before = sample.time.saturating_sub(self.period);
        if self.period > 0 && thread.last.is_some_and(|last| last + self.period < before) {
            self.out.add_sample(thread.handle, time(before), None, CpuDelta::ZERO, 0);
        }
        let cpu = if self.period > 0 { CpuDelta::from_nanos(sample.value) } else { CpuDelta::ZERO };
        let weight = match self.weight {
            WeightType::Samples => sample.count,
            WeightType::Bytes => sample.value,
            WeightType::TracingMs => sample.value / 1_000_000,
        };
        let weight = weight.try_into().unwrap_or(i32::MAX);
        self.out.add_sample(thread.handle, time(sample.time), stack, cpu, weight);
        thread.last = Some(sample.time);
        self.threads.insert(thread.key, thread);
    }

    /// Adds a thread, and its process if that is new.
    fn thread(&mut self, (pid, tid): (u32, u32), time: u64) -> Thread {
        let start = Timestamp::from_nanos_since_reference(time);
        let out = &mut self.out;
        let process = *self.processes.entry(pid).or_insert_with(|| out.add_process("", pid, start));
        let handle = out.add_thread(process, tid, start, pid == tid);
        out.set_thread_samples_weight_type(handle, self.weight.clone());
        self.first.get_or_insert(handle);
        Thread { key: (pid, tid), handle, called: None, last: None, stacks: Map::default() }
    }

    /// Gives a thread and its process the names that they have now; the last ones stay.
    fn call(&mut self, thread: &mut Thread, index: u32) {
        let tables = &self.profile.tables;
        if thread.called.replace(index) == Some(index) {
            return;
        }
        let (Some(named), Some(of)) = (tables.threads.get(index), tables.process_of(index)) else {
            return;
        };
        let name = if self.profile.source.held { of.comm } else { named.name };
        self.out.set_thread_name(thread.handle, tables.strings.get(name));
        if let Some(process) = self.processes.get(&of.pid) {
            let (comm, service) = (tables.strings.get(of.comm), tables.strings.get(of.service));
            // The name that its owners know it by, where it tells it.
            let name = if service.is_empty() { comm } else { &format!("{comm} [{service}]") };
            self.out.set_process_name(*process, name);
        }
    }

    fn stack(&mut self, thread: ThreadHandle, stack: u32) -> Option<StackHandle> {
        let mut frames = Vec::new();
        for index in self.profile.tables.stacks.frames(stack) {
            self.frames(index, &mut frames);
        }
        if frames.is_empty() {
            // No stack at all would be taken for an idle thread.
            let frame = fxprof::Frame::Label(self.out.intern_string(summary::NO_STACK));
            let category_pair = fxprof::CategoryHandle::OTHER.into();
            frames.push(FrameInfo { frame, category_pair, flags: FrameFlags::empty() });
        }
        self.out.intern_stack_frames(thread, frames.into_iter().rev())
    }

    /// The functions of a frame, innermost first.
    fn frames(&mut self, index: u32, frames: &mut Vec<FrameInfo>) {
        let tables = &self.profile.tables;
        let known = tables
            .frames
            .get(index)
            .and_then(|frame| Some((*self.libraries.get(&frame.binary)?, relative(frame)?)));
        let mut names = tables.names(index).peekable();
        while let Some(name) = names.next() {
            // The outermost function is the one that a symbol of the file names.
            let frame = match known.filter(|_| names.peek().is_none()) {
                Some((library, address)) => {
                    fxprof::Frame::RelativeAddressFromInstructionPointer(library, address)
                }
                None => fxprof::Frame::Label(self.out.intern_string(&name.text)),
            };
            let category_pair = match self.categories.get(&name.kind) {
                Some(category) => *category,
                None => fxprof::CategoryHandle::OTHER.into(),
            };
            frames.push(FrameInfo { frame, category_pair, flags: FrameFlags::empty() });
        }
    }

    /// Says in a marker what is missing: the format has no better place.
    fn remark(&mut self) {
        let Some(thread) = self.first else { return };
        let counts = summary::counts(self.profile);
        let text = self.out.intern_string(&counts);
        let start = Timestamp::from_nanos_since_reference(self.profile.from);
        self.out.add_marker(thread, MarkerTiming::Instant(start), Counts { text });
    }
}

/// The address of a frame in its file, as far as the format can hold it; none for other code.
fn relative(frame: &crate::model::Frame) -> Option<u32> {
    (frame.kind == FrameKind::User).then(|| u32::try_from(frame.address).ok())?
}

/// A build id as the format wants it: its first 16 bytes, taken for a little-endian GUID.
fn debug_id(build_id: &str) -> DebugId {
    let mut guid = [0; 16];
    for (byte, digits) in guid.iter_mut().zip(build_id.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    DebugId::from_guid_age(&guid, 0).unwrap_or_default()
}

/// The marker that tells what was counted.
struct Counts {
    text: StringHandle,
}

impl StaticSchemaMarker for Counts {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "rprof";
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.counts}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.counts}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[StaticSchemaMarkerField {
        key: "counts",
        label: "What was counted",
        format: MarkerFieldFormat::String,
        flags: MarkerFieldFlags::SEARCHABLE,
    }];

    fn name(&self, profile: &mut fxprof::Profile) -> StringHandle {
        profile.intern_string("rprof")
    }

    fn category(&self, _: &mut fxprof::Profile) -> fxprof::CategoryHandle {
        fxprof::CategoryHandle::OTHER
    }

    fn string_field_value(&self, _: u32) -> StringHandle {
        self.text
    }

    fn number_field_value(&self, _: u32) -> f64 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::output::example;

    #[test]
    fn memory_is_allocated_and_freed() {
        let mut bytes = Vec::new();
        Firefox.write(&example::heap(), &View::default(), &mut bytes).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let thread = &file["threads"][0];
        let allocations = &thread["nativeAllocations"];
        let column = |name: &str| -> Vec<i64> {
            let values = allocations[name].as_array().unwrap();
            values.iter().map(|value| value.as_i64().unwrap()).collect()
        };
        let (sizes, objects) = (column("weight"), column("memoryAddress"));
        assert_eq!(sizes.iter().sum::<i64>(), (1 << 20) + 40_000);
        assert_eq!(sizes.iter().filter(|size| **size < 0).count(), 3);
        // Each free is of an object that was allocated before, and of the same size.
        for (index, size) in sizes.iter().enumerate().filter(|(_, size)| **size < 0) {
            let born = objects[..index].iter().position(|object| *object == objects[index]);
            assert_eq!(sizes[born.unwrap()], -size);
        }
    }

    #[test]
    fn threads_times_and_libraries() {
        let mut bytes = Vec::new();
        Firefox.write(&example::profile(), &View::default(), &mut bytes).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let threads = file["threads"].as_array().unwrap();
        let names: Vec<_> = threads
            .iter()
            .map(|thread| (thread["name"].as_str().unwrap(), thread["pid"].as_str().unwrap()))
            .collect();
        assert_eq!(names, [("app", "10"), ("pool-1", "10"), ("node [shop]", "20")]);
        let weights = threads.iter().flat_map(|thread| {
            thread["samples"]["weight"].as_array().unwrap().iter().filter_map(Value::as_u64)
        });
        assert_eq!(weights.sum::<u64>(), 23);
        let cpu = threads.iter().flat_map(|thread| {
            thread["samples"]["threadCPUDelta"].as_array().unwrap().iter().filter_map(Value::as_u64)
        });
        assert_eq!(cpu.sum::<u64>(), 23 * (example::PERIOD / 1000));
        let strings = threads[0]["stringArray"].as_array().unwrap();
        for name in
            ["fast_copy", "work", "main", "memcpy", "[stack cut]", "[libfoo.so]", "[no stack]"]
        {
            assert!(strings.iter().any(|string| string == name), "{name}");
        }
        let libraries = file["libs"].as_array().unwrap();
        let names: Vec<_> = libraries.iter().map(|library| library["name"].as_str()).collect();
        assert_eq!(names, [Some("app"), Some("libc.so.6"), Some("libfoo.so")]);
        assert_eq!(libraries[0]["breakpadId"], "67452301AB89EFCD0123456789ABCDEF0");
        assert!(String::from_utf8(bytes).unwrap().contains("2 lost (8.00%)"));
    }
}
