//! Dictionary segments: slices of a profile's tables, in the order in which the tables grew.
//!
//! A segment says where in each table it begins. A reader appends the segments in order; one that
//! does not begin where the tables end means that a segment before it is missing, and then nothing
//! after it can be trusted.

use anyhow::{Result, bail};

use super::codec::{Decoder, Encoder};
use crate::model::{Binary, Frame, FrameKind, Function, Line, Tables, Thread};

/// How much of each table there is: how much was written, or where a segment begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    strings: usize,
    binaries: usize,
    functions: usize,
    frames: usize,
    stacks: usize,
    threads: usize,
}

impl Extent {
    /// All that there is in `tables`.
    pub fn of(tables: &Tables) -> Self {
        Self {
            strings: tables.strings.len(),
            binaries: tables.binaries.len(),
            functions: tables.functions.len(),
            frames: tables.frames.len(),
            stacks: tables.stacks.len(),
            threads: tables.threads.len(),
        }
    }

    fn parts(self) -> [usize; 6] {
        [self.strings, self.binaries, self.functions, self.frames, self.stacks, self.threads]
    }
}

/// Writes what `tables` has beyond `from`, and the lines of the frames in `named`, which were
/// named meanwhile.
pub fn encode(tables: &Tables, from: Extent, named: &[u32]) -> Encoder {
    let mut out = Encoder::default();
    for (start, end) in from.parts().into_iter().zip(Extent::of(tables).parts()) {
        out.unsigned(start as u64);
        out.unsigned((end - start) as u64);
    }
    tables.strings.since(from.strings).for_each(|text| out.text(text));
    for binary in tables.binaries.since(from.binaries) {
        out.unsigned(binary.path.into());
        out.unsigned(binary.build_id.into());
    }
    for function in tables.functions.since(from.functions) {
        out.unsigned(function.name.into());
        out.signed(i64::from(function.system_name) - i64::from(function.name));
        out.unsigned(function.file.into());
    }
    encode_frames(tables, from.frames, &mut out);
    encode_stacks(tables, from.stacks, &mut out);
    for thread in tables.threads.since(from.threads) {
        out.unsigned(thread.pid.into());
        out.signed(i64::from(thread.tid) - i64::from(thread.pid));
        out.unsigned(thread.comm.into());
        out.signed(i64::from(thread.name) - i64::from(thread.comm));
        out.unsigned(thread.cgroup.into());
    }
    encode_lines(tables, named, &mut out);
    out
}

/// Column by column: equal and near values side by side are what zstd is good at.
fn encode_frames(tables: &Tables, from: usize, out: &mut Encoder) {
    for frame in tables.frames.since(from) {
        out.unsigned(frame.kind as u64);
    }
    for frame in tables.frames.since(from) {
        out.unsigned(frame.binary.into());
    }
    let mut before = 0;
    for frame in tables.frames.since(from) {
        out.signed(frame.address.wrapping_sub(before) as i64);
        before = frame.address;
    }
}

fn encode_stacks(tables: &Tables, from: usize, out: &mut Encoder) {
    for (index, (parent, _)) in tables.stacks.since(from).enumerate() {
        // A new stack mostly continues the node right before it.
        out.unsigned((from + index) as u64 - u64::from(parent));
    }
    let mut before = 0;
    for (_, frame) in tables.stacks.since(from) {
        out.signed(i64::from(frame) - before);
        before = frame.into();
    }
}

fn encode_lines(tables: &Tables, named: &[u32], out: &mut Encoder) {
    out.unsigned(named.len() as u64);
    let mut before = 0;
    for &frame in named {
        out.signed(i64::from(frame) - before);
        before = frame.into();
        let lines = tables.lines(frame);
        out.unsigned(lines.len() as u64);
        for line in lines {
            out.unsigned(line.function.into());
            out.unsigned(line.line.into());
            out.unsigned(line.column.into());
        }
    }
}

/// Appends a segment to `tables`.
///
/// # Errors
/// It is damaged, or one before it is missing. The tables then keep what was read, which is sound
/// as far as it goes.
pub fn decode(bytes: &[u8], tables: &mut Tables) -> Result<()> {
    let mut input = Decoder(bytes);
    let mut counts = [0; 6];
    for (count, have) in counts.iter_mut().zip(Extent::of(tables).parts()) {
        if input.unsigned()? as usize != have {
            bail!("a part of the dictionary before this one is missing");
        }
        *count = input.count()?;
    }
    let [strings, binaries, functions, frames, stacks, threads] = counts;
    for _ in 0..strings {
        tables.strings.intern(&input.text()?);
    }
    for _ in 0..binaries {
        tables.binaries.intern(Binary { path: input.index()?, build_id: input.index()? });
    }
    for _ in 0..functions {
        let name = input.index()?;
        let system_name = offset(name, input.signed()?);
        tables.functions.intern(Function { name, system_name, file: input.index()? });
    }
    decode_frames(&mut input, frames, tables)?;
    decode_stacks(&mut input, stacks, tables)?;
    for _ in 0..threads {
        let pid = input.index()?;
        let tid = offset(pid, input.signed()?);
        let comm = input.index()?;
        let name = offset(comm, input.signed()?);
        tables.threads.intern(Thread { pid, tid, comm, name, cgroup: input.index()? });
    }
    decode_lines(&mut input, tables)
}

fn offset(base: u32, by: i64) -> u32 {
    (i64::from(base).wrapping_add(by)) as u32
}

fn decode_frames(input: &mut Decoder<'_>, count: usize, tables: &mut Tables) -> Result<()> {
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        kinds.push(match input.unsigned()? {
            0 => FrameKind::User,
            1 => FrameKind::Kernel,
            2 => FrameKind::Jit,
            3 => FrameKind::Note,
            other => bail!("damaged blob: there is no frame of kind {other}"),
        });
    }
    let mut binaries = Vec::with_capacity(count);
    for _ in 0..count {
        binaries.push(input.index()?);
    }
    let mut address = 0u64;
    for (kind, binary) in kinds.into_iter().zip(binaries) {
        address = address.wrapping_add(input.signed()? as u64);
        tables.frame(Frame { kind, binary, address });
    }
    Ok(())
}

fn decode_stacks(input: &mut Decoder<'_>, count: usize, tables: &mut Tables) -> Result<()> {
    let first = tables.stacks.len() as u64;
    let mut parents = Vec::with_capacity(count);
    for index in first..first + count as u64 {
        let back = input.unsigned()?;
        let Some(parent) = index.checked_sub(back) else {
            bail!("damaged blob: a stack is its own caller");
        };
        parents.push(parent as u32);
    }
    let mut frame = 0;
    for parent in parents {
        frame = offset(frame, input.signed()?);
        tables.stacks.push(parent, frame);
    }
    Ok(())
}

fn decode_lines(input: &mut Decoder<'_>, tables: &mut Tables) -> Result<()> {
    let mut frame = 0;
    for _ in 0..input.count()? {
        frame = offset(frame, input.signed()?);
        let mut lines = Vec::new();
        for _ in 0..input.count()? {
            lines.push(Line {
                function: input.index()?,
                line: input.index()?,
                column: input.index()?,
            });
        }
        if let Some(slot) = tables.lines.get_mut(frame as usize) {
            *slot = lines.into();
        }
    }
    Ok(())
}
