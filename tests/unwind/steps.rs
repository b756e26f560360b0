//! A real program's stack at every instruction that it runs: in prologues and epilogues, PLT
//! entries, the resolver, libc, a signal's frames, the vdso, code made at run time.
//!
//! What the stack is, is known without any table: each `call` pushes a return address, each `ret`
//! takes one off.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rprof::resolve::status;
use rprof::unwind::Code;
use symbolizer::{Image, Kind, Maps};

use super::harness::{Harness, Part, Registers, stack, table_of};

/// Code made at run time (MADE in steps.c), and where in it the frame is not made, or gone again.
const MADE: u64 = 0x7000_0000;
const BARE: [u64; 3] = [0, 1, 11];
/// Type of an ELF file that can be loaded anywhere.
const ET_DYN: u8 = 3;
/// As the kernel half sends it with a snapshot.
const RED_ZONE: u64 = 128;
/// More than the program takes.
const STEPS_MAX: usize = 2_000_000;
/// Of the many instructions of the resolver, one in so many is looked at.
const RESOLVER_STRIDE: usize = 13;

/// A program that stops at every instruction.
struct Traced {
    child: Child,
    pid: Pid,
    memory: File,
}

impl Traced {
    /// Starts it, and lets it run to the `int3` in its main function.
    fn start(path: &Path) -> Self {
        let mut command = Command::new(path);
        command.env_clear().arg0("steps").stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let stopped = waitpid(pid, None).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGTRAP), "ptrace is not allowed?");
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        Self { child, pid, memory }
    }

    fn registers(&self) -> (Registers, u64) {
        let r = ptrace::getregs(self.pid).unwrap();
        let words = [
            r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx,
            r.rdx, r.rsi, r.rdi, r.orig_rax, r.rip, r.cs, r.eflags, r.rsp, r.ss,
        ];
        (Registers(words), r.rax)
    }

    fn word(&self, address: u64) -> u64 {
        let mut word = [0; 8];
        // Code may end at the end of a page.
        let _ = self.memory.read_at(&mut word, address);
        u64::from_le_bytes(word)
    }

    fn bytes(&self, start: u64, end: u64) -> Vec<u8> {
        let mut bytes = vec![0; (end - start) as usize];
        self.memory.read_exact_at(&mut bytes, start).unwrap();
        bytes
    }

    /// One instruction on, or into the handler of `signal`. None once it has ended; a signal that
    /// it is about to get.
    fn step(&self, signal: Option<Signal>) -> Option<Option<Signal>> {
        ptrace::step(self.pid, signal).unwrap();
        match waitpid(self.pid, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Some(None),
            WaitStatus::Stopped(_, signal) => Some(Some(signal)),
            WaitStatus::Exited(_, 42) => None,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn build(options: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("steps");
    let mut cc = Command::new("cc");
    cc.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-O2", "-fno-stack-protector"]);
    cc.args(options).arg("-o").arg(&path).arg("tests/unwind/steps.c");
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (dir, path)
}

/// What the process has mapped, with the tables of all of it.
fn parts(pid: u32, tables: &mut HashMap<String, Option<Arc<rprof::unwind::Table>>>) -> Vec<Part> {
    let maps = Maps::read(pid, true).unwrap();
    let mut parts = Vec::new();
    for mapping in &maps.mappings {
        let pages = ((mapping.end - mapping.start) >> 12) as u32;
        let mut part = Part::jit(mapping.start, pages);
        part.offset = mapping.offset;
        let path = match mapping.kind() {
            Kind::Vdso => {
                let file = File::open(format!("/proc/{pid}/mem")).unwrap();
                let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
                file.read_exact_at(&mut bytes, mapping.start).unwrap();
                let image = rprof::unwind::Image::read(bytes.as_slice()).unwrap();
                let bias = rprof::unwind::bias(image.segments(), mapping.start, 0).unwrap();
                let table = Arc::new(rprof::unwind::Table::build(&image).unwrap());
                part.table = Some((table, bias));
                part.code = Code::Vdso;
                parts.push(part);
                continue;
            }
            Kind::File => mapping.path.clone(),
            _ => {
                parts.push(part);
                continue;
            }
        };
        let file = File::open(&path).unwrap();
        if let Some((table, bias)) = table_of(&file, mapping.start, mapping.offset) {
            let shared = tables.entry(path.clone()).or_insert_with(|| Some(table));
            part.table = shared.clone().map(|table| (table, bias));
            part.code = Code::File(Arc::new(Image::open_path(Path::new(&path)).unwrap()));
        }
        parts.push(part);
    }
    parts
}

/// Why a stack may be wrong, as far as it is known that it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Known {
    /// The innermost frame is one of code without a table, and not made at this instruction.
    Bare,
    /// The resolver keeps its caller's stack pointer in rbx, which outer frames do not have.
    Resolver,
}

/// One instruction: what was asked, and what the answer has to be.
struct Case {
    line: usize,
    registers: Registers,
    expected: Vec<u64>,
    known: Option<Known>,
    stack: Vec<u8>,
    alternate: bool,
}

struct Run {
    traced: Traced,
    harness: Harness,
    /// Return addresses, outermost first; those of frames before the first step are not known yet.
    shadow: Vec<u64>,
    cases: Vec<Case>,
    top: u64,
    other: std::ops::Range<u64>,
    /// The dynamic linker, and the resolver in it.
    linker: Vec<std::ops::Range<u64>>,
}

impl Run {
    fn add(&mut self, registers: &Registers, main_stack: u64) {
        let (ip, sp) = (registers.ip(), registers.sp());
        let alternate = self.other.contains(&sp);
        let end = if alternate { self.other.end } else { self.top };
        let start = sp - RED_ZONE;
        let stack = self.traced.bytes(start, end);
        let mut ranges: Vec<(u64, &[u8])> = vec![(start, &stack)];
        let below;
        if alternate {
            below = self.traced.bytes(main_stack, self.top);
            ranges.push((main_stack, &below));
        }
        let code;
        if ip > MADE && ip < MADE + 4096 {
            code = self.traced.bytes(ip, ip + 8);
            ranges.push((ip, &code));
        }
        self.harness.memory(&ranges);
        let mut expected = vec![ip];
        expected.extend(self.shadow.iter().rev());
        let resolving = |address: &u64| self.linker.iter().any(|range| range.contains(address));
        let known = if BARE.contains(&ip.wrapping_sub(MADE)) {
            Some(Known::Bare)
        } else if self.shadow.iter().any(resolving) {
            Some(Known::Resolver)
        } else {
            None
        };
        let line = self.harness.follow(0, registers);
        let registers = *registers;
        self.cases.push(Case { line, registers, expected, known, stack, alternate });
    }
}

/// Runs the program to its end, with a case for nearly each instruction.
fn run(path: &Path) -> Run {
    let traced = Traced::start(path);
    let pid = traced.pid.as_raw() as u32;
    let mut harness = Harness::default();
    let parts = parts(pid, &mut HashMap::new());
    harness.load(&parts);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        start..end
    };
    let top = range(maps.lines().find(|line| line.ends_with("[stack]")).unwrap()).end;
    let linker: Vec<_> = maps
        .lines()
        .filter(|line| line.contains("ld-linux") && line.contains("r-xp"))
        .map(range)
        .collect();
    let data = fs::read(path).unwrap();
    let other = symbol(&data, "other_stack");
    let base = maps.lines().find(|line| line.ends_with("/steps")).map(range).unwrap().start;
    // Only of a program that can be anywhere are symbols counted from where it is.
    let base = if data[16] == ET_DYN { base } else { 0 };
    let other = base + other.start..base + other.end;
    let mut run =
        Run { traced, harness, shadow: Vec::new(), cases: Vec::new(), top, other, linker };
    let (mut registers, mut rax) = run.traced.registers();
    let (mut signal, mut main_stack) = (None, registers.sp());
    for step in 0..STEPS_MAX {
        let (ip, sp) = (registers.ip(), registers.sp());
        let inside = run.linker.iter().any(|range| range.contains(&ip));
        if !inside || step % RESOLVER_STRIDE == 0 {
            run.add(&registers, main_stack);
        }
        let code = run.traced.word(ip).to_le_bytes();
        let delivered: Option<Signal> = signal.take();
        let Some(next) = run.traced.step(delivered) else { return run };
        let (after, rax_after) = run.traced.registers();
        signal = next;
        if delivered.is_some() {
            // The handler's first instruction, called by nobody: the frame that it returns to is
            // what was interrupted, one byte on, as if that were a return address.
            main_stack = sp;
            run.shadow.push(ip + 1);
            run.shadow.push(run.traced.word(after.sp()));
        } else if next.is_none() || after.ip() != ip {
            let pushed = after.sp() == sp.wrapping_sub(8);
            let returns_to = run.traced.word(after.sp());
            let is_ret = matches!(code, [0xc3, ..] | [0xf2 | 0xf3, 0xc3, ..] | [0xc2, ..]);
            let is_sigreturn = code[..2] == [0x0f, 0x05] && rax == 15;
            if is_ret || is_sigreturn {
                run.shadow.pop();
            } else if pushed && (ip + 2..ip + 9).contains(&returns_to) && is_call(&code) {
                run.shadow.push(returns_to);
            }
        }
        (registers, rax) = (after, rax_after);
    }
    panic!("it did not end");
}

