//! Dictionary segments: slices of a profile's tables, in the order in which the tables grew.
//!
//! A segment says where in each table it begins. A reader appends the segments in order; one that
//! does not begin where the tables end means that a segment before it is missing, and then nothing
//! after it can be trusted.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};

use super::codec::{Decoder, Encoder};
use crate::model::{
    Binary, EMPTY_STACK, Frame, FrameKind, Function, Line, Process, Tables, Thread,
};

/// How much of each table there is: how much was written, or where a segment begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    strings: usize,
    binaries: usize,
    functions: usize,
    frames: usize,
    stacks: usize,
    processes: usize,
    threads: usize,
    pods: usize,
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
            processes: tables.processes.len(),
            threads: tables.threads.len(),
            pods: tables.pods.len(),
        }
    }

    /// Of the tables that each segment names the place of.
    fn parts(self) -> [usize; 7] {
        let Self { strings, binaries, functions, frames, stacks, processes, threads, pods: _ } =
            self;
        [strings, binaries, functions, frames, stacks, processes, threads]
    }
}

/// Writes what `tables` has beyond `from`, and the lines of the frames in `named`, which were
/// named meanwhile. Without `mangled`, names of functions are only kept as they are shown.
pub fn encode(tables: &Tables, from: Extent, named: &[u32], mangled: bool) -> Encoder {
    let mut out = Encoder::default();
    for (start, end) in from.parts().into_iter().zip(Extent::of(tables).parts()) {
        out.unsigned(start as u64);
        out.unsigned((end - start) as u64);
    }
    let left_out = if mangled { HashSet::new() } else { mangled_names(tables, from) };
    for (index, text) in (from.strings as u32..).zip(tables.strings.since(from.strings)) {
        out.text(if left_out.contains(&index) { "" } else { text });
    }
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
    encode_stacks(tables, from, &mut out);
    encode_processes(tables, from.processes, &mut out);
    encode_threads(tables, from.threads, &mut out);
    encode_lines(tables, named, &mut out);
    encode_pods(tables, from.pods, &mut out);
    out
}

/// The strings that are only the name that a function has in its file: those of C++ and of Rust
/// begin with what nothing else begins with.
fn mangled_names(tables: &Tables, from: Extent) -> HashSet<u32> {
    let mangled = |text: &str| text.starts_with("_Z") || text.starts_with("_R");
    let functions = tables.functions.since(from.functions);
    let names = functions.filter(|one| one.system_name != one.name).map(|one| one.system_name);
    names.filter(|name| mangled(tables.strings.get(*name))).collect()
}

/// Column by column: equal and near values side by side are what zstd is good at.
fn encode_frames(tables: &Tables, from: usize, out: &mut Encoder) {
    for frame in tables.frames.since(from) {
        out.unsigned(frame.kind as u64);
    }
    for frame in tables.frames.since(from) {
        out.unsigned(frame.binary.into());
    }
    // From the last one in the same binary.
    let mut before: HashMap<u32, u64> = HashMap::new();
    for frame in tables.frames.since(from) {
        let before = before.insert(frame.binary, frame.address).unwrap_or_default();
        out.signed(frame.address.wrapping_sub(before) as i64);
    }
}

fn encode_stacks(tables: &Tables, from: Extent, out: &mut Encoder) {
    for (index, (parent, _)) in tables.stacks.since(from.stacks).enumerate() {
        // A new stack mostly continues the node right before it.
        out.unsigned((from.stacks + index) as u64 - u64::from(parent));
    }
    // Most frames that are new come in the order in which they are in their table.
    let (mut new, mut before) = (from.frames as i64, 0);
    for (_, frame) in tables.stacks.since(from.stacks) {
        let frame = i64::from(frame);
        match frame == new {
            true => out.unsigned(0),
            false => out.unsigned(zigzag(frame - before) + 1),
        }
        new = new.max(frame + 1);
        before = frame;
    }
}

