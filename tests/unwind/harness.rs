//! The kernel half of the unwinder, compiled as an ordinary program, and its twin in user space,
//! given the same processes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rprof::bpf;
use rprof::collector::Snapshot;
use rprof::resolve::follow;
use rprof::unwind::{Code, Layout, Region, Table};
use symbolizer::Mapping;

/// The process that all cases are about.
pub const PID: u32 = 7;
/// `file` of a mapping without a table (NO_FILE in `bpf/tables.bpf.h`).
const NO_FILE: u32 = u32::MAX;

/// The registers of a task, as the kernel lays them out in `struct pt_regs`.
#[derive(Clone, Copy, Debug)]
pub struct Registers(pub [u64; 21]);

impl Registers {
    const BP: usize = 4;
    const IP: usize = 16;
    const CS: usize = 17;
    const SP: usize = 19;
    /// By DWARF's numbers.
    const DWARF: [usize; 16] = [10, 12, 11, 5, 13, 14, Self::BP, Self::SP, 9, 8, 7, 6, 3, 2, 1, 0];

    /// In 64-bit user mode.
    pub fn new(ip: u64, sp: u64, bp: u64) -> Self {
        let mut words = [0; 21];
        (words[Self::IP], words[Self::SP], words[Self::BP]) = (ip, sp, bp);
        words[Self::CS] = 0x33;
        Self(words)
    }

    pub fn ip(&self) -> u64 {
        self.0[Self::IP]
    }

    pub fn sp(&self) -> u64 {
        self.0[Self::SP]
    }

    /// In code of another mode: 0x23 for 32 bits, 0x10 for the kernel's.
    pub fn in_segment(mut self, cs: u64) -> Self {
        self.0[Self::CS] = cs;
        self
    }

    /// The register of that number of DWARF's.
    pub fn set(&mut self, number: usize, value: u64) {
        self.0[Self::DWARF[number]] = value;
    }

    fn snapshot(&self, start: u64, stack: &[u8]) -> Snapshot {
        let registers = Self::DWARF.map(|at| self.0[at]);
        Snapshot { ip: self.ip(), registers, start, stack: stack.to_vec(), missing: 0 }
    }
}

/// A mapping and the table of what is in it, if it has one, with what to subtract.
pub struct Part {
    pub start: u64,
    pub pages: u32,
    /// In the file.
    pub offset: u64,
    pub table: Option<(Arc<Table>, u64)>,
    pub code: Code,
}

impl Part {
    /// Code made at run time.
    pub fn jit(start: u64, pages: u32) -> Self {
        Self { start, pages, offset: 0, table: None, code: Code::None }
    }

    /// Code with a table, whose addresses are the table's own.
    pub fn plain(start: u64, pages: u32, table: &Arc<Table>) -> Self {
        let table = Some((Arc::clone(table), 0));
        Self { start, pages, offset: 0, table, code: Code::Vdso }
    }

    fn region(&self) -> Region {
        let mapping = Mapping {
            start: self.start,
            end: self.start + (u64::from(self.pages) << 12),
            offset: self.offset,
            device: (0, 0),
            inode: 0,
            executable: true,
            path: String::new(),
            deleted: false,
        };
        Region { mapping, code: self.code.clone() }
    }
}

/// How a stack ended, and its addresses from the leaf on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stack {
    pub status: u32,
    pub addresses: Vec<u64>,
}

/// What the kernel half is to do, one thing after the other.
#[derive(Default)]
pub struct Harness {
    commands: Vec<u8>,
    layout: Option<Layout>,
    /// By address of the table.
    numbers: HashMap<usize, u32>,
    /// So that no table's address is used again.
    tables: Vec<Arc<Table>>,
    regions: Vec<Region>,
    by_start: HashMap<u64, (Arc<Table>, u64)>,
    lines: usize,
}

impl Harness {
    fn command(&mut self, what: u8, parts: &[&[u8]]) {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        self.commands.push(what);
        self.commands.extend((size as u32).to_ne_bytes());
        parts.iter().for_each(|part| self.commands.extend_from_slice(part));
    }