/// `call`, relative or through a register or memory, with the prefixes that compilers write.
fn is_call(code: &[u8; 8]) -> bool {
    let prefixes = code.iter().take_while(|byte| matches!(byte, 0x3e | 0x40..=0x4f | 0xf2)).count();
    match code[prefixes..] {
        [0xe8, ..] => true,
        [0xff, how, ..] => how >> 3 & 7 == 2,
        _ => false,
    }
}

fn symbol(data: &[u8], name: &str) -> std::ops::Range<u64> {
    use object::{Object, ObjectSymbol};
    let file = object::read::elf::ElfFile64::<object::LittleEndian, _>::parse(data).unwrap();
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
    symbol.address()..symbol.address() + symbol.size()
}

/// Checks every instruction; gives how many there were, and how many were wrong for a known reason.
fn check(options: &[&str]) -> (usize, BTreeMap<Known, [usize; 2]>) {
    let (_dir, path) = build(options);
    let run = run(&path);
    let lines = run.harness.run();
    let data = fs::read(&path).unwrap();
    // What was there before the first step: main and its callers up to the outermost function.
    let first = stack(&lines[run.cases[0].line]);
    assert_eq!(first.status, status::COMPLETE);
    let base = first.addresses[1..].to_vec();
    assert!((2..=4).contains(&base.len()), "{base:x?}");
    let start = symbol(&data, "_start");
    assert!(
        (start.start..start.end).contains(&(base.last().unwrap() & 0xfff | start.start & !0xfff))
    );
    let mut known = BTreeMap::<Known, [usize; 2]>::new();
    let mut wrong = Vec::new();
    for case in &run.cases {
        let kernel = stack(&lines[case.line]);
        let twin = run.harness.twin(&case.registers, case.registers.sp() - RED_ZONE, &case.stack);
        if case.alternate {
            // A snapshot is of one stack only.
            assert!(kernel.addresses.starts_with(&twin.addresses[..twin.addresses.len() - 1]));
        } else {
            assert_eq!(kernel, twin, "the twin differs from the kernel at {:x?}", case.registers);
        }
        let mut expected = case.expected.clone();
        expected.extend(&base);
        let right = kernel.addresses == expected && kernel.status == status::COMPLETE;
        match case.known {
            Some(why) => {
                known.entry(why).or_default()[usize::from(right)] += 1;
                // A stack that ends too early says so, and has nothing that is not true.
                let honest =
                    kernel.status == status::NO_ROW && expected.starts_with(&kernel.addresses);
                assert!(right || why == Known::Bare || honest, "{kernel:x?}, not {expected:x?}");
            }
            None if right => {}
            None => wrong.push((kernel, expected)),
        }
    }
    if let Some((found, expected)) = wrong.first() {
        panic!(
            "{} of {} wrong, the first: {} {:x?}, not {expected:x?}",
            wrong.len(),
            run.cases.len(),
            status::reason(found.status),
            found.addresses
        );
    }
    (run.cases.len(), known)
}

#[test]
fn every_instruction_of_a_program() {
    for options in [
        &["-fomit-frame-pointer", "-Wl,-z,lazy"][..],
        &["-fno-omit-frame-pointer", "-Wl,-z,now"],
        &["-static"],
    ] {
        let (steps, known) = check(options);
        println!("{options:?}: {steps} instructions, wrong and right where it is known: {known:?}");
        assert!(steps > 1000);
    }
}