fn zigzag(by: i64) -> u64 {
    (by << 1 ^ by >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn encode_processes(tables: &Tables, from: usize, out: &mut Encoder) {
    for process in tables.processes.since(from) {
        out.unsigned(process.pid.into());
        for text in [process.comm, process.exe, process.cmdline, process.cgroup, process.service] {
            out.unsigned(text.into());
        }
        // That which is not known is the highest number, and so becomes 0.
        out.unsigned(process.uid.wrapping_add(1).into());
    }
}

/// A thread mostly is its process's first, and has its name.
fn encode_threads(tables: &Tables, from: usize, out: &mut Encoder) {
    for thread in tables.threads.since(from) {
        let process = tables.processes.get(thread.process);
        let (pid, comm) = process.map_or((0, None), |process| (process.pid, Some(process.comm)));
        out.unsigned(thread.process.into());
        out.signed(i64::from(thread.tid) - i64::from(pid));
        out.unsigned(if comm == Some(thread.name) { 0 } else { u64::from(thread.name) + 1 });
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

/// The last of a segment, and left out where there are none: a segment may end before it.
fn encode_pods(tables: &Tables, from: usize, out: &mut Encoder) {
    let new = tables.pods.len().saturating_sub(from);
    if new > 0 {
        out.unsigned(new as u64);
    }
    for (&cgroup, &names) in tables.pods.iter().skip(from) {
        out.unsigned(cgroup.into());
        out.unsigned(names.into());
    }
}

/// Where the entries of a recording's own tables are in the tables that they were read into, which
/// may hold those of other recordings too.
#[derive(Debug)]
pub struct Ids {
    /// A string that keeps apart what means something within this recording only: addresses of the
    /// kernel, which moves with each boot, and of JIT code. 0 if there is no other recording.
    pub origin: u32,
    strings: Vec<u32>,
    binaries: Vec<u32>,
    functions: Vec<u32>,
    frames: Vec<u32>,
    /// Of node `n`, at `n - 1`.
    stacks: Vec<u32>,
    processes: Vec<u32>,
    threads: Vec<u32>,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            origin: 0,
            // The empty string is in each set of tables from the start.
            strings: vec![0],
            binaries: Vec::new(),
            functions: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            processes: Vec::new(),
            threads: Vec::new(),
        }
    }
}

impl Ids {
    fn parts(&self) -> [usize; 7] {
        [
            self.strings.len(),
            self.binaries.len(),
            self.functions.len(),
            self.frames.len(),
            self.stacks.len(),
            self.processes.len(),
            self.threads.len(),
        ]
    }

    /// The thread; none if it is in a part of the dictionary that is lost.
    pub fn thread(&self, thread: u32) -> Option<u32> {
        self.threads.get(thread as usize).copied()
    }

    /// The stack; none if it is in a part of the dictionary that is lost.
    pub fn stack(&self, stack: u32) -> Option<u32> {
        match stack.checked_sub(1) {
            None => Some(EMPTY_STACK),
            Some(index) => self.stacks.get(index as usize).copied(),
        }
    }

    /// False if thread or stack are in a part of the dictionary that is lost.
    pub fn has(&self, thread: u32, stack: u32) -> bool {
        (thread as usize) < self.threads.len() && stack as usize <= self.stacks.len()
    }

    /// The process; none if it is in a part of the dictionary that is lost.
    pub fn process(&self, process: u32) -> Option<u32> {
        self.processes.get(process as usize).copied()
    }
}

/// Where an entry went; the first of its table if it is in a part that is lost.
fn at(ids: &[u32], index: u32) -> u32 {
    ids.get(index as usize).copied().unwrap_or_default()
}

/// Adds a segment to `tables`, and to `ids` where its entries
/// went. What was read before, while the segment was not complete yet, stays where it is.
///
/// # Errors
/// It is damaged, or one before it is missing. The tables then keep what was read, which is sound
/// as far as it goes.
pub fn decode(bytes: &[u8], tables: &mut Tables, ids: &mut Ids) -> Result<()> {
    let mut input = Decoder(bytes);
    // How many entries of each table are known already, and how many there are.
    let mut counts = [(0, 0); 7];
    for (index, have) in ids.parts().into_iter().enumerate() {
        let from = input.unsigned()? as usize;
        let Some(known) = have.checked_sub(from) else {
            bail!("a part of the dictionary before this one is missing");
        };
        counts[index] = (known, input.count()?);
    }
    let [strings, binaries, functions, frames, stacks, processes, threads] = counts;
    for index in 0..strings.1 {
        let text = input.text()?;
        if index >= strings.0 {
            ids.strings.push(tables.strings.intern(&text));
        }
    }
    for index in 0..binaries.1 {
        let (path, build_id) = (input.index()?, input.index()?);
        if index >= binaries.0 {
            let mut binary =
                Binary { path: at(&ids.strings, path), build_id: at(&ids.strings, build_id) };
            if is_of_recording(tables.strings.get(binary.path)) {
                binary.build_id = ids.origin;
            }
            ids.binaries.push(tables.binaries.intern(binary));
        }
    }
    for index in 0..functions.1 {
        let name = input.index()?;
        let system_name = offset(name, input.signed()?);
        let file = input.index()?;
        if index >= functions.0 {
            let [name, mut system_name, file] =
                [name, system_name, file].map(|text| at(&ids.strings, text));
            if system_name == 0 {
                system_name = name; // it was left out
            }
            ids.functions.push(tables.functions.intern(Function { name, system_name, file }));
        }
    }
    let first = (ids.frames.len() - frames.0) as u32;
    decode_frames(&mut input, frames, tables, ids)?;
    decode_stacks(&mut input, first, stacks, tables, ids)?;
    decode_processes(&mut input, processes, tables, ids)?;
    decode_threads(&mut input, threads, tables, ids)?;
    decode_lines(&mut input, tables, ids)?;
    decode_pods(&mut input, tables, ids)
}

/// True for what means something within one recording only: the kernel, and JIT code.
fn is_of_recording(path: &str) -> bool {
    path.starts_with("[kernel") || path.starts_with("//anon")
}

fn offset(base: u32, by: i64) -> u32 {
    (i64::from(base).wrapping_add(by)) as u32
}

/// How many entries of a table are known already, and how many there are.
type Count = (usize, usize);

fn decode_frames(
    input: &mut Decoder<'_>,
    (known, count): Count,
    tables: &mut Tables,
    ids: &mut Ids,
) -> Result<()> {
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
    let mut before: HashMap<u32, u64> = HashMap::new();
    for (index, (kind, binary)) in kinds.into_iter().zip(binaries).enumerate() {
        let before = before.entry(binary).or_default();
        *before = before.wrapping_add(input.signed()? as u64);
        let address = *before;
        if index < known {
            continue;
        }
        // The address of a remark is the string that it says.
        let (binary, address) = match kind {
            FrameKind::Note => (0, at(&ids.strings, address as u32).into()),
            _ => (at(&ids.binaries, binary), address),
        };
        ids.frames.push(tables.frame(Frame { kind, binary, address }));
    }
    Ok(())
}

fn decode_stacks(
    input: &mut Decoder<'_>,
    mut new: u32,
    (known, count): Count,
    tables: &mut Tables,
    ids: &mut Ids,
) -> Result<()> {
    let first = (ids.stacks.len() - known) as u64;
    let mut parents = Vec::with_capacity(count);
    for index in first..first + count as u64 {
        let back = input.unsigned()?;
        let Some(parent) = index.checked_sub(back) else {
            bail!("damaged blob: a stack is its own caller");
        };
        parents.push(parent as u32);
    }
    let mut frame = 0;
    for (index, parent) in parents.into_iter().enumerate() {
        frame = match input.unsigned()?.checked_sub(1) {
            None => new,
            Some(by) => offset(frame, unzigzag(by)),
        };
        new = new.max(frame.saturating_add(1));
        if index < known {
            continue;
        }
        let parent = ids.stack(parent).unwrap_or(EMPTY_STACK);
        ids.stacks.push(tables.stacks.push(parent, at(&ids.frames, frame)));
    }
    Ok(())
}

fn decode_processes(
    input: &mut Decoder<'_>,
    (known, count): Count,
    tables: &mut Tables,
    ids: &mut Ids,
) -> Result<()> {
    for index in 0..count {
        let pid = input.index()?;
        let mut texts = [0; 5];
        for text in &mut texts {
            *text = at(&ids.strings, input.index()?);
        }
        let uid = input.index()?.wrapping_sub(1);
        if index >= known {
            let [comm, exe, cmdline, cgroup, service] = texts;
            let process = Process { pid, comm, exe, cmdline, uid, cgroup, service };
            ids.processes.push(tables.processes.intern(process));
        }
    }
    Ok(())
}

fn decode_threads(
    input: &mut Decoder<'_>,
    (known, count): Count,
    tables: &mut Tables,
    ids: &mut Ids,
) -> Result<()> {
    for index in 0..count {
        let process = at(&ids.processes, input.index()?);
        let (by, name) = (input.signed()?, input.index()?);
        if index < known {
            continue;
        }
        let (pid, comm) = tables.processes.get(process).map_or((0, 0), |of| (of.pid, of.comm));
        let name = name.checked_sub(1).map_or(comm, |name| at(&ids.strings, name));
        ids.threads.push(tables.threads.intern(Thread { process, tid: offset(pid, by), name }));
    }
    Ok(())
}

fn decode_pods(input: &mut Decoder<'_>, tables: &mut Tables, ids: &Ids) -> Result<()> {
    if input.0.is_empty() {
        return Ok(());
    }
    for _ in 0..input.count()? {
        let [cgroup, names] = [input.index()?, input.index()?].map(|text| at(&ids.strings, text));
        tables.pods.insert(cgroup, names);
    }
    Ok(())
}

fn decode_lines(input: &mut Decoder<'_>, tables: &mut Tables, ids: &Ids) -> Result<()> {
    let mut frame = 0;
    for _ in 0..input.count()? {
        frame = offset(frame, input.signed()?);
        let mut lines = Vec::new();
        for _ in 0..input.count()? {
            lines.push(Line {
                function: at(&ids.functions, input.index()?),
                line: input.index()?,
                column: input.index()?,
            });
        }
        // What another recording has named stays named.
        if let Some(known) = ids.frames.get(frame as usize)
            && let Some(slot) = tables.lines.get_mut(*known as usize)
            && !lines.is_empty()
        {
            *slot = lines.into();
        }
    }
    Ok(())
}
