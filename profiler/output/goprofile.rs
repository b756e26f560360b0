//! goprofile: a CPU profile that the Go compiler takes as `default.pgo`.
//!
//! It is pprof as Go's own runtime writes it: functions by the linker's names, each with the line that
//! it begins on, since `go build -pgo` tells the calls of a function apart by how far below that line
//! they stand (<https://go.dev/doc/pgo>).

use std::io::Write;

use anyhow::{Result, bail};
use flate2::{Compression, write::GzEncoder};
use pprof::protos::{self as proto, Message};

use super::{Map, Output, sites::Sites, summary, text};
use crate::model::{Profile, Table, View};

/// A profile for the Go compiler.
pub struct GoProfile;

impl Output for GoProfile {
    fn name(&self) -> &'static str {
        "goprofile"
    }

    fn is_binary(&self) -> bool {
        true
    }

    fn write(&self, profile: &Profile, _view: &View, out: &mut dyn Write) -> Result<()> {
        if profile.source.is_memory() {
            bail!("compilers want to know where CPU time goes: -s cpu");
        }
        let sites = Sites::of(profile)?;
        let mut gzip = GzEncoder::new(out, Compression::fast());
        gzip.write_all(&message(profile, &sites).encode_to_vec())?;
        gzip.finish()?;
        Ok(())
    }
}

/// Name, file, first line.
type Key = (i64, i64, i64);

struct Builder<'a> {
    profile: &'a Profile,
    sites: &'a Sites,
    strings: Table<String>,
    functions: Table<Key>,
}

fn message(profile: &Profile, sites: &Sites) -> proto::Profile {
    let (strings, functions) = Default::default();
    let mut builder = Builder { profile, sites, strings, functions };
    builder.string("");
    let mut stacks: Map<u32, (u64, u64)> = Map::default();
    for sample in &profile.samples {
        let sum = stacks.entry(sample.stack).or_default();
        *sum = (sum.0 + sample.count, sum.1 + sample.value);
    }
    let mut stacks: Vec<(u32, (u64, u64))> = stacks.into_iter().collect();
    stacks.sort_unstable();
    let mut frames: Table<u32> = Table::default();
    let mut out = proto::Profile::default();
    for (stack, (count, value)) in stacks {
        let ids = profile.tables.stacks.frames(stack).map(|frame| frames.intern(frame));
        let location_id: Vec<u64> = ids.map(|id| u64::from(id) + 1).collect();
        if !location_id.is_empty() {
            let value = vec![count as i64, value as i64];
            out.sample.push(proto::Sample { location_id, value, label: Vec::new() });
        }
    }
    let (cpu, nanoseconds) = (builder.string("cpu"), builder.string("nanoseconds"));
    let samples = proto::ValueType { ty: builder.string("samples"), unit: builder.string("count") };
    let value = proto::ValueType { ty: cpu, unit: nanoseconds };
    out.sample_type = vec![samples, value.clone()];
    (out.period_type, out.period) = (Some(value), profile.source.period as i64);
    let to = if profile.to == 0 { profile.info.duration } else { profile.to };
    out.time_nanos = profile.info.start.saturating_add(profile.from) as i64;
    out.duration_nanos = to.saturating_sub(profile.from) as i64;
    let remarks = [summary::origin(profile), summary::counts(profile)];
    out.comment = remarks.iter().chain(&sites.left_out).map(|line| builder.string(line)).collect();
    for (id, frame) in (1..).zip(frames.since(0)) {
        let line = builder.lines(*frame);
        out.location.push(proto::Location { id, line, ..Default::default() });
    }
    for (id, (name, filename, start_line)) in (1..).zip(builder.functions.since(0).copied()) {
        let (system_name, name) = (name, name);
        out.function.push(proto::Function { id, name, system_name, filename, start_line });
    }
    out.string_table = builder.strings.since(0).cloned().collect();
    out
}

impl Builder<'_> {
    fn string(&mut self, text: &str) -> i64 {
        self.strings.intern(text::clean(text).into_owned()).into()
    }

    /// The lines of a frame, the innermost inlined function first.
    fn lines(&mut self, frame: u32) -> Vec<proto::Line> {
        let tables = &self.profile.tables;
        let known = tables.lines(frame);
        let file = |at: usize| {
            let function = known.get(at).and_then(|line| tables.functions.get(line.function));
            tables.strings.get(function.map_or(0, |function| function.file))
        };
        let Some(chain) = self.sites.get(frame) else {
            let names: Vec<String> = tables.names(frame).map(|name| name.text.into()).collect();
            let lines = names.iter().enumerate();
            return lines.map(|(at, name)| self.line(name, file(at), 0, 0)).collect();
        };
        let sites = chain.iter().rev().enumerate();
        sites.map(|(at, site)| self.line(&site.function, file(at), site.start, site.line)).collect()
    }

    fn line(&mut self, name: &str, file: &str, start: u32, line: u32) -> proto::Line {
        let key = (self.string(name), self.string(file), start.into());
        let function = self.functions.intern(key);
        proto::Line { function_id: u64::from(function) + 1, line: line.into() }
    }
}