    /// Stores a table as the loader does; gives the number of its file.
    pub fn store(&mut self, table: &Arc<Table>) -> u32 {
        let key = Arc::as_ptr(table) as usize;
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let layout = self.layout.get_or_insert_with(|| Layout::new(256 << 20));
        let placed = layout.place(table).unwrap();
        for (chunk, runs) in &placed.writes {
            for (at, words) in runs {
                let head = [chunk.to_ne_bytes(), (*at as u32).to_ne_bytes()].concat();
                let words: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                self.command(b'c', &[&head, &words]);
            }
        }
        let number = self.tables.len() as u32;
        self.command(b'f', &[&number.to_ne_bytes(), bpf::bytes(&placed.file)]);
        self.tables.push(Arc::clone(table));
        self.numbers.insert(key, number);
        number
    }

    /// The process has these parts from now on, which are in order of address.
    pub fn load(&mut self, parts: &[Part]) {
        self.by_start.clear();
        for (at, part) in parts.iter().enumerate() {
            let (bias, file) = match &part.table {
                Some((table, bias)) => (*bias, self.store(table)),
                None => (0, NO_FILE),
            };
            let mapping = bpf::mapping { start: part.start, bias, pages: part.pages, file };
            // Not from the start, so that an index that forgets the process's first is wrong.
            let index = 1000 + at as u32;
            self.command(b'm', &[&index.to_ne_bytes(), bpf::bytes(&mapping)]);
            if let Some(table) = &part.table {
                self.by_start.insert(part.start, table.clone());
            }
        }
        let process = bpf::process { first: 1000, count: parts.len() as u32 };
        self.command(b'p', &[&PID.to_ne_bytes(), bpf::bytes(&process)]);
        self.regions = parts.iter().map(Part::region).collect();
    }

    /// A thread is freed.
    pub fn free(&mut self, tid: u32, pid: u32) {
        self.command(b'x', &[&tid.to_ne_bytes(), &pid.to_ne_bytes()]);
    }

    /// The process's memory is these ranges, of which later ones hide earlier ones.
    pub fn memory(&mut self, ranges: &[(u64, &[u8])]) {
        self.command(b'n', &[]);
        for (start, bytes) in ranges {
            self.command(b'r', &[&start.to_ne_bytes(), bytes]);
        }
    }

    /// Has the stack of a task followed; gives which line of the answer it will be.
    pub fn follow(&mut self, flags: u32, registers: &Registers) -> usize {
        let words: Vec<u8> = registers.0.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.command(b'u', &[&PID.to_ne_bytes(), &flags.to_ne_bytes(), &words]);
        self.lines += 1;
        self.lines - 1
    }

    /// What the twin in user space makes of it, with a copy of the memory from `start` on.
    pub fn twin(&self, registers: &Registers, start: u64, stack: &[u8]) -> Stack {
        let mut tables = |region: &Region| self.by_start.get(&region.mapping.start).cloned();
        let snapshot = registers.snapshot(start, stack);
        let (addresses, status) = follow(&snapshot, &self.regions, &mut tables);
        Stack { status, addresses }
    }

    /// Has rules looked up; gives which line of the answer it will be.
    pub fn look_up(&mut self, number: u32, addresses: &[u64]) -> usize {
        let addresses: Vec<u8> = addresses.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.command(b'l', &[&number.to_ne_bytes(), &addresses]);
        self.lines += 1;
        self.lines - 1
    }

    /// Runs it all; gives the lines of the answer.
    pub fn run(&self) -> Vec<String> {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&self.commands).unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let output = Command::new(binary()).stdin(input).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), self.lines);
        lines
    }
}

/// A line of the answer to [`Harness::follow`].
pub fn stack(line: &str) -> Stack {
    let mut words = line.split(' ');
    let status = words.next().unwrap().parse().unwrap();
    let addresses = words.map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
    Stack { status, addresses }
}

/// `harness.c`, compiled once, so that what reads or writes beyond the maps ends it.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("harness");
        let options = [
            "-std=gnu11",
            "-O1",
            "-g",
            "-Wall",
            "-Werror",
            "-Wno-unknown-pragmas",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-Ibpf",
            "-Itests/unwind/stub",
        ];
        let mut cc = Command::new("cc");
        cc.current_dir(env!("CARGO_MANIFEST_DIR")).args(options);
        let output = cc.arg("-o").arg(&path).arg("tests/unwind/harness.c").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (dir, path)
    };
    &BINARY.get_or_init(build).1
}

/// The table of a file, and what to subtract from addresses in a mapping of it.
pub fn table_of(file: &File, start: u64, offset: u64) -> Option<(Arc<Table>, u64)> {
    let image = rprof::unwind::Image::read(file).ok()?;
    let bias = rprof::unwind::bias(image.segments(), start, offset)?;
    Some((Arc::new(Table::build(&image).ok()?), bias))
}
